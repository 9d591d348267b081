//! An ordinary client: the same small request again and again, and how long each took.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::tls;

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Requests on one connection. Every so often a client is new.
const ON_ONE: usize = 20;
/// Longer than any request takes that ends well.
const LIMIT: Duration = Duration::from_secs(20);

/// What an ordinary client has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// Requests that were answered with 200, each in microseconds, in their order.
    pub micros: Vec<u64>,
    /// What became of the others.
    pub failed: Vec<String>,
}

impl Latencies {
    /// The time that this share of requests was answered in, in microseconds.
    pub fn percentile(&self, share: f64) -> u64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = (last as f64 * share).ceil() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// The token that a client in a pod shows.
pub(super) fn token() -> io::Result<String> {
    Ok(std::fs::read_to_string(TOKEN)?.trim().to_owned())
}

/// Asks for `path` for so long, with a pause between two requests.
pub(super) fn run(to: SocketAddr, path: &str, time: Duration, pause: Duration) -> io::Result<Latencies> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: kubernetes.default.svc\r\nAuthorization: Bearer {}\r\nAccept: application/json\r\n\r\n",
        token()?
    );
    let until = Instant::now() + time;
    let mut latencies = Latencies::default();
    while Instant::now() < until {
        if let Err(error) = on_one(to, &request, until, pause, &mut latencies) {
            latencies.failed.push(error.to_string());
            std::thread::sleep(pause);
        }
    }
    Ok(latencies)
}

fn on_one(to: SocketAddr, request: &str, until: Instant, pause: Duration, latencies: &mut Latencies) -> io::Result<()> {
    let tcp = TcpStream::connect_timeout(&to, LIMIT)?;
    tcp.set_read_timeout(Some(LIMIT))?;
    tcp.set_nodelay(true)?;
    let mut stream = BufReader::new(tls::connect(tcp, b"http/1.1")?);
    for _ in 0..ON_ONE {
        if Instant::now() >= until {
            break;
        }
        let begun = Instant::now();
        stream.get_mut().write_all(request.as_bytes())?;
        stream.get_mut().flush()?;
        let status = answer(&mut stream)?;
        if status.contains(" 200 ") {
            latencies.micros.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        } else {
            latencies.failed.push(status);
        }
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Reads an answer with a length to its end; returns its status line.
fn answer(stream: &mut impl BufRead) -> io::Result<String> {
    let mut status = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if status.is_empty() {
            line.trim_end().clone_into(&mut status);
        } else if line.trim().is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    io::copy(&mut stream.take(length), &mut io::sink())?;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let latencies = Latencies { micros: (1..=100).rev().collect(), failed: vec![] };
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| latencies.percentile(share)), [1, 51, 100, 100]);
        assert_eq!(Latencies::default().percentile(0.5), 0);
    }
}
