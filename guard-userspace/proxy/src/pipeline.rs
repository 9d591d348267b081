//! The way of one request, a step a line.

use std::sync::Arc;

use bytes::Bytes;
use guard_identity::Caller;
use guard_kube_request::{RequestInfo, describe};
use guard_policy::Action;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};

use crate::{
    body::{RequestBody, ResponseBody},
    client_body::ClientBody,
    connection::{Active, Admission, Context},
    exchange::{Decided, Exchange, Verdict},
    form,
    gate::{GATE_PATH, OWN_PREFIX},
    headers::{self, UpgradeProtocol},
    quota::Limit,
    refusal::{Denial, Refusal},
    upgrade::{Switch, Tunnel},
    upstream::{self, Lease, SendError},
    watch_end::WatchEnd,
};

/// What the pipeline ends with.
enum Answer {
    /// The API server's.
    Forwarded(Forwarded),
    /// The guard's, to the gate.
    Own(Response<ResponseBody>),
}

/// What comes back for a request that was forwarded.
struct Forwarded {
    response: Response<Incoming>,
    lease: Lease,
    /// Whether it was sent with a body.
    with_body: bool,
    /// The client's side of an upgrade, and to what, if both sides agreed on one.
    switched: Option<(OnUpgrade, Switch)>,
}

/// A request whose head is read and whose body waits, until somebody takes it.
struct Arrived {
    head: Request<()>,
    /// The head's account, closed with it, or why it is refused.
    admission: Option<Admission>,
    body: Option<ClientBody>,
}

/// Answers one request, whatever it is. The exchange ends, and its line is written, with the answer's body.
pub(crate) async fn answer(
    context: Arc<Context>,
    request: Request<Incoming>,
    admission: Admission,
    active: Active,
) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let head = Request::from_parts(head, ());
    let body = ClientBody::new(body, &head, context.discard.clone(), context.activity.begin());
    let mut request = Arrived { head, admission: Some(admission), body: Some(body) };
    let mut exchange = Exchange::new(
        Arc::clone(context.who.workload()),
        Arc::clone(&context.proxy.config.metrics),
        request.head.method().clone(),
        request.head.headers(),
        active,
    );
    match run(&context, &mut exchange, &mut request).await {
        Ok(Answer::Forwarded(forwarded)) => deliver(&context, exchange, forwarded).await,
        Ok(Answer::Own(response)) => finish(exchange, &request, response),
        Err(refusal) => {
            tracing::debug!(workload = %context.who.workload(), ?refusal, "refused");
            finish(exchange, &request, refusal.status().into_response())
        }
    }
}

/// identify ▸ authenticate ▸ describe ▸ policy ▸ credentials ▸ forward. A place at the API server is waited for last: what is refused takes
/// none. Identity was settled at accept, by the listener:
/// it is `context.who`.
async fn run(context: &Context, exchange: &mut Exchange, request: &mut Arrived) -> Result<Answer, Refusal> {
    let _held = request.admission.take().transpose()?;
    exchange.place = Some(context.who.quota().admit_exchange().ok_or(Refusal::TooMany)?);
    check_form(context, &request.head)?;
    let caller = authenticate(context, exchange, &request.head).await?;
    if request.head.uri().path().starts_with(OWN_PREFIX) {
        return answer_own(context, exchange, &request.head).await.map(Answer::Own);
    }
    let described = describe_as_the_api_server(&request.head)?;
    let described = exchange.request.insert(described).clone();
    decide(context, exchange, &caller, described)?;
    take_seat(context, exchange).await?;
    let authorization = credential(context, exchange).await?;
    forward(context, exchange, request, authorization).await.map(Answer::Forwarded)
}

/// Whether everybody who reads the request reads the same, and it is one that an agent may make in this form.
fn check_form(context: &Context, request: &Request<()>) -> Result<(), Refusal> {
    // In HTTP/1.1 the connection was read before the library read it.
    if let Some(malformed) = request.extensions().get() {
        return Err(Refusal::Malformed(*malformed));
    }
    form::check(request).map_err(|malformed| {
        context.proxy.config.metrics.malformed_requests_total.with_label_values(&[malformed.reason()]).inc();
        Refusal::Malformed(malformed)
    })?;
    match headers::impersonation(request.headers()) {
        Some(header) => Err(Refusal::Impersonation(header.to_string())),
        None => Ok(()),
    }
}

async fn authenticate(context: &Context, exchange: &mut Exchange, request: &Request<()>) -> Result<Caller, Refusal> {
    let config = &context.proxy.config;
    let who = context.who.workload();
    let verified = match headers::bearer(request.headers()) {
        Ok(bearer) => config.verifier.authenticate(who, bearer.as_ref().map(|bearer| bearer.as_str())).await,
        Err(error) => Err(error),
    };
    match verified {
        Ok(caller) => {
            exchange.user.clone_from(&caller.username);
            Ok(caller)
        }
        Err(error) => {
            config.metrics.authentication_failures_total.with_label_values(&[error.reason()]).inc();
            config.observer.authentication_failed(who, &error);
            Err(Refusal::Unauthenticated(error))
        }
    }
}

/// The guard's own paths, which are never forwarded.
async fn answer_own(
    context: &Context,
    exchange: &mut Exchange,
    request: &Request<()>,
) -> Result<Response<ResponseBody>, Refusal> {
    if request.uri().path() != GATE_PATH || request.method() != Method::GET {
        return Err(Refusal::NotFound);
    }
    exchange.verdict.decision = Decided::Answered;
    let proof = context.proxy.config.gate.prove(context.who.workload()).await.map_err(Refusal::Unproven)?;
    let json = serde_json::to_vec(&proof).map_err(|error| Refusal::Unproven(error.to_string()))?;
    let mut response = Response::new(ResponseBody::local(Bytes::from(json)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// From the very bytes that are forwarded.
fn describe_as_the_api_server(request: &Request<()>) -> Result<RequestInfo, Refusal> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    describe(request.method().as_str(), target).map_err(Refusal::Undescribable)
}

fn decide(context: &Context, exchange: &mut Exchange, caller: &Caller, request: RequestInfo) -> Result<(), Refusal> {
    let decision = context.proxy.config.policies.load().decide(context.who.workload(), caller, &request);
    let decided = if decision.action == Action::Allow { Decided::Allow } else { Decided::Deny };
    exchange.verdict = Verdict { decision: decided, policy: decision.policy.clone(), rule: decision.rule.clone() };
    if decided == Decided::Allow {
        return Ok(());
    }
    Err(Refusal::Denied(Box::new(Denial { user: caller.username.clone(), request, decision })))
}

/// The API server has few places for all its clients, and only gives one to the next when a request is over. A pod that
/// takes them all, with bodies that do not come or answers that it does not read, would leave its neighbours none.
async fn take_seat(context: &Context, exchange: &mut Exchange) -> Result<(), Refusal> {
    if !exchange.request.as_ref().is_some_and(is_long_running) {
        let seat = context.who.quota().admit_request(&context.proxy.config.timeouts).await;
        exchange.seat = Some(seat.ok_or(Refusal::TooMany)?);
    }
    Ok(())
}

/// Whether the API server lets it have no place (k8s.io/apiserver: `BasicLongRunningRequestCheck` with kube-apiserver's arguments).
fn is_long_running(request: &RequestInfo) -> bool {
    request.verb == "watch"
        || request.is_resource_request
            && matches!(request.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
}

async fn credential(context: &Context, exchange: &Exchange) -> Result<Option<HeaderValue>, Refusal> {
    context.who.credentials().authorization().await.map_err(|error| {
        exchange.metrics().upstream_failures_total.with_label_values(&["credentials"]).inc();
        context.proxy.config.observer.credentials_unavailable(context.who.workload(), &error);
        tracing::warn!(workload = %context.who.workload(), %error, "no credential for the API server");
        Refusal::Credentials
    })
}

async fn forward(
    context: &Context,
    exchange: &Exchange,
    request: &mut Arrived,
    authorization: Option<HeaderValue>,
) -> Result<Forwarded, Refusal> {
    let http1 = request.head.version() == Version::HTTP_11;
    let upgrade = UpgradeProtocol::requested(request.head.headers()).filter(|_| http1);
    let client = upgrade.map(|_| hyper::upgrade::on(&mut request.head));
    let version = request.head.version();
    let body = request.body.take().map_or(Ok(RequestBody::Empty), |mut body| {
        if exchange.request.as_ref().is_some_and(is_bounded) {
            body.bound(&context.proxy.config).map_err(|limit| over(context, limit))?;
        }
        let traffic = Arc::clone(exchange.traffic());
        Ok(RequestBody::streaming(body, version, traffic, context.who.quota().held.clone()))
    })?;
    let repeatable = body.is_empty();
    let overstepped = body.overstepped();
    let sent = send(context, outgoing(exchange, &request.head, body, upgrade, authorization.as_ref()), upgrade);
    let (mut response, mut lease) = sent.await.map_err(|error| match overstepped.get() {
        // The API server has seen no end of the body, so it has done nothing.
        Some(limit) => over(context, *limit),
        None => unanswered(context, exchange, error),
    })?;
    if response.status() == StatusCode::UNAUTHORIZED {
        // The token was renewed or revoked since it was read. A 401 was not carried out, so it may be sent again.
        context.who.credentials().invalidate();
        let renewed = credential(context, exchange).await?;
        if repeatable && renewed != authorization {
            let again = outgoing(exchange, &request.head, RequestBody::Empty, upgrade, renewed.as_ref());
            let sent = send(context, again, upgrade).await;
            (response, lease) = sent.map_err(|error| unanswered(context, exchange, error))?;
        }
    }
    if let Some(fault) = form::fault_of_answer(&response, upgrade.is_some()) {
        let error = SendError::Broken(format!("what it answers can be read in two ways: {fault}"));
        return Err(unanswered(context, exchange, error));
    }
    let switched = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let switch = Switch::of(upgrade, &request.head, exchange.request.as_ref(), response.headers());
        let switch = switch.map_err(|why| unanswered(context, exchange, SendError::Switch(why)))?;
        client.map(|client| (client, switch))
    } else {
        None
    };
    Ok(Forwarded { response, lease, with_body: !repeatable, switched })
}

/// Whether the API server bounds the body as well: it does not where it passes it on.
fn is_bounded(request: &RequestInfo) -> bool {
    request.is_resource_request && request.subresource != "proxy"
}

/// The client's body has met a limit.
fn over(context: &Context, limit: Limit) -> Refusal {
    context.who.quota().met(limit);
    Refusal::Body(limit, context.proxy.config.limits.body_bytes)
}

/// The request as the API server gets it: same method, path and query, and headers by the allow list.
fn outgoing(
    exchange: &Exchange,
    head: &Request<()>,
    body: RequestBody,
    upgrade: Option<UpgradeProtocol>,
    authorization: Option<&HeaderValue>,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method().clone();
    *request.uri_mut() = head.uri().clone();
    *request.headers_mut() = headers::forwarded(head.headers(), upgrade, authorization.cloned(), exchange.audit_id());
    request
}

async fn send(
    context: &Context,
    mut request: Request<RequestBody>,
    upgrade: Option<UpgradeProtocol>,
) -> Result<(Response<Incoming>, Lease), SendError> {
    let prefix = context.proxy.config.upstream.access.path_prefix.as_str();
    if !prefix.is_empty() {
        let target = Uri::try_from(format!("{prefix}{}", request.uri()));
        *request.uri_mut() = target.map_err(|error| SendError::Unprocessed(error.to_string()))?;
    }
    let pool = context.who.pool();
    match upgrade {
        Some(_) => upstream::connect_for_upgrade(pool, request).await,
        None => upstream::send(pool, request).await,
    }
}

fn unanswered(context: &Context, exchange: &Exchange, error: SendError) -> Refusal {
    if let Some(malformed) = context.findings.of_body() {
        return Refusal::Malformed(malformed);
    }
    exchange.metrics().upstream_failures_total.with_label_values(&[error.reason()]).inc();
    tracing::warn!(workload = %context.who.workload(), %error, "no answer from the API server");
    Refusal::Upstream(error)
}

/// The answer as the client gets it, streaming.
async fn deliver(context: &Arc<Context>, mut exchange: Exchange, forwarded: Forwarded) -> Response<ResponseBody> {
    let Forwarded { mut response, lease, with_body, switched } = forwarded;
    exchange.status = Some(response.status());
    let is_watch = exchange.request.as_ref().is_some_and(|request| request.verb == "watch");
    if let Some((client, switch)) = switched {
        let upstream = hyper::upgrade::on(&mut response);
        headers::strip_for_upgrade(response.headers_mut());
        let (cut, drain) = (context.cut.clone(), context.drain.clone());
        let grace = context.proxy.config.timeouts.discard;
        let tunnel = Tunnel { client, upstream, switch, exchange, cut, drain, is_watch, grace };
        let turns = context.who.quota().turns.clone();
        context.tunnels.spawn(async move { turns.run(Box::pin(tunnel.run())).await });
        return response.map(|_| ResponseBody::local(Bytes::new()));
    }
    let version = response.version();
    headers::strip_hop_by_hop(response.headers_mut());
    let watch = is_watch.then(|| WatchEnd::new(response.headers(), &context.drain));
    let (head, body) = response.into_parts();
    let mut body = ResponseBody::streaming(body, version, watch, lease, exchange, context.who.quota().held.clone());
    if with_body && (head.status.is_client_error() || head.status.is_server_error()) {
        body.await_first_piece().await;
    }
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The guard's own answer. It bears the audit id too, so that a person can find its log line.
fn finish(mut exchange: Exchange, request: &Arrived, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    exchange.status = Some(response.status());
    response.headers_mut().insert(headers::AUDIT_ID, exchange.audit_id());
    if request.body.as_ref().is_some_and(ClientBody::ends_connection) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if request.head.method() == Method::HEAD {
        // In HTTP/2 hyper sends what it is given.
        response = response.map(|_| ResponseBody::local(Bytes::new()));
    }
    response.map(|body| body.ending(exchange))
}
