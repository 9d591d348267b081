//! Floods: all that a pod can do to keep the guard busy, from inside a pod, and what it is told for it.

mod floods;
mod holds;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustls::{ClientConnection, StreamOwned};
use serde::{Deserialize, Serialize};

use super::http2::Heard;
use super::tls;

/// What a client does for as long as it is let.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Ten thousand connections that say nothing.
    Connections,
    /// TLS handshakes, one after another, on many threads.
    Handshakes,
    /// Half of a TLS handshake on each of many connections.
    HalfHandshakes,
    /// Connections after their handshake, which ask for nothing.
    Idle,
    /// A megabyte of a head that does not end, on each of many connections.
    Headers,
    /// Requests with hundreds of header lines.
    HeaderLines,
    /// Heads of more than a megabyte.
    LargeHeads,
    /// Heads and bodies, a byte at a time, on many connections, until each is told.
    SlowWriters,
    /// Lists that nobody reads.
    SlowReaders,
    /// Bodies above the API server's limit.
    LargeBodies,
    /// HTTP/2 requests that are taken back at once.
    RapidReset,
    /// More streams at a time than are allowed.
    Streams,
    /// A head in empty pieces.
    Continuation,
    /// SETTINGS.
    Settings,
    /// PING.
    Ping,
    /// Windows opened by a byte.
    WindowUpdates,
    /// A body, a byte in each frame.
    OneByteFrames,
}

/// What came of an attack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Connections that were opened.
    pub connections: u64,
    /// Those that the other side closed, or never took.
    pub closed: u64,
    /// GOAWAY by its error code (RFC 9113, 7).
    pub goaways: BTreeMap<u32, u64>,
    /// Streams that were reset with `REFUSED_STREAM`.
    pub refused_streams: u64,
    /// Answers in HTTP/1.1 by their status.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes of bodies that were read to their end after all.
    pub read: u64,
}

/// Where an attack goes, and until when.
#[derive(Clone, Debug)]
struct Target {
    to: SocketAddr,
    path: String,
    token: String,
    until: Instant,
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Attacks for so long. `path` is what is asked for where something is.
pub(super) fn run(attack: Attack, to: SocketAddr, path: &str, time: Duration) -> io::Result<Damage> {
    let token = super::gets::token()?;
    let target = Target { to, path: path.to_owned(), token, until: Instant::now() + time };
    match attack {
        Attack::Connections => Ok(holds::connections(&target)),
        Attack::Handshakes => Ok(holds::handshakes(&target)),
        Attack::HalfHandshakes => Ok(holds::half_handshakes(&target)),
        Attack::Idle => Ok(holds::idle(&target)),
        Attack::Headers => Ok(holds::headers(&target)),
        Attack::HeaderLines => Ok(holds::header_lines(&target)),
        Attack::LargeHeads => Ok(holds::large_heads(&target)),
        Attack::SlowWriters => Ok(holds::slow_writers(&target)),
        Attack::SlowReaders => Ok(holds::slow_readers(&target)),
        Attack::LargeBodies => Ok(holds::large_bodies(&target)),
        Attack::RapidReset
        | Attack::Streams
        | Attack::Continuation
        | Attack::Settings
        | Attack::Ping
        | Attack::WindowUpdates
        | Attack::OneByteFrames => Ok(floods::flood(attack, &target)),
    }
}

impl Target {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// A connection whose calls take a few seconds at most.
    fn connect(&self) -> io::Result<TcpStream> {
        let limit = Duration::from_secs(12);
        let tcp = TcpStream::connect_timeout(&self.to, limit)?;
        tcp.set_read_timeout(Some(limit))?;
        tcp.set_write_timeout(Some(limit))?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    fn shake_hands(&self, alpn: &[u8]) -> io::Result<Tls> {
        tls::connect(self.connect()?, alpn)
    }
}

impl Damage {
    fn hear(&mut self, heard: &Heard) {
        for (code, count) in &heard.goaways {
            *self.goaways.entry(*code).or_default() += count;
        }
        self.refused_streams += heard.refused_streams;
    }

    /// An answer's first bytes, if there were any.
    fn answer(&mut self, answer: &[u8]) {
        let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
        match status.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok()) {
            Some(status) => *self.statuses.entry(status).or_default() += 1,
            None => self.closed += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.closed += other.closed;
        self.refused_streams += other.refused_streams;
        self.read += other.read;
        for (code, count) in &other.goaways {
            *self.goaways.entry(*code).or_default() += count;
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }
}

/// The same on several threads.
fn on_threads(count: usize, work: impl Fn() -> Damage + Sync) -> Damage {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&work)).collect();
        let mut sum = Damage::default();
        for thread in threads {
            sum.add(&thread.join().expect("an attack does not panic"));
        }
        sum
    })
}
