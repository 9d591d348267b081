//! What must hold for a client's connection, whatever it sends behind the TLS handshake.

use std::cell::RefCell;

use guard_kube_request::describe;
use guard_proxy::Limits;
use http::Version;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Runtime},
    task::yield_now,
};

use crate::bed::{Api, Bed, BedOptions, ClientOptions, ok, raw_tls};

/// What nobody but the guard may say to the API server, and what HTTP/2 has no place for.
const NEVER: [&str; 8] = [
    "connection",
    "cookie",
    "forwarded",
    "sec-websocket-extensions",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];
/// The guard's own words, where a stream shall be upgraded.
const UPGRADE: [(&str, &[u8]); 3] = [("connection", b"Upgrade"), ("upgrade", b"websocket"), ("upgrade", b"SPDY/3.1")];
/// Turns of the runtime without a byte, after which nothing more is to come: everything runs on this thread.
const QUIET: usize = 100;
/// Connections after which the bed is made anew: it remembers every request.
const CONNECTIONS: usize = 2_000;

thread_local! {
    static ROOM: RefCell<Option<Room>> = const { RefCell::new(None) };
}

/// A proxy before an API server, and the runtime that both run on.
struct Room {
    bed: Bed,
    api: Api,
    connections: usize,
    /// Requests that were looked at.
    seen: usize,
    runtime: Runtime,
}

/// `input` is a byte that says which protocol is agreed on, and the bytes that the client sends.
pub(crate) fn check(input: &[u8]) {
    let Some((protocol, bytes)) = input.split_first() else { return };
    let options = if protocol & 1 == 0 { ClientOptions::http2() } else { ClientOptions::http11() };
    ROOM.with_borrow_mut(|room| {
        if room.as_ref().is_some_and(|room| room.connections >= CONNECTIONS) {
            *room = None;
        }
        room.get_or_insert_with(Room::new).check(&options, bytes);
    });
}

impl Room {
    fn new() -> Self {
        // Sockets are looked at in every turn, or a hundred quiet ones would say nothing.
        let runtime = Builder::new_current_thread().enable_all().event_interval(1).build().expect("a runtime");
        let limits = Limits {
            handshakes_per_second: u32::MAX,
            frames_per_second: u32::MAX,
            resets_per_second: u32::MAX,
            ..Limits::default()
        };
        let (api, bed) = runtime.block_on(async {
            let api = Api::start(ok()).await;
            let bed = Bed::with(&api, BedOptions { limits, ..BedOptions::default() }).await;
            (api, bed)
        });
        Self { bed, api, connections: 0, seen: 0, runtime }
    }

    fn check(&mut self, options: &ClientOptions, bytes: &[u8]) {
        self.connections += 1;
        self.runtime.block_on(converse(&self.bed, options, bytes));
        for request in self.api.seen_since(self.seen) {
            self.seen += 1;
            assert!(describe(&request.method, &request.target).is_ok(), "{request:?}");
            let authorizations: Vec<_> = request.headers.get_all("authorization").iter().collect();
            assert!(
                matches!(authorizations[..], [one] if one.as_bytes().starts_with(b"Bearer upstream-")),
                "{request:?}"
            );
            // An upgrade, alone on its connection.
            let upgrades = request.version == Version::HTTP_11;
            for (name, value) in &request.headers {
                let name = name.as_str();
                let foreign =
                    NEVER.contains(&name) || name.starts_with("x-remote-") || name.starts_with("impersonate-");
                assert!(!foreign || upgrades && UPGRADE.contains(&(name, value.as_bytes())), "{request:?}");
                assert!(value.as_bytes().iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "{request:?}");
            }
        }
    }
}

/// Sends the bytes, reads what comes, and goes away when nothing does.
async fn converse(bed: &Bed, options: &ClientOptions, bytes: &[u8]) {
    let mut tls = raw_tls(bed.address, &bed.roots, options).await.expect("a handshake");
    // The other side may close before it has read everything.
    let _ = tls.write_all(bytes).await;
    let _ = tls.flush().await;
    let mut buffer = [0; 4096];
    let mut quiet = 0;
    while quiet < QUIET {
        tokio::select! {
            biased;
            read = tls.read(&mut buffer) => match read {
                Ok(1..) => quiet = 0,
                _ => return,
            },
            () = yield_now() => quiet += 1,
        }
    }
}
