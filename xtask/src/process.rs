//! The cluster's long-running programs: started in their namespace and cgroup, recorded, and told apart from a reused pid.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A program that was started, so that a later `xtask` finds it again.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Recorded {
    /// What it is, such as `n1/kubelet`.
    pub name: String,
    /// Its process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc(5), field 22): with the pid it names one process for ever.
    pub started: u64,
    /// Where it writes.
    pub log: PathBuf,
}

impl Recorded {
    /// The process that asks.
    pub fn this_process() -> Result<Self> {
        let pid = i32::try_from(std::process::id()).context("a pid fits an i32")?;
        let started = start_time(pid).context("reading /proc/self/stat")?;
        Ok(Self { name: "xtask".to_owned(), pid, started, log: PathBuf::new() })
    }

    /// Whether this very process still runs.
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Whether a Unix socket of this path is in its network namespace (`/proc/PID/net/unix`).
    pub fn listens_at(&self, socket: &str) -> bool {
        let sockets = fs::read_to_string(format!("/proc/{}/net/unix", self.pid)).unwrap_or_default();
        sockets.lines().any(|line| line.split_whitespace().next_back() == Some(socket))
    }

    /// With what it was started, as the kernel knows it (proc(5)).
    pub fn as_started(&self) -> Result<Started> {
        let read = |file: &str| -> Result<Vec<String>> {
            let path = format!("/proc/{}/{file}", self.pid);
            let bytes = fs::read(&path).with_context(|| format!("reading {path}"))?;
            let texts = bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty());
            Ok(texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect())
        };
        let mut words = read("cmdline")?.into_iter();
        let program = words.next().with_context(|| format!("{} runs no more", self.name))?.into();
        let environment = read("environ")?;
        let environment = environment.iter().filter_map(|pair| pair.split_once('='));
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Started { program, arguments: words.collect(), environment })
    }

    /// Asks it to end, or ends it.
    pub fn signal(&self, signal: Signal) {
        if self.alive() {
            // It may end between the look and the signal; then there is nothing to do.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// What a program was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// Where and how a program runs.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The network namespace's file.
    pub netns: &'a Path,
    /// The cgroup2 folder that it and its children belong to.
    pub cgroup: &'a Path,
    /// Where its log goes.
    pub logs: &'a Path,
}

impl Place<'_> {
    /// Starts the program in the background: it joins the cgroup first, then the namespace, then becomes what it is.
    pub fn start(
        &self,
        name: &str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
    ) -> Result<Recorded> {
        let short = name.rsplit('/').next().unwrap_or(name);
        let log = self.logs.join(format!("{short}.log"));
        let mut file = OpenOptions::new();
        let file = file.create(true).append(true).open(&log);
        let file = file.with_context(|| format!("making the log {}", log.display()))?;
        let mut command = Command::new("setsid");
        command
            .args([
                "sh",
                "-c",
                r#"echo $$ > "$1/cgroup.procs" && netns=$2 && shift 2 && exec nsenter --net="$netns" -- "$@""#,
                "sh",
            ])
            .args([self.cgroup, self.netns, program])
            .args(arguments)
            .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("sharing the log between both outputs")?)
            .stderr(file);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let pid = i32::try_from(child.id()).context("a pid fits an i32")?;
        let started = start_time(pid).with_context(|| format!("{name} ended at once: {}", log.display()))?;
        // A thread waits for it, so that one that dies while we look is no zombie that seems to live.
        std::thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
        Ok(Recorded { name: name.to_owned(), pid, started, log })
    }

    /// Starts a program as it was started before.
    pub fn start_again(&self, name: &str, started: &Started) -> Result<Recorded> {
        let environment: Vec<_> =
            started.environment.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        self.start(name, &started.program, &started.arguments, &environment)
    }
}

/// When a process started, if it is there and no zombie.
fn start_time(pid: i32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat`, counted behind the name, which may hold anything.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// CPU time that a process and its ended threads have used, in clock ticks.
pub(crate) fn cpu_ticks(pid: i32) -> Option<u64> {
    parse_cpu_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15 of `/proc/PID/stat`: in user space, and in the kernel.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

/// The processes whose network namespace is the one at `path`.
pub fn in_netns(path: &Path) -> Vec<i32> {
    use std::os::unix::fs::MetadataExt;
    let Ok(wanted) = fs::metadata(path) else { return Vec::new() };
    pids()
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|found| found.ino() == wanted.ino() && found.dev() == wanted.dev())
        })
        .collect()
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_move_the_fields() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 100 200";
        assert_eq!(parse_start_time(stat), Some(98765));
        assert_eq!(parse_cpu_ticks(stat), Some(5 + 6));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        assert_eq!(parse_start_time("42 (x) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 100 200"), None);
    }

    #[test]
    fn a_socket_is_listened_at_from_its_bind_on() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let me = Recorded::this_process().unwrap();
        assert!(!me.listens_at(socket.to_str().unwrap()));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(me.listens_at(socket.to_str().unwrap()));
    }

    #[test]
    fn how_a_process_was_started_is_read_from_it() {
        let mut child = Command::new("sleep").arg("60").env("LIFE", "a=b").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Recorded { name: "it".into(), pid, started: start_time(pid).unwrap(), log: PathBuf::new() };
        let started = process.as_started().unwrap();
        child.kill().and_then(|()| child.wait()).unwrap();
        assert_eq!((started.program, started.arguments), (PathBuf::from("sleep"), vec!["60".to_owned()]));
        assert!(started.environment.contains(&("LIFE".to_owned(), "a=b".to_owned())));
    }

    #[test]
    fn this_process_is_alive_and_a_reused_pid_is_not() {
        let me = Recorded::this_process().unwrap();
        assert!(me.alive());
        assert!(!Recorded { started: me.started + 1, ..me }.alive());
    }
}
