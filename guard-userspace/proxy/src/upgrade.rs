//! Upgraded connections: exec, attach, port-forward, any WebSocket. Each direction passes as it comes until its own end, and is
//! understood on its way (`guard-kube-streams`): what can't be ends both, with a reason.

mod account;
mod pipe;
mod switch;

use std::{io, time::Duration};

use guard_kube_streams::{Session, Side};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use self::pipe::{Pipe, PipeError, Reading};
pub(crate) use self::{account::Account, switch::Switch};
use crate::{
    DrainSignal,
    exchange::{Exchange, Outcome},
};

/// Both ends of an upgraded connection, once each has switched.
pub(crate) struct Tunnel {
    pub(crate) client: OnUpgrade,
    pub(crate) upstream: OnUpgrade,
    pub(crate) switch: Switch,
    pub(crate) exchange: Exchange,
    /// Cancelled when the client's connection is cut from outside.
    pub(crate) cut: CancellationToken,
    pub(crate) drain: DrainSignal,
    /// Whether it is a watch, which a drain ends at once.
    pub(crate) is_watch: bool,
    /// How long a client may take to read why its stream was ended.
    pub(crate) grace: Duration,
}

impl Tunnel {
    /// Runs until both directions have ended, one breaks, or the guard ends it. Whatever is not an orderly end on both
    /// sides drops both connections without TLS' `close_notify`: neither side takes it for one.
    pub(crate) async fn run(self) {
        let Self { client, upstream, switch, mut exchange, cut, drain, is_watch, grace } = self;
        let Switch { protocol, name, is_command } = switch;
        let reading = Reading::new(Session::new(&protocol), Account::new(name, is_command));
        exchange.outcome = tokio::select! {
            ended = relay(client, upstream, &reading, &exchange, grace) => ended,
            () = cut.cancelled() => Outcome::ClientGone,
            () = ended_by(&drain, is_watch) => Outcome::Drained,
        };
        exchange.streams = Some(Box::new(reading.into_account()));
    }
}

async fn ended_by(drain: &DrainSignal, is_watch: bool) {
    if is_watch {
        drain.started().await;
    } else {
        drain.over().await;
    }
}

async fn relay(
    client: OnUpgrade,
    upstream: OnUpgrade,
    reading: &Reading,
    exchange: &Exchange,
    grace: Duration,
) -> Outcome {
    let client = async { client.await.map_err(|error| broken(false, &io::Error::other(error))) };
    let upstream = async { upstream.await.map_err(|error| broken(true, &io::Error::other(error))) };
    let (client, upstream) = match tokio::try_join!(client, upstream) {
        Ok(both) => both,
        Err(outcome) => return outcome,
    };
    let (mut client_read, mut client_write) = tokio::io::split(TokioIo::new(client));
    let (upstream_read, upstream_write) = tokio::io::split(TokioIo::new(upstream));
    let traffic = exchange.traffic();
    let (mut up, mut down) = (Pipe::new(Side::Client), Pipe::new(Side::Server));
    let ended = {
        let up = up.run(&mut client_read, upstream_write, reading, |bytes| traffic.add_request(bytes));
        let down = down.run(upstream_read, &mut client_write, reading, |bytes| traffic.add_response(bytes));
        let up = async { up.await.map_err(|error| (Side::Client, error)) };
        let down = async { down.await.map_err(|error| (Side::Server, error)) };
        tokio::try_join!(up, down)
    };
    match ended {
        Ok(_) => Outcome::Complete,
        // A client may say goodbye to an API server that is gone already.
        Err((Side::Client, PipeError::Write(_))) if reading.has_server_ended() => Outcome::Complete,
        Err((Side::Client, PipeError::Read(error)) | (Side::Server, PipeError::Write(error))) => broken(false, &error),
        Err((Side::Client, PipeError::Write(error)) | (Side::Server, PipeError::Read(error))) => broken(true, &error),
        Err((_, PipeError::Fault(side, fault))) => {
            tracing::debug!(%fault, ?side, "an upgraded connection could not be understood");
            reading.break_off(side, fault);
            let farewell = reading.farewell(&format!("egress guard: {fault}")).unwrap_or_default();
            down.take_leave(client_read, client_write, &farewell, grace).await;
            if side == Side::Client { Outcome::ClientFault } else { Outcome::UpstreamFault }
        }
    }
}

fn broken(upstream: bool, error: &io::Error) -> Outcome {
    tracing::debug!(%error, upstream, "an upgraded connection broke");
    if upstream { Outcome::UpstreamBroken } else { Outcome::ClientGone }
}
