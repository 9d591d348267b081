//! Sessions as real clients and servers have them, made by a writer of the tests' own.

use flate2::{Compress, Compression, FlushCompress};
use guard_kube_streams::{Protocol, Purpose, Side, Upgrade};

/// One session: who said what, in turn.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) said: Vec<(Side, Vec<u8>)>,
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One WebSocket frame as this side sends it.
pub(crate) fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if side == Side::Client { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(mask + u8::try_from(short).unwrap()),
        medium @ 126..=65_535 => {
            out.push(mask + 126);
            out.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            out.push(mask + 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if side == Side::Client {
        out.extend_from_slice(&KEY);
        out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        out.extend_from_slice(payload);
    }
    out
}

fn binary(side: Side, channel: u8, payload: &[u8]) -> (Side, Vec<u8>) {
    (side, frame(side, 0x82, &[&[channel], payload].concat()))
}

/// One side's SPDY frames.
pub(crate) struct Spdy(Compress);

impl Spdy {
    pub(crate) fn new() -> Self {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&dictionary()).unwrap();
        Self(zlib)
    }

    fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(block.len() + 1024);
        self.0.compress_vec(&block, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    pub(crate) fn syn_stream(&mut self, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let block = self.block(headers);
        control(1, 0, &[&stream.to_be_bytes()[..], &[0; 6], &block].concat())
    }

    pub(crate) fn syn_reply(&mut self, stream: u32) -> Vec<u8> {
        let block = self.block(&[]);
        control(2, 0, &[&stream.to_be_bytes()[..], &block].concat())
    }
}

/// From the words of SPDY/3, as the crate has them: only zlib's checksum of it matters to a peer.
fn dictionary() -> Vec<u8> {
    include_bytes!("dictionary.bin").to_vec()
}

pub(crate) fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x80, 3][..], &kind.to_be_bytes(), &[flags], &length[1..], body].concat()
}

pub(crate) fn data(stream: u32, fin: bool, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&stream.to_be_bytes()[..], &[u8::from(fin)], &length[1..], payload].concat()
}

pub(crate) fn protocol(name: &str, purpose: Purpose) -> Protocol {
    Protocol::of(Upgrade::WebSocket, Some(name), purpose).unwrap()
}

const EXITED: &[u8] = br#"{"metadata":{},"status":"Success"}"#;

/// One of each kind.
pub(crate) fn all() -> Vec<Sample> {
    vec![version_5(), base64(), ports(), watch(), log(), spdy_exec(), spdy_forward(), tunnel()]
}

pub(crate) fn version_5() -> Sample {
    use Side::{Client, Server};
    let long: Vec<u8> = (0..70_000_u32).map(|n| (n % 251) as u8).collect();
    let said = vec![
        binary(Server, 1, b""),
        binary(Client, 4, b"{\"Width\":120,\"Height\":40}\n"),
        binary(Client, 0, b"ls -l\n"),
        (Client, frame(Client, 0x89, b"beat")),
        (Server, frame(Server, 0x8a, b"beat")),
        binary(Server, 1, b"total 0\n"),
        (Server, frame(Server, 0x02, b"\x02in two ")),
        (Server, frame(Server, 0x89, b"")),
        (Server, frame(Server, 0x80, b"fragments")),
        binary(Client, 255, &[0]),
        binary(Server, 1, &long[..300]),
        binary(Server, 3, EXITED),
        (Server, frame(Server, 0x88, &[3, 0xe8])),
        (Client, frame(Client, 0x88, &[3, 0xe8])),
    ];
    Sample { name: "v5", protocol: protocol("v5.channel.k8s.io", Purpose::Command), said }
}

fn base64() -> Sample {
    use Side::{Client, Server};
    let said = vec![
        (Client, frame(Client, 0x81, b"0bHMK")),
        (Client, frame(Client, 0x81, b"0")),
        (Server, frame(Server, 0x81, b"1Zm9vYg==")),
        (Server, frame(Server, 0x81, b"2Zm8=")),
    ];
    Sample { name: "base64", protocol: protocol("v4.base64.channel.k8s.io", Purpose::Command), said }
}

fn ports() -> Sample {
    use Side::{Client, Server};
    let said = vec![
        binary(Server, 0, &80_u16.to_le_bytes()),
        binary(Server, 1, &80_u16.to_le_bytes()),
        binary(Server, 2, &8080_u16.to_le_bytes()),
        binary(Server, 3, &8080_u16.to_le_bytes()),
        binary(Client, 0, b"GET / HTTP/1.0\r\n\r\n"),
        binary(Server, 0, b"HTTP/1.0 200 OK\r\n\r\n"),
        binary(Server, 3, b"nobody listens"),
    ];
    Sample { name: "ports", protocol: protocol("v4.channel.k8s.io", Purpose::PortForward(vec![80, 8080])), said }
}

fn watch() -> Sample {
    use Side::{Client, Server};
    let said = vec![
        (Server, frame(Server, 0x81, br#"{"type":"ADDED","object":{}}"#)),
        (Server, frame(Server, 0x01, br#"{"type":"MOD"#)),
        (Server, frame(Server, 0x00, b"")),
        (Server, frame(Server, 0x80, br#"IFIED"}"#)),
        (Client, frame(Client, 0x8a, b"")),
        (Client, frame(Client, 0x88, b"")),
    ];
    Sample { name: "watch", protocol: protocol("", Purpose::Other), said }
}

fn log() -> Sample {
    use Side::Server;
    let said = vec![
        (Server, frame(Server, 0x81, b"")),
        (Server, frame(Server, 0x81, b"bGluZSAxCg==")),
        (Server, frame(Server, 0x81, b"bGluZSAyCg==")),
    ];
    Sample { name: "log", protocol: protocol("base64.binary.k8s.io", Purpose::Log), said }
}

fn spdy_exec() -> Sample {
    use Side::{Client, Server};
    let (mut near, mut far) = (Spdy::new(), Spdy::new());
    let said = vec![
        (Client, near.syn_stream(1, &[("streamtype", "error")])),
        (Client, near.syn_stream(3, &[("streamtype", "stdin")])),
        (Client, near.syn_stream(5, &[("streamtype", "stdout")])),
        (Client, near.syn_stream(7, &[("streamtype", "resize"), ("x-more", "a\0b")])),
        (Server, far.syn_reply(1)),
        (Server, far.syn_reply(3)),
        (Server, far.syn_reply(5)),
        (Server, far.syn_reply(7)),
        (Client, data(7, false, b"{\"Width\":80,")),
        (Client, data(7, false, b"\"Height\":24}")),
        (Client, data(3, false, b"cat\n")),
        (Client, data(3, true, b"")),
        (Server, data(5, false, b"cat\n")),
        (Client, control(6, 0, &1_u32.to_be_bytes())),
        (Server, control(6, 0, &1_u32.to_be_bytes())),
        (Server, control(9, 0, &[0, 0, 0, 3, 0, 1, 0, 0])),
        (Server, control(4, 1, &[0, 0, 0, 1, 0, 0, 0, 7, 0, 1, 0, 0])),
        (Server, data(1, true, EXITED)),
        (Server, data(5, true, b"the last")),
        (Client, control(3, 0, &[0, 0, 0, 7, 0, 0, 0, 5])),
        (Server, data(7, true, b"")),
        (Client, control(7, 0, &[0; 8])),
    ];
    Sample { name: "spdy exec", protocol: Protocol::Spdy(Purpose::Command), said }
}

fn forwarded() -> Vec<(Side, Vec<u8>)> {
    use Side::{Client, Server};
    let (mut near, mut far) = (Spdy::new(), Spdy::new());
    let mut said = Vec::new();
    for (number, port) in [(0, "8080"), (1, "8080"), (2, "443")] {
        let (error, stream) = (1 + 4 * number, 3 + 4 * number);
        let request = number.to_string();
        let headers = |kind| [("streamtype", kind), ("port", port), ("requestid", request.as_str())];
        said.push((Client, near.syn_stream(error, &headers("error"))));
        said.push((Client, data(error, true, b"")));
        said.push((Client, near.syn_stream(stream, &headers("data"))));
        said.push((Server, far.syn_reply(error)));
        said.push((Server, far.syn_reply(stream)));
        said.push((Client, data(stream, false, b"ping")));
        said.push((Server, data(stream, false, b"pong")));
        said.push((Server, data(stream, true, b"")));
        said.push((Client, data(stream, true, b"bye")));
        said.push((Server, data(error, true, b"")));
        // The reader of this one is gone.
        said.push((Server, data(stream, false, b"late")));
    }
    said
}

fn spdy_forward() -> Sample {
    Sample { name: "spdy forward", protocol: Protocol::Spdy(Purpose::PortForward(vec![])), said: forwarded() }
}

/// The same in messages that are divided elsewhere than its frames.
fn tunnel() -> Sample {
    let said = forwarded().into_iter().flat_map(|(side, bytes)| {
        let (a, b) = bytes.split_at(bytes.len().min(5));
        [(side, frame(side, 0x82, a)), (side, frame(side, 0x02, b)), (side, frame(side, 0x80, &[]))]
    });
    let protocol = protocol("SPDY/3.1+portforward.k8s.io", Purpose::PortForward(vec![]));
    Sample { name: "tunnel", protocol, said: said.collect() }
}
