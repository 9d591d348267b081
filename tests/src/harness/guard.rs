//! A guard as a node's own process, and what it tells of itself.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xtask::cluster::{Cluster, Node};

use super::{NodeNetns, eventually};

/// In the node's own namespace, so every node has the same.
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
const READY: Duration = Duration::from_mins(1);

/// Files that a guard is started with.
#[derive(Clone, Debug)]
pub struct GuardFiles {
    /// The guard's own identity in the cluster.
    pub kubeconfig: PathBuf,
    /// `GuardPolicy` documents.
    pub deny_list: PathBuf,
    /// What it shows to agents.
    pub certificate: Certificate,
    /// What the cluster can't tell.
    pub config: PathBuf,
    /// The settings of admission, by which it judges pods once more.
    pub admission: Option<PathBuf>,
}

/// Where a guard has its certificate from.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// Two files, PEM.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// It asks `guard control`, and keeps it in this folder.
    Asked(PathBuf),
}

/// `guard node` on one node. It outlives nothing: dropped, it is killed.
pub struct Guard {
    /// Its node.
    pub node: Node,
    /// Where its links and maps are pinned.
    pub pins: PathBuf,
    log: PathBuf,
    binary: PathBuf,
    files: GuardFiles,
    process: Mutex<Option<Child>>,
}

impl Guard {
    /// Not started yet.
    pub fn new(cluster: &Cluster, node: &Node, binary: &Path, files: &GuardFiles) -> Self {
        let mut pins = cluster.bpf_pin_prefix.clone().into_os_string();
        pins.push(format!("-{}", node.name));
        Self {
            node: node.clone(),
            pins: pins.into(),
            log: node.logs.join("guard.log"),
            binary: binary.to_owned(),
            files: files.clone(),
            process: Mutex::new(None),
        }
    }

    /// Starts it and waits until it says that it is ready.
    #[track_caller]
    pub fn start(&self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(&self) {
        let open = || OpenOptions::new().create(true).append(true).open(&self.log);
        let log = open().and_then(|out| Ok((out.try_clone()?, out))).expect("the guard's log");
        let mut command = self.node.command(&self.binary);
        command
            .arg("node")
            .arg("--log-json")
            .args(["--node-name", &self.node.name])
            .arg("--kubeconfig")
            .arg(&self.files.kubeconfig)
            .arg("--kubelet-root")
            .arg(&self.node.kubelet_root)
            .args(["--cgroup-root", &self.node.cgroup_root])
            .arg("--deny-list")
            .arg(&self.files.deny_list)
            .args(self.files.certificate.arguments())
            .args(self.files.admission.iter().flat_map(|file| [OsStr::new("--admission"), file.as_os_str()]))
            .args(["--metrics-address", &METRICS.to_string()])
            .arg("--pin-directory")
            .arg(&self.pins)
            .arg("--config")
            .arg(&self.files.config)
            // What hangs up or interrupts the terminal of whoever runs the demo is not meant for the guard.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.0)
            .stderr(log.1);
        let child = command.spawn().expect("starting the guard");
        std::fs::write(self.pid_file(), child.id().to_string()).expect("writing down the guard's process id");
        *self.process() = Some(child);
    }

    /// Waits until it says that it is ready.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        eventually(&format!("the guard of {} to be ready", self.node.name), READY, || {
            let ended = self.process().as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "the guard ended: {ended:?}\n{}", self.log_tail());
            match self.ask("/readyz") {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200") => Ok(()),
                Ok(answer) => Err(format!("{answer}\n{}", self.log_tail())),
                Err(error) => Err(format!("{error}\n{}", self.log_tail())),
            }
        });
    }

    /// What it says of its readiness.
    pub fn readiness(&self) -> Result<String, String> {
        self.ask("/readyz")
    }

    /// SIGKILL: no chance to tidy up.
    #[track_caller]
    pub fn kill(&self) {
        let mut process = self.process().take().expect("the guard runs");
        process.kill().and_then(|()| process.wait()).expect("killing the guard");
    }

    /// SIGSTOP, or SIGCONT: it holds all that it has, and does nothing.
    #[track_caller]
    pub fn freeze(&self, frozen: bool) {
        let pid = Pid::from_raw(self.process_id().cast_signed());
        kill(pid, if frozen { Signal::SIGSTOP } else { Signal::SIGCONT }).expect("signalling the guard");
    }

    /// Ends what an earlier run on the same cluster has left.
    pub fn end_leftover(&self) {
        let Ok(pid) = std::fs::read_to_string(self.pid_file()) else { return };
        let Ok(number) = pid.parse() else { return };
        eventually("the end of an earlier run's guard", READY, || {
            // The number may be somebody else's by now; the binary may have been replaced.
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if !String::from_utf8_lossy(&command).contains(&*self.pins.to_string_lossy()) {
                return Ok(());
            }
            let _ = kill(Pid::from_raw(number), Signal::SIGKILL);
            Err(format!("process {pid} is still there"))
        });
    }

    /// The number of its process.
    #[track_caller]
    pub fn process_id(&self) -> u32 {
        self.process().as_ref().expect("the guard runs").id()
    }

    /// `/metrics`, read now.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics(
            self.ask("/metrics").unwrap_or_else(|error| panic!("reading the metrics of {}: {error}", self.node.name)),
        )
    }

    /// Its log's lines since this many bytes, as JSON where they are.
    pub fn log_since(&self, from: u64) -> Vec<Value> {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let from = usize::try_from(from).unwrap_or(0).min(text.len());
        String::from_utf8_lossy(&text[from..]).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How long the log is now.
    pub fn log_length(&self) -> u64 {
        File::open(&self.log).and_then(|log| log.metadata()).map_or(0, |metadata| metadata.len())
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        xtask::run::tail(&String::from_utf8_lossy(&text), 15)
    }

    fn pid_file(&self) -> PathBuf {
        self.node.logs.join("guard.pid")
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, path: &str) -> Result<String, String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: guard\r\nConnection: close\r\n\r\n");
        let ask = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&METRICS, Duration::from_secs(10))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        NodeNetns::new(&self.node.netns).run(ask).map_err(|error| error.to_string())
    }
}

impl Certificate {
    fn arguments(&self) -> Vec<OsString> {
        match self {
            Self::Files { certificate, key } => {
                vec!["--serving-certificate".into(), certificate.into(), "--serving-key".into(), key.into()]
            }
            Self::Asked(folder) => vec!["--certificate-directory".into(), folder.into()],
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut process) = self.process().take() {
            // It may have ended.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// One reading of `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// The sum of a metric's values over all series that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let (found, rest) = series.split_once('{').unwrap_or((series, ""));
                (found == name && wanted.iter().all(|label| rest.contains(label.as_str())))
                    .then(|| value.parse::<f64>().ok())?
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_the_series_that_match() {
        let metrics = Metrics(
            "# HELP a b\na{hook=\"x\",reason=\"y\"} 2\na{hook=\"x\",reason=\"z\"} 3\na{hook=\"w\",reason=\"y\"} 4\nab 9\n".into(),
        );
        assert!((metrics.sum("a", &[("hook", "x")]) - 5.0).abs() < 0.1);
        assert!((metrics.sum("a", &[]) - 9.0).abs() < 0.1);
        assert!((metrics.sum("ab", &[]) - 9.0).abs() < 0.1);
        assert!(metrics.sum("c", &[]).abs() < 0.1);
    }
}
