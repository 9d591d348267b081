//! Upgraded connections: exec, attach, port-forward. Bytes go both ways as they are, each direction until its own end.

use std::io;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::{
    DrainSignal,
    exchange::{Exchange, Outcome},
};

/// Bytes held for one direction of one stream.
const BUFFER: usize = 32 << 10;

/// Both ends of an upgraded connection, once each has switched.
pub(crate) struct Tunnel {
    pub(crate) client: OnUpgrade,
    pub(crate) upstream: OnUpgrade,
    pub(crate) exchange: Exchange,
    /// Cancelled when the client's connection is cut from outside.
    pub(crate) cut: CancellationToken,
    pub(crate) drain: DrainSignal,
    /// Whether it is a watch, which a drain ends at once.
    pub(crate) is_watch: bool,
}

impl Tunnel {
    /// Runs until both directions have ended, one breaks, or the guard ends it. Whatever is not an orderly end on both
    /// sides drops both connections without TLS' `close_notify`: neither side takes it for one.
    pub(crate) async fn run(self) {
        let Self { client, upstream, mut exchange, cut, drain, is_watch } = self;
        let ended = tokio::select! {
            ended = relay(client, upstream, &exchange) => ended,
            () = cut.cancelled() => Ok(Outcome::ClientGone),
            () = ended_by(&drain, is_watch) => Ok(Outcome::Drained),
        };
        exchange.outcome = ended.unwrap_or_else(|Broken { upstream, error }| {
            tracing::debug!(%error, upstream, "an upgraded connection broke");
            if upstream { Outcome::UpstreamBroken } else { Outcome::ClientGone }
        });
    }
}

async fn ended_by(drain: &DrainSignal, is_watch: bool) {
    if is_watch {
        drain.started().await;
    } else {
        drain.over().await;
    }
}

async fn relay(client: OnUpgrade, upstream: OnUpgrade, exchange: &Exchange) -> Result<Outcome, Broken> {
    let client = async { client.await.map_err(|error| Broken { upstream: false, error: io::Error::other(error) }) };
    let upstream = async { upstream.await.map_err(|error| Broken { upstream: true, error: io::Error::other(error) }) };
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
    let (upstream_read, upstream_write) = tokio::io::split(TokioIo::new(upstream));
    let traffic = exchange.traffic();
    let up = pump(client_read, upstream_write, |bytes| traffic.add_request(bytes));
    let down = pump(upstream_read, client_write, |bytes| traffic.add_response(bytes));
    let up = async { up.await.map_err(Broken::by_client_first) };
    let down = async { down.await.map_err(Broken::by_upstream_first) };
    tokio::try_join!(up, down)?;
    Ok(Outcome::Complete)
}

/// Which side broke first.
struct Broken {
    upstream: bool,
    error: io::Error,
}

/// Reading and writing fail on different sides.
enum PumpError {
    Read(io::Error),
    Write(io::Error),
}

impl Broken {
    fn by_client_first(error: PumpError) -> Self {
        match error {
            PumpError::Read(error) => Self { upstream: false, error },
            PumpError::Write(error) => Self { upstream: true, error },
        }
    }

    fn by_upstream_first(error: PumpError) -> Self {
        match error {
            PumpError::Read(error) => Self { upstream: true, error },
            PumpError::Write(error) => Self { upstream: false, error },
        }
    }
}

/// Copies until the end, which it passes on; the other direction may go on.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(u64),
) -> Result<(), PumpError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await.map_err(PumpError::Read)?;
        if read == 0 {
            return to.shutdown().await.map_err(PumpError::Write);
        }
        to.write_all(&buffer[..read]).await.map_err(PumpError::Write)?;
        to.flush().await.map_err(PumpError::Write)?;
        count(u64::try_from(read).unwrap_or(u64::MAX));
    }
}
