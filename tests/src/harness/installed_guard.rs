//! The node guard as the kubelet runs it, and what it holds in its process and in the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard_common::LAYOUT_VERSION;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xtask::cgroup::Hierarchies;
use xtask::cluster::Node;

use super::{Counters, Installed, Kubectl, Pod, RELEASE, eventually};

/// A restart waits longer after each crash.
const BACK: Duration = Duration::from_mins(4);

/// One node's guard at one moment.
#[derive(Debug)]
pub struct InstalledGuard {
    pod: Pod,
    restarts: u64,
    /// The number of its process on the machine.
    pub process: u32,
}

/// What a guard holds, by kind.
pub type Held = BTreeMap<&'static str, usize>;

impl Installed {
    /// The guard of a node, which runs.
    #[track_caller]
    pub fn guard_of(&self, node: &Node) -> InstalledGuard {
        let kubectl = Kubectl::new(&self.cluster, RELEASE);
        eventually(&format!("the guard of {} to run", node.name), BACK, || {
            let pod = Pod::existing(&kubectl, &self.cluster.nodes, &self.guard_on(node));
            let restarts = restarts(&kubectl.get("pod", &pod.name));
            let process = pod.find_cgroup().and_then(|_| pod.processes().into_iter().find(|pid| is_the_guard(*pid)));
            process.map(|process| InstalledGuard { pod, restarts, process }).ok_or_else(|| self.said())
        })
    }

    /// The folder that a node's guard pins its programs in.
    pub fn pins(&self, node: &Node) -> PathBuf {
        self.cluster.bpf_pin_prefix.join(&node.name)
    }

    /// Waits until a guard that is not `before` is ready on its node, be it another pod or the same one started anew.
    #[track_caller]
    pub fn guard_after(&self, before: &InstalledGuard) -> InstalledGuard {
        let kubectl = Kubectl::new(&self.cluster, RELEASE);
        eventually(&format!("a new guard on {}", before.pod.node.name), BACK, || {
            let name = self.guard_on(&before.pod.node);
            let object = kubectl.get("pod", &name);
            let is_new = name != before.pod.name || restarts(&object) > before.restarts;
            let is_ready = object["status"]["containerStatuses"][0]["ready"] == true;
            if is_new && is_ready { Ok(()) } else { Err(format!("{}\n{}", object["status"], self.said())) }
        });
        self.guard_of(&before.pod.node)
    }
}

impl InstalledGuard {
    /// The name of its pod.
    pub fn name(&self) -> &str {
        &self.pod.name
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&self) {
        kill(Pid::from_raw(self.process.cast_signed()), Signal::SIGKILL).expect("killing the guard");
    }

    /// Has the kernel kill it for want of memory.
    #[track_caller]
    pub fn run_out_of_memory(&self) {
        fs::write(format!("/proc/{}/oom_score_adj", self.process), "1000").expect("the guard runs");
        let memory = MemoryCgroup::of(self.process);
        // Another process of its container takes what is left; the kernel ends the one with the higher score.
        let hog = r#"echo 0 > /proc/self/oom_score_adj; echo $$ > "$1/cgroup.procs"; head -c 100000000 /dev/zero | tail -c 100000000 | wc -c"#;
        memory.limit_to(memory.used() + (8 << 20));
        let mut command = std::process::Command::new("sh");
        command.args(["-c", hog, "sh"]).arg(&memory.folder);
        let said = super::run(command, "").out_and_err();
        let gone = || if is_the_guard(self.process) { Err(said.clone()) } else { Ok(()) };
        eventually("the kernel to end the guard", super::SOON, gone);
    }

    /// Its resident memory, in bytes.
    #[track_caller]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).expect("the guard runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes << 10
    }

    /// What it holds for pods: descriptors, among them namespaces; pins; entries of maps.
    #[track_caller]
    pub fn held(&self, installed: &Installed) -> Held {
        let folder = format!("/proc/{}/fd", self.process);
        let descriptors: Vec<PathBuf> = entries(Path::new(&folder)).filter_map(|fd| fs::read_link(fd).ok()).collect();
        let named = |prefix: &str| descriptors.iter().filter(|fd| fd.to_string_lossy().starts_with(prefix)).count();
        let pins = installed.pins(&self.pod.node);
        let pods = pins.join(format!("v{LAYOUT_VERSION}/pods"));
        let mut held = Held::from([
            ("descriptors", descriptors.len()),
            ("namespaces", named("net:")),
            ("pods pinned", entries(&pods).count()),
        ]);
        held.extend(Counters::entries(&pins));
        held
    }
}

fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

/// Not one of its probes, which are the same program.
fn is_the_guard(process: u32) -> bool {
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    words.next().is_some_and(|program| program.ends_with(b"guard")) && words.next() == Some(b"node".as_slice())
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// A container's cgroup of the memory controller, in whichever hierarchy has it.
struct MemoryCgroup {
    folder: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

impl MemoryCgroup {
    #[track_caller]
    fn of(process: u32) -> Self {
        let hierarchies = Hierarchies::find().expect("cgroups are mounted");
        let lines = fs::read_to_string(format!("/proc/{process}/cgroup")).expect("the guard runs");
        let path = |controller: &str| {
            let mut lines = lines.lines().map(|line| line.splitn(3, ':').skip(1));
            lines.find_map(|mut rest| (rest.next() == Some(controller)).then(|| rest.next()).flatten())
        };
        let below = |mount: &Path, path: &str| mount.join(path.trim_start_matches('/'));
        let v1 = hierarchies.v1.iter().find(|mount| mount.ends_with("memory"));
        match (v1, path("memory")) {
            (Some(mount), Some(path)) => {
                Self { folder: below(mount, path), limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes" }
            }
            _ => Self {
                folder: below(&hierarchies.v2, path("").expect("every process is in a cgroup")),
                limit: "memory.max",
                usage: "memory.current",
            },
        }
    }

    #[track_caller]
    fn used(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.usage)).expect("the container's memory");
        text.trim().parse().expect("a number of bytes")
    }

    #[track_caller]
    fn limit_to(&self, bytes: u64) {
        fs::write(self.folder.join(self.limit), bytes.to_string()).expect("limiting the container's memory");
    }
}
