//! Requests as bytes: what no client library would send.

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::time::Duration;

use super::connect;
use super::tls::Session;

/// Sends each line of standard input, which is bytes in hexadecimal, on a connection of its own; returns what came back of each.
pub(super) fn ask_each(to: SocketAddr, limit: Duration) -> io::Result<Vec<String>> {
    let mut answers = Vec::new();
    for line in io::stdin().lock().lines() {
        let bytes = bytes(&line?)?;
        let (mut session, _) = Session::open(connect::open(to, connect::Way::Plain, limit)?)?;
        answers.push(String::from_utf8_lossy(&session.exchange(&bytes)).into_owned());
    }
    Ok(answers)
}

fn bytes(hexadecimal: &str) -> io::Result<Vec<u8>> {
    let pairs = hexadecimal.trim().as_bytes().chunks(2);
    let byte = |pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let all: Option<Vec<u8>> = pairs.map(byte).collect();
    all.ok_or_else(|| io::Error::other("a line that is no bytes in hexadecimal"))
}
