//! One connection of a client: TLS, then HTTP/1.1 or HTTP/2, until it ends.

mod activity;
mod admission;
mod frames;
mod inspected;

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use guard_http1::Malformed;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::inspected::Inspected;
pub(crate) use self::{
    activity::{Active, Activity},
    admission::Admission,
};
use crate::{
    DrainSignal, Handle, Proxy,
    body::ResponseBody,
    client_body::Discard,
    cork::{Cork, Polls, cork},
    observer::CLOSED_WITHOUT_REQUEST,
    pipeline,
    quota::{Limit, Turns},
    strict::{Findings, Strict},
    tls::{self, HandshakeFailure, Socket},
};

/// Receive window of one stream of a client, in bytes: the client is on this node, and its bodies are small.
const STREAM_WINDOW: u32 = 128 << 10;
/// Receive window of one connection of a client: what it can make the guard hold that the API server does not take.
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Above the limits of a request's head, where hyper answers without a word: those a little above are told why.
const HEAD_MARGIN: u32 = 64 << 10;
/// Bytes of one answer that wait for a client that reads slowly. More are left with the API server.
const SEND_BUFFER: usize = 256 << 10;
/// How long after the handshake a client that leaves without a request counts as one that refused our certificate.
const REFUSAL_WINDOW: Duration = Duration::from_secs(2);

/// What every request of one connection shares.
pub(crate) struct Context {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) who: Arc<Handle>,
    pub(crate) drain: DrainSignal,
    pub(crate) activity: Activity,
    /// Upgraded streams, which outlive hyper's part of the connection.
    pub(crate) tunnels: TaskTracker,
    /// What becomes of bodies that nobody needs.
    pub(crate) discard: Discard,
    /// What was malformed, in HTTP/1.1.
    pub(crate) findings: Arc<Findings>,
    /// Cancelled when the connection is dropped, which ends all that runs for it.
    pub(crate) cut: CancellationToken,
}

/// Serves `tcp` until it ends.
pub(crate) async fn serve(proxy: &Arc<Proxy>, tcp: TcpStream, who: Arc<Handle>, drain: DrainSignal) {
    let metrics = &proxy.config.metrics;
    let ended = |result: &str| metrics.connections_total.with_label_values(&[result]).inc();
    let Some(_place) = who.quota().admit_connection() else { return ended("limit") };
    let _open = OpenGauge::new(proxy);
    let Some(handshaking) = who.quota().admit_handshake(&proxy.config.timeouts).await else { return ended("limit") };
    let stream = match handshake(proxy, tcp).await {
        Ok(stream) => stream,
        Err(failure) => {
            if failure == HandshakeFailure::Timeout {
                who.quota().met(Limit::HandshakeTime);
            }
            metrics.tls_failures_total.with_label_values(&[failure.reason()]).inc();
            if let HandshakeFailure::Alert(alert) = failure {
                proxy.config.observer.tls_refused(who.workload(), alert);
            }
            tracing::debug!(workload = %who.workload(), reason = failure.reason(), "TLS handshake with a client failed");
            return ended("tls_failed");
        }
    };
    drop(handshaking);
    ended("served");
    let cut = CancellationToken::new();
    let guard = cut.clone().drop_guard();
    let bytes = proxy.config.limits.discarded_bytes;
    let turns = who.quota().turns.clone();
    let discard = Discard { bytes, time: proxy.config.timeouts.discard, cut: cut.clone(), turns };
    let context = Context {
        proxy: Arc::clone(proxy),
        who,
        drain,
        activity: Activity::default(),
        tunnels: TaskTracker::new(),
        discard,
        findings: Arc::default(),
        cut,
    };
    serve_http(stream, Arc::new(context), guard).await;
}

async fn handshake(proxy: &Proxy, tcp: TcpStream) -> Result<TlsStream<Socket>, HandshakeFailure> {
    let timeouts = &proxy.config.timeouts;
    let socket = tls::socket(tcp, timeouts).map_err(|_| HandshakeFailure::Eof)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&proxy.server_tls));
    match timeout(timeouts.handshake, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(HandshakeFailure::of(&error)),
        Err(_) => Err(HandshakeFailure::Timeout),
    }
}

async fn serve_http(stream: TlsStream<Socket>, context: Arc<Context>, cut: DropGuard) {
    let started = Instant::now();
    let http2 = stream.get_ref().1.alpn_protocol() == Some(tls::H2);
    let ended = if http2 { serve_http2(stream, &context).await } else { serve_http1(stream, &context).await };
    if let Err(error) = ended {
        tracing::debug!(workload = %context.who.workload(), %error, "a connection ended");
    }
    if context.activity.was_never_used() && started.elapsed() < REFUSAL_WINDOW && !context.drain.has_started() {
        context.proxy.config.observer.tls_refused(context.who.workload(), CLOSED_WITHOUT_REQUEST);
    }
    context.tunnels.close();
    context.tunnels.wait().await;
    drop(cut);
}

async fn serve_http1(stream: TlsStream<Socket>, context: &Arc<Context>) -> hyper::Result<()> {
    let config = &context.proxy.config;
    let header_bytes = usize::try_from(config.limits.header_bytes + HEAD_MARGIN).unwrap_or(usize::MAX / 2);
    let most = guard_http1::Limits { bytes: header_bytes, fields: config.limits.headers + 1 };
    let service = service_fn(|request| answer_http1(context, request));
    let quota = Arc::clone(context.who.quota());
    let inspected = Inspected::http1(stream, quota, config.timeouts.head, context.activity.clone());
    let (stream, cork) = cork(inspected);
    let stream = Strict::new(stream, most, Arc::clone(&context.findings), Arc::clone(&config.metrics));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.timeouts.idle)
        .max_headers(most.fields)
        .max_header_size(header_bytes)
        // Headers are parsed in this buffer: it must hold the largest.
        .max_buf_size(header_bytes + SEND_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let told = async {
        context.drain.started().await;
    };
    let Some(ended) =
        serve_until(told, &cork, pin!(connection), http1::UpgradeableConnection::graceful_shutdown, context).await
    else {
        return Ok(());
    };
    if context.tunnels.is_empty() {
        linger(cork, context).await;
    } else {
        // After an upgrade its stream goes on. A client that does not even take the 101 is given up.
        let _ = timeout(config.timeouts.handshake, cork.remove()).await;
    }
    ended
}

async fn serve_http2(stream: TlsStream<Socket>, context: &Arc<Context>) -> hyper::Result<()> {
    let config = &context.proxy.config;
    let service = service_fn(|request| answer(context, request));
    let quota = Arc::clone(context.who.quota());
    let turns = quota.turns.clone();
    let (stream, cork) = cork(Inspected::http2(stream, quota, config.timeouts.head));
    let connection = http2::Builder::new(Streams { cut: context.cut.clone(), polls: cork.polls(), turns })
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(config.limits.streams)
        .max_header_list_size(config.limits.header_bytes + HEAD_MARGIN)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let told = async {
        tokio::select! {
            _ = context.drain.started() => {}
            () = context.activity.idle_for(config.timeouts.idle) => {}
        }
    };
    let Some(ended) = serve_until(told, &cork, pin!(connection), http2::Connection::graceful_shutdown, context).await
    else {
        return Ok(());
    };
    linger(cork, context).await;
    ended
}

/// Serves until the connection ends. Once it is `told` to, it takes no new requests; `None` if others still ran when the drain
/// was over, or if a client with nothing under way does not take the end.
async fn serve_until<C: Future>(
    told: impl Future<Output = ()>,
    cork: &Cork<Inspected<TlsStream<Socket>>>,
    mut connection: Pin<&mut C>,
    shut_down: impl FnOnce(Pin<&mut C>),
    context: &Context,
) -> Option<C::Output> {
    tokio::select! {
        ended = cork.drive(connection.as_mut()) => return Some(ended),
        () = told => {}
    }
    shut_down(connection.as_mut());
    tokio::select! {
        ended = cork.drive(connection) => Some(ended),
        () = context.drain.over() => None,
        () = context.activity.idle_for(context.proxy.config.timeouts.handshake) => None,
    }
}

/// Tells a client that was cut off why, and lets every other read to the end of what it was sent.
async fn linger(cork: Cork<Inspected<TlsStream<Socket>>>, context: &Context) {
    let farewell = async {
        cork.bid_farewell(context.discard.time).await;
        cork.linger(context.discard.time).await;
    };
    tokio::select! {
        () = farewell => {}
        () = context.drain.over() => {}
    }
}

/// In HTTP/1.1. What follows a request for an upgrade is another protocol's, and what follows a malformed body nobody's: the
/// connection ends.
fn answer_http1(
    context: &Arc<Context>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + Send + 'static {
    if let Some(malformed) = context.findings.next() {
        match malformed {
            Malformed::TooLarge => context.who.quota().met(Limit::HeaderBytes),
            Malformed::TooMany => context.who.quota().met(Limit::Headers),
            _ => {}
        }
        request.extensions_mut().insert(malformed);
    }
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let answer = answer(context, request);
    let findings = Arc::clone(&context.findings);
    async move {
        let mut response = answer.await?;
        let refused = upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS;
        if refused || findings.of_body().is_some() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// What a request's head costs is on the workload's account before anything waits.
fn answer(
    context: &Arc<Context>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + Send + 'static {
    let admission = admission::admit(&mut request, &context.proxy.config.limits, context.who.quota());
    let active = context.activity.begin();
    let context = Arc::clone(context);
    async move { Ok(pipeline::answer(context, request, admission, active).await) }
}

/// Runs the streams of an HTTP/2 connection, and ends them with it.
#[derive(Clone)]
struct Streams {
    cut: CancellationToken,
    polls: Polls,
    turns: Turns,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        // Boxed before it is wrapped: each wrapper would have room for it twice.
        let stream = self.polls.clone().count(Box::pin(stream));
        self.turns.spawn(self.cut.clone().run_until_cancelled_owned(stream));
    }
}

/// A connection that is open, in the gauge.
struct OpenGauge<'a>(&'a Proxy);

impl<'a> OpenGauge<'a> {
    fn new(proxy: &'a Proxy) -> Self {
        proxy.config.metrics.connections.inc();
        Self(proxy)
    }
}

impl Drop for OpenGauge<'_> {
    fn drop(&mut self) {
        self.0.config.metrics.connections.dec();
    }
}
