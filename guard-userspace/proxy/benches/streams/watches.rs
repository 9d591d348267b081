//! Memory of idle watches: how much a process grows that holds client, server and what is between them; what lies between is the
//! difference to a process without it.

use std::process::Command;

use bytes::Bytes;
use guard_proxy::Limits;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    guard, server,
    servers::{self, Certified, NAME},
};

/// Watches on one connection of a client.
const STREAMS: usize = 100;

/// Bytes for each watch: direct, relay, guard.
pub(crate) fn each_in_a_process(count: usize) -> [f64; 3] {
    ["direct", "relay", "guard"].map(|path| {
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program)
            .args(["--watches-through", path, "--count", &count.to_string()])
            .stderr(std::process::Stdio::inherit())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    })
}

/// How much this process grows with each of `count` watches, in bytes.
pub(crate) fn growth(path: &str, count: usize) -> f64 {
    let tls = Certified::new();
    let server = server::start(&tls);
    let mut token = String::new();
    let to = match path {
        "direct" => server.address,
        "relay" => servers::relay(&tls, server.address).address,
        _ => {
            let most = Limits { exchanges: 2 * count, upstream_connections: count, ..Limits::default() };
            let (guard, of_agent) = guard::guard(&tls, server.address, most);
            token = of_agent;
            guard.address
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut held = Vec::new();
        // The first connections fill caches and pools.
        held.push(watch(&tls, to, &token, STREAMS).await);
        let before = resident();
        for _ in 0..count / STREAMS {
            held.push(watch(&tls, to, &token, STREAMS).await);
        }
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let each = (resident() - before) as f64 / (count / STREAMS * STREAMS) as f64;
        drop(held);
        each
    })
}

type Held = (http2::SendRequest<Empty<Bytes>>, Vec<hyper::body::Incoming>);

/// One connection with so many watches, each of which has said something.
async fn watch(tls: &Certified, to: std::net::SocketAddr, token: &str, count: usize) -> Held {
    let tcp = TcpStream::connect(to).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let io = TokioIo::new(TlsConnector::from(tls.client(Some(b"h2"))).connect(name, tcp).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..count {
        let request = Request::get(format!("https://{NAME}/api/v1/pods?watch=1"))
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::OK);
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        bodies.push(body);
    }
    (sender, bodies)
}

/// Bytes that this process has in memory.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() << 10
}
