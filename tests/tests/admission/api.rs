//! The API server over plain HTTP, by way of `kubectl proxy`: statuses, warnings and objects as they are.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use guard_e2e::harness::{Kubectl, NodeNetns, Running};
use serde_json::Value;

/// The administrator.
pub(crate) struct Api {
    netns: NodeNetns,
    address: SocketAddr,
    _proxy: Mutex<Running>,
}

/// What the API server said.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) warnings: Vec<String>,
    pub(crate) body: Value,
}

impl Reply {
    /// What was stored.
    #[track_caller]
    pub(crate) fn stored(self) -> Value {
        assert!(self.status < 300, "{}: {}", self.status, self.body["message"]);
        self.body
    }

    /// The sentence of a refusal by admission.
    #[track_caller]
    pub(crate) fn refusal(&self) -> &str {
        let said = self.body["message"].as_str().unwrap_or_default();
        let by_admission = said.contains("ValidatingAdmissionPolicy") || said.contains("admission webhook");
        assert!(self.status >= 400 && by_admission, "{}: {}", self.status, self.body);
        said
    }
}

impl Api {
    #[track_caller]
    pub(crate) fn new(kubectl: &Kubectl, netns: NodeNetns) -> Self {
        let proxy = kubectl.command(["proxy", "--port=0", "--disable-filter=true"]);
        // It ends when its standard input does: with this program, however that ends.
        let mut bound = Command::new("sh");
        bound.args(["-c", r#""$@" & proxy=$!; cat > /dev/null; kill $proxy"#, "sh"]);
        bound.arg(proxy.get_program()).args(proxy.get_args());
        bound.envs(proxy.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut proxy = Running::start(&mut bound);
        let line = proxy.line_with("Starting to serve on", Duration::from_mins(1));
        let port = line.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok()).expect("the proxy's port");
        Self { netns, address: (Ipv4Addr::LOCALHOST, port).into(), _proxy: Mutex::new(proxy) }
    }

    #[track_caller]
    pub(crate) fn create(&self, path: &str, object: &Value) -> Reply {
        self.send("POST", path, "application/json", object, "")
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, change: &Value) -> Reply {
        self.send("PATCH", path, "application/strategic-merge-patch+json", change, "")
    }

    /// HTTP/1.0: one exchange a connection, ended by its end. `headers` are whole lines.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, content: &str, body: &Value, headers: &str) -> Reply {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nContent-Type: {content}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        let address = self.address;
        let exchange = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(20))?;
            stream.set_read_timeout(Some(Duration::from_mins(1)))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = self.netns.run(exchange).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let warnings = head.lines().filter_map(|line| line.strip_prefix("Warning: ")).map(str::to_owned).collect();
        Reply { status, warnings, body: serde_json::from_str(body).unwrap_or(Value::Null) }
    }
}
