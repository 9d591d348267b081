//! The API server's own audit log: what really reached it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{SOON, eventually};

/// The log from some moment on.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    from: u64,
}

/// One request that the API server answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// Joins it with the guard's own record.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Kubernetes' verb.
    pub verb: String,
    /// Who.
    pub user: User,
    /// Where the connection came from.
    #[serde(default, rename = "sourceIPs")]
    pub source_ips: Vec<String>,
}

/// See [`AuditEvent`].
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// Its name.
    #[serde(default)]
    pub username: String,
    /// What else the token says.
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The pod that its token is bound to.
    pub fn pod(&self) -> Option<&str> {
        self.extra.get("authentication.kubernetes.io/pod-name")?.first().map(String::as_str)
    }
}

impl AuditLog {
    /// What is logged from now on.
    #[track_caller]
    pub fn from_now(path: &Path) -> Self {
        let from = std::fs::metadata(path).expect("the API server's audit log").len();
        Self { path: path.to_owned(), from }
    }

    /// What was logged since.
    #[track_caller]
    pub fn events(&self) -> Vec<AuditEvent> {
        let mut file = File::open(&self.path).expect("the API server's audit log");
        file.seek(SeekFrom::Start(self.from)).expect("seeking in the audit log");
        let mut events = Vec::new();
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
            // The last line may be half written.
            if let Ok(event) = serde_json::from_str(&line) {
                events.push(event);
            }
            line.clear();
        }
        events
    }

    /// The first such event, waited for.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_it: impl Fn(&AuditEvent) -> bool) -> AuditEvent {
        eventually(what, SOON, || self.events().into_iter().find(&is_it).ok_or("not in the API server's audit log"))
    }
}
