//! Requests that two readers could read differently, from an agent's pod through the real guard: refused, counted, and the API server's audit
//! log knows nothing of them.

use std::fmt::Write as _;
use std::sync::LazyLock;

use guard_e2e::harness::{Agent, AuditLog, Pod, PodPlan, SOON, World, eventually, finding, unique};

#[path = "../../guard-userspace/http1/tests/hostile/mod.rs"]
mod table;

static WORLD: LazyLock<World> = LazyLock::new(World::guarded);
const SERVER: &str = "10.96.0.1:443";

/// An agent with its token, and what the API server knows of it.
struct Sender {
    pod: Pod,
    token: String,
    audit: AuditLog,
}

impl Sender {
    fn new() -> Self {
        let pod = WORLD.pod(PodPlan::agent(unique("hostile"), Agent("attacker")));
        let token = pod.sh("cat /var/run/secrets/kubernetes.io/serviceaccount/token").ok();
        Self { pod, token, audit: WORLD.audit() }
    }

    /// With the agent's token behind the first line, so that nothing but its form is wrong with it.
    fn authorized(&self, bytes: &[u8]) -> Vec<u8> {
        let has_one = bytes.windows(14).any(|name| name.eq_ignore_ascii_case(b"authorization:"));
        match bytes.windows(2).position(|pair| pair == b"\r\n") {
            Some(end) if end > 0 && !has_one => {
                let (first, rest) = bytes.split_at(end + 2);
                [first, format!("Authorization: Bearer {}\r\n", self.token).as_bytes(), rest].concat()
            }
            _ => bytes.to_vec(),
        }
    }

    /// A request that shows in the audit log if anybody takes it for one.
    fn marked(&self, name: &str) -> Vec<u8> {
        let target = format!("/api/v1/namespaces/{}/configmaps/{name}", WORLD.namespace);
        self.authorized(format!("GET {target} HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n").as_bytes())
    }

    /// Sends each on a connection of its own; returns what came back of each.
    #[track_caller]
    fn send(&self, requests: &[Vec<u8>]) -> Vec<String> {
        let mut lines = String::new();
        for request in requests {
            for byte in request {
                let _ = write!(lines, "{byte:02x}");
            }
            lines.push('\n');
        }
        let arguments = ["/bin/probe", "--limit", "20000", "raw-http", "--to", SERVER];
        let found = finding(&self.pod.exec_with_input(arguments, &lines).ok());
        let answers = found.answer.unwrap_or_else(|| panic!("{:?}", found.error));
        serde_json::from_str(&answers).expect("the probe's array")
    }

    /// The targets of this run's requests that reached the API server.
    fn reached(&self) -> Vec<String> {
        let events = self.audit.events().into_iter().filter(|event| event.user.pod() == Some(&self.pod.name));
        events.map(|event| event.request_uri).filter(|target| !target.ends_with("/positive-control")).collect()
    }

    /// Waits for a request behind all others, so that the log has what there is to have.
    #[track_caller]
    fn assert_that_nothing_reached_the_api_server(&self) {
        let answer = self.send(&[self.marked("positive-control")]);
        assert!(answer[0].starts_with("HTTP/1.1 404 "), "{}", answer[0]);
        self.audit.wait_for("the positive control", |event| {
            event.request_uri.ends_with("/positive-control") && event.user.pod() == Some(&self.pod.name)
        });
        assert_eq!(self.reached(), Vec::<String>::new());
    }
}

fn counted() -> f64 {
    WORLD.guards.iter().map(|guard| guard.metrics().sum("guard_malformed_requests_total", &[])).sum()
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_counted_and_the_api_server_sees_nothing() {
    let sender = Sender::new();
    let before = counted();
    let hidden = sender.marked("smuggled");
    let requests: Vec<Vec<u8>> =
        table::MALFORMED.iter().map(|(_, bytes, _)| [sender.authorized(bytes), hidden.clone()].concat()).collect();
    let answers = sender.send(&requests);
    assert_eq!(answers.len(), requests.len());
    for ((name, ..), answer) in table::MALFORMED.iter().zip(&answers) {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert_eq!(answer.matches("audit-id: ").count(), 1, "{name}: {answer}");
    }
    let wanted = before + f64::from(u32::try_from(requests.len()).expect("a table"));
    eventually("each of them in the metrics", SOON, || {
        let now = counted();
        if now >= wanted { Ok(()) } else { Err(now) }
    });
    sender.assert_that_nothing_reached_the_api_server();
}

#[test]
fn a_body_whose_framing_breaks_changes_nothing_at_the_api_server() {
    let sender = Sender::new();
    let target = format!("/api/v1/namespaces/{}/configmaps", WORLD.namespace);
    let head = sender.authorized(
        format!(
            "POST {target} HTTP/1.1\r\nHost: k\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .as_bytes(),
    );
    let object = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"broken"}}"#;
    let first = format!("{:x}\r\n{object}\r\n", object.len()).into_bytes();
    let requests: Vec<Vec<u8>> = table::BROKEN_CHUNKS
        .iter()
        .map(|(_, chunks, _)| [&head[..], &first, chunks, &sender.marked("smuggled")].concat())
        .collect();
    for ((name, ..), answer) in table::BROKEN_CHUNKS.iter().zip(sender.send(&requests)) {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
    }
    assert!(sender.reached().iter().all(|target| !target.contains("smuggled")), "{:?}", sender.reached());
    let found = WORLD.kubectl.run(["get", "configmap", "broken", "--ignore-not-found", "-o", "name"]).ok();
    assert_eq!(found, "");
}

#[test]
fn what_kubernetes_clients_send_reaches_the_api_server() {
    let sender = Sender::new();
    let own = |(name, bytes): &table::WellFormed| {
        // Another token is not this agent's, and an upgrade goes on until somebody ends it.
        let foreign = [&b"Bearer "[..], b"Upgrade:"].iter().any(|word| bytes.windows(word.len()).any(|at| at == *word));
        let closing = String::from_utf8_lossy(bytes).replacen("\r\n", "\r\nConnection: close\r\n", 1);
        (!foreign).then(|| (*name, sender.authorized(closing.as_bytes())))
    };
    let (names, requests): (Vec<_>, Vec<_>) = table::WELL_FORMED.iter().filter_map(own).unzip();
    for (name, answer) in names.iter().zip(sender.send(&requests)) {
        let line = answer.lines().next().unwrap_or_default().to_owned();
        // The API server has its own word on what is asked for; the guard has none.
        assert!(line.starts_with("HTTP/1."), "{name}: {answer}");
        assert!(!answer.contains("egress guard"), "{name}: {answer}");
    }
}
