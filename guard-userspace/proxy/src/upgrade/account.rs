//! What passed on an upgraded connection, channel by channel. Everything that is to know of payload hooks in here.

use std::fmt::Write;

use guard_kube_streams::{Event, Exit, Fault, Kind, Side};
use guard_telemetry::Metrics;

/// Bytes of the error channel that are kept: a `Status` with its message.
const MAX_STATUS: usize = 16 << 10;
/// Ports that are told one by one.
const MAX_PORTS: usize = 16;
/// Kinds of channels.
const KINDS: usize = Kind::LABELS.len();

/// Counts, and what the command ended with.
#[derive(Debug)]
pub(crate) struct Account {
    protocol: String,
    /// Whether the error channel tells how a command ended.
    is_command: bool,
    client: [u64; KINDS],
    server: [u64; KINDS],
    ports: Vec<Port>,
    status: Vec<u8>,
    fault: Option<(Side, Fault)>,
}

/// Bytes to and from one port.
#[derive(Debug)]
struct Port {
    number: u16,
    client: u64,
    server: u64,
}

impl Account {
    /// Nothing has passed yet.
    pub(super) fn new(protocol: String, is_command: bool) -> Self {
        Self {
            protocol,
            is_command,
            client: [0; KINDS],
            server: [0; KINDS],
            ports: Vec::new(),
            status: Vec::new(),
            fault: None,
        }
    }

    /// Takes note of what a side said.
    pub(super) fn note(&mut self, from: Side, event: &Event<'_>) {
        let Event::Payload { channel, bytes, .. } = event else { return };
        let bytes = bytes.as_bytes();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let label = channel.kind.label();
        let counts = if from == Side::Client { &mut self.client } else { &mut self.server };
        if let Some(place) = Kind::LABELS.iter().position(|known| *known == label) {
            counts[place] += length;
        }
        match channel.kind {
            Kind::Data { port } => self.note_port(from, port, length),
            Kind::Error => {
                let room = MAX_STATUS - self.status.len();
                self.status.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            _ => {}
        }
    }

    /// The stream ends for this.
    pub(super) fn break_off(&mut self, side: Side, fault: Fault) {
        self.fault.get_or_insert((side, fault));
    }

    /// As both sides agreed on it.
    pub(crate) fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The code with which the command ended, if it said.
    pub(crate) fn exit(&self) -> Option<u8> {
        if !self.is_command || self.status.is_empty() {
            return None;
        }
        match Exit::read(&self.status) {
            Exit::Code(code) => Some(code),
            Exit::Failed(_) => None,
        }
    }

    /// Why it was ended.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        self.fault.map(|(_, fault)| fault.reason())
    }

    /// Bytes by channel, those of the client before those of the server where both write: `stdin=5 stdout=120`, `data:80=70/1200`.
    pub(crate) fn channels(&self) -> String {
        let mut text = String::new();
        let mut add = |name: &dyn std::fmt::Display, client: u64, server: u64| {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = match (client, server) {
                (0, 0) => Ok(()),
                (client, 0) => write!(text, "{space}{name}={client}"),
                (0, server) if name.to_string() != "data" => write!(text, "{space}{name}={server}"),
                (client, server) => write!(text, "{space}{name}={client}/{server}"),
            };
        };
        for (place, label) in Kind::LABELS.iter().enumerate() {
            add(label, self.client[place], self.server[place]);
        }
        for port in &self.ports {
            add(&format_args!("data:{}", port.number), port.client, port.server);
        }
        text
    }

    /// Adds it to the counters.
    pub(crate) fn count(&self, metrics: &Metrics) {
        for (direction, counts) in [("request", &self.client), ("response", &self.server)] {
            for (label, bytes) in Kind::LABELS.iter().zip(counts).filter(|(_, bytes)| **bytes > 0) {
                metrics.stream_bytes_total.with_label_values(&[label, direction]).inc_by(*bytes);
            }
        }
        if let Some((side, fault)) = self.fault {
            let side = if side == Side::Client { "client" } else { "server" };
            metrics.stream_faults_total.with_label_values(&[side, fault.reason()]).inc();
        }
    }

    fn note_port(&mut self, from: Side, number: u16, length: u64) {
        let place = self.ports.iter().position(|port| port.number == number).or_else(|| {
            let room = self.ports.len() < MAX_PORTS;
            room.then(|| {
                self.ports.push(Port { number, client: 0, server: 0 });
                self.ports.len() - 1
            })
        });
        if let Some(port) = place.and_then(|place| self.ports.get_mut(place)) {
            match from {
                Side::Client => port.client += length,
                Side::Server => port.server += length,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use guard_kube_streams::{Channel, Part, Payload};

    use super::*;

    fn say(account: &mut Account, from: Side, kind: Kind, bytes: &[u8]) {
        let part = Part { first: true, last: true, text: false };
        let channel = Channel { id: 1, kind };
        account.note(from, &Event::Payload { channel, part, bytes: Payload::Decoded(bytes) });
    }

    #[test]
    fn channels_are_counted_and_the_code_is_read() {
        let mut account = Account::new("v5.channel.k8s.io".into(), true);
        say(&mut account, Side::Client, Kind::Stdin, b"exit 3");
        say(&mut account, Side::Server, Kind::Stdout, b"bye");
        assert_eq!(account.exit(), None);
        let status = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        say(&mut account, Side::Server, Kind::Error, status.as_bytes());
        assert_eq!(account.exit(), Some(3));
        assert_eq!(account.channels(), format!("stdin=6 stdout=3 error={}", status.len()));
    }

    #[test]
    fn a_port_is_told_by_itself_until_there_are_too_many() {
        let mut account = Account::new(String::new(), false);
        say(&mut account, Side::Client, Kind::Data { port: 80 }, b"ping");
        say(&mut account, Side::Server, Kind::Data { port: 80 }, b"pong!");
        assert_eq!(account.channels(), "data=4/5 data:80=4/5");
        for port in 1000..2000 {
            say(&mut account, Side::Client, Kind::Data { port }, b"x");
        }
        assert_eq!(account.ports.len(), MAX_PORTS);
        assert!(account.channels().starts_with("data=1004/5 "));
    }

    #[test]
    fn an_endless_error_channel_is_not_kept() {
        let mut account = Account::new(String::new(), true);
        for _ in 0..100 {
            say(&mut account, Side::Server, Kind::Error, &[b'x'; 1024]);
        }
        assert_eq!(account.status.len(), MAX_STATUS);
        assert_eq!(account.exit(), None);
    }
}
