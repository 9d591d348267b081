//! One try at the API server from inside a pod, reported as one line of JSON ([`Finding`]).
//!
//! What the kernel must refuse is tried with all that a pod could have: a stack of its own over raw frames, dressed in every
//! way that a careless parser mistakes for something else. The test decides by the certificate whom a try has met.

pub mod attack;
mod bind;
mod connect;
mod datagram;
mod dressing;
mod express;
pub mod gets;
mod http2;
mod interface;
mod lend;
mod link;
mod option;
mod packet_socket;
mod patience;
mod raw;
mod stack;
pub mod storm;
mod tls;
mod tunnel;
mod uring;

use std::io::{self, BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::finding::Finding;
use dressing::{Dresser, Dressing};
use interface::Interface;
use link::{Carrier, Link};
use stack::Connection;
use tls::{Session, Stream};

#[derive(Parser)]
#[command(name = "probe", about = "Tries one way to the API server and says whom it met, as one line of JSON.")]
struct Command {
    /// How long to wait for an answer, in milliseconds.
    #[arg(long, global = true, default_value_t = 3000)]
    limit: u64,
    /// Says `ready` and its process id, then waits for a line before it goes on.
    #[arg(long, global = true)]
    wait: bool,
    #[command(subcommand)]
    vector: Vector,
}

#[derive(Subcommand)]
enum Vector {
    /// TCP by the kernel's stack.
    Connect {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long, value_enum, default_value = "plain")]
        way: connect::Way,
        #[arg(long, value_enum, default_value = "tls")]
        speak: Speech,
    },
    /// HTTP as it is written: each line of standard input is bytes in hexadecimal, for a TLS connection of its own. Answers with a
    /// JSON array of what came back.
    RawHttp {
        #[arg(long)]
        to: SocketAddr,
    },
    /// What `getpeername` says of a connection.
    PeerName {
        #[arg(long)]
        to: SocketAddr,
    },
    /// UDP, ICMP and others.
    Datagram {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long, value_enum, default_value = "udp")]
        way: datagram::Way,
    },
    /// Sends UDP again and again, and says how often that was refused.
    Flood {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        times: u32,
    },
    /// TCP by a stack of the probe's own, on raw frames.
    Packet(Packet),
    /// Binds the port and listens.
    Bind {
        #[arg(long)]
        port: u16,
        #[arg(long, value_enum)]
        at: bind::At,
        #[arg(long, value_enum, default_value = "plain")]
        how: bind::How,
    },
    /// Listens without `bind` to a port, again and again, and says which ports it was given.
    ListenUnbound {
        #[arg(long)]
        times: u32,
        #[arg(long, value_enum, default_value = "listen")]
        how: bind::Unbound,
    },
    /// Connects, says `ready`, waits for a line, and only then asks its question.
    Old {
        #[arg(long)]
        to: SocketAddr,
    },
    /// Makes a socket and gives it to the one that borrows it.
    Lend {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        at: PathBuf,
        /// Connects it first.
        #[arg(long)]
        connected: bool,
    },
    /// Floods the API server's address, and says as JSON what it was told.
    Attack {
        #[arg(value_enum)]
        attack: attack::Attack,
        #[arg(long)]
        to: SocketAddr,
        /// What is asked for.
        #[arg(long, default_value = "/version")]
        path: String,
        /// For how many seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Asks the same again and again, and says as JSON how long each answer took.
    Gets {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long, default_value = "/version")]
        path: String,
        /// For how many seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Milliseconds between two.
        #[arg(long, default_value_t = 10)]
        pause: u64,
    },
    /// Tries each way again and again until its standard input ends, and says as JSON whom each has met.
    Storm {
        /// The arguments of one try, as the probe would take them.
        #[arg(long = "way")]
        ways: Vec<String>,
        /// Milliseconds between two tries of one way.
        #[arg(long, default_value_t = 50)]
        pause: u64,
    },
    /// Takes a socket from the one that lends it, and connects it if it isn't.
    Borrow {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        at: PathBuf,
    },
}

#[derive(Args)]
struct Packet {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, value_enum, default_value = "packet")]
    carrier: Carrier,
    #[arg(long, value_enum, default_value = "plain")]
    dressing: Dressing,
    /// From a free address of the pod's network instead of its own.
    #[arg(long)]
    foreign_source: bool,
    /// Who forwards it: a source route's next hop, a tunnel's other end.
    #[arg(long)]
    via: Option<IpAddr>,
    #[arg(long, default_value_t = 99)]
    overlay_id: u32,
    #[arg(long)]
    overlay_port: Option<u16>,
    /// The inner frame's destination.
    #[arg(long, value_parser = mac, default_value = "02:00:00:00:00:99")]
    overlay_mac: [u8; 6],
    #[arg(long, value_enum, default_value = "tls")]
    speak: Speech,
}

/// What is said on a connection to learn who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Speech {
    /// A TLS handshake.
    Tls,
    /// A TLS handshake, then `GET /version`.
    Https,
    /// The same with the pod's own token.
    AsPod,
    /// Nothing: the first line that comes is the answer.
    Nothing,
}

/// Runs the try that the command line asks for and prints its finding.
pub fn main() {
    let command = Command::parse();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.join(" ");
    let finding = run(&command, Finding::met(&name)).unwrap_or_else(|error| Finding::failed(&name, &error));
    println!("{}", serde_json::to_string(&finding).expect("strings and numbers are JSON"));
}

fn run(command: &Command, met: Finding) -> io::Result<Finding> {
    let limit = Duration::from_millis(command.limit);
    if command.wait {
        wait()?;
    }
    let answered = |answer: String| Finding { answer: Some(answer), ..met.clone() };
    match &command.vector {
        Vector::Connect { to, way, speak } => speak_on(connect::open(*to, *way, limit)?, *speak, met),
        Vector::RawHttp { to } => {
            let answers = raw::ask_each(*to, limit)?;
            Ok(answered(serde_json::to_string(&answers).expect("strings are JSON")))
        }
        Vector::PeerName { to } => Ok(answered(connect::peer_name(*to, limit)?.to_string())),
        Vector::Datagram { to, way } => Ok(answered(datagram::ask(*to, *way, limit)?)),
        Vector::Flood { to, times } => Ok(answered(datagram::flood(*to, *times)?.to_string())),
        Vector::Packet(packet) => speak_on(packet.open(limit)?, packet.speak, met),
        Vector::Bind { port, at, how } => Ok(answered(bind::listen(*port, *at, *how, limit)?)),
        Vector::ListenUnbound { times, how } => {
            let ports: Vec<String> = bind::listen_unbound(*times, *how, limit)?.iter().map(u16::to_string).collect();
            Ok(answered(ports.join(" ")))
        }
        Vector::Old { to } => {
            let (mut session, peer) = Session::open(connect::open(*to, connect::Way::Plain, limit)?)?;
            wait()?;
            let answer = session.ask("")?;
            Ok(Finding { answer: Some(answer), ..of_peer(met, peer) })
        }
        Vector::Attack { attack, to, path, seconds } => {
            let damage = attack::run(*attack, *to, path, Duration::from_secs(*seconds))?;
            Ok(answered(serde_json::to_string(&damage)?))
        }
        Vector::Gets { to, path, seconds, pause } => {
            let latencies = gets::run(*to, path, Duration::from_secs(*seconds), Duration::from_millis(*pause))?;
            Ok(answered(serde_json::to_string(&latencies)?))
        }
        Vector::Storm { ways, pause } => {
            let tallies = storm::run(ways, command.limit, Duration::from_millis(*pause))?;
            Ok(answered(serde_json::to_string(&tallies)?))
        }
        Vector::Lend { to, at, connected } => lend::lend(at, *to, *connected, limit).map(|()| met),
        Vector::Borrow { to, at } => speak_on(lend::borrow(at, *to, limit)?, Speech::Tls, met),
    }
}

impl Packet {
    fn open(&self, limit: Duration) -> io::Result<Connection> {
        let interface = Interface::of_pod()?;
        let own = interface.address_towards(self.to.ip())?;
        let source = if self.foreign_source { interface::neighbour_of(own) } else { own };
        let dresser = Dresser {
            dressing: self.dressing,
            via: self.via,
            overlay_id: self.overlay_id,
            overlay_port: self.overlay_port,
            overlay_mac: self.overlay_mac,
        };
        let link = Link::open(&interface, source, self.carrier, dresser)?;
        Connection::open(&interface, link, source, self.to, limit)
    }
}

fn speak_on(mut stream: impl Stream, speak: Speech, met: Finding) -> io::Result<Finding> {
    if speak == Speech::Nothing {
        let mut line = [0; 64];
        let length = stream.read(&mut line)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = String::from_utf8_lossy(&line[..length]).trim_end().to_owned();
        return Ok(Finding { answer: Some(answer), ..met });
    }
    let (mut session, peer) = Session::open(stream)?;
    let answer = match speak {
        Speech::Https => Some(session.ask("")?),
        Speech::AsPod => Some(session.ask(&format!("Authorization: Bearer {}\r\n", gets::token()?))?),
        Speech::Tls | Speech::Nothing => None,
    };
    Ok(Finding { answer, ..of_peer(met, peer) })
}

fn of_peer(met: Finding, peer: tls::Peer) -> Finding {
    Finding { peer_certificate_sha256: Some(peer.certificate_sha256), issuer: Some(peer.issuer), ..met }
}

fn ready() -> io::Result<()> {
    println!("ready {}", std::process::id());
    io::stdout().flush()
}

fn wait() -> io::Result<()> {
    ready()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(())
}

/// How findings name a certificate: SHA-256 of its DER, in hexadecimal.
pub fn fingerprint(certificate: &[u8]) -> String {
    tls::fingerprint(certificate)
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("{text} is no MAC address"))
}
