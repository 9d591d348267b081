//! A node's own programs ended and started again as they were, and the whole node as by its power switch.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::cleanup::{self, END};
use super::{Cluster, Node, node};
use crate::cgroup::Hierarchies;
use crate::lock;
use crate::mounts;
use crate::netns;
use crate::process::{Place, Recorded, Started};
use crate::run;
use crate::wait::Wait;

/// Longest that a program may take to be of use again, on two very busy cores.
const LIMIT: Duration = Duration::from_mins(3);

/// A program that every node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The container runtime. Its containers, and their shims, outlive it.
    Containerd,
    /// Services.
    KubeProxy,
    /// Pods.
    Kubelet,
}

/// A program that its node lacks for now.
#[derive(Debug)]
pub struct Ended {
    program: Program,
    name: String,
    started: Started,
}

/// A node whose programs and containers have all ended at once.
#[derive(Debug)]
pub struct PoweredOff {
    node: Node,
    programs: Vec<Ended>,
}

impl Program {
    /// In the order in which a node starts them.
    const ALL: [Self; 3] = [Self::Containerd, Self::KubeProxy, Self::Kubelet];

    fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::KubeProxy => "kube-proxy",
            Self::Kubelet => "kubelet",
        }
    }
}

impl Cluster {
    /// Ends a node's program by this signal, and waits until it is gone.
    pub fn end_program(&self, node: &Node, program: Program, signal: Signal) -> Result<Ended> {
        let name = format!("{}/{}", node.name, program.name());
        let recorded = cleanup::recorded(&self.dir).into_iter().find(|process| process.name == name);
        let recorded = recorded.with_context(|| format!("{name} is not among this cluster's processes"))?;
        let started = recorded.as_started().with_context(|| format!("looking how {name} was started"))?;
        recorded.signal(signal);
        let wait = Wait { part: &format!("the end of {name}"), log: &recorded.log, limit: END };
        wait.until(|| Ok(recorded.alive().then(|| "it still runs".to_owned())))?;
        Ok(Ended { program, name, started })
    }

    /// Starts it again with the same arguments, and waits until it answers.
    pub fn start_program(&self, node: &Node, ended: &Ended) -> Result<()> {
        let place = Place { netns: &node.netns, cgroup: &node.daemons_cgroup, logs: &node.logs };
        match ended.program {
            Program::Kubelet => {
                let _turn = lock::hold_folder(Path::new(mounts::OURS), "another cluster's kubelet starts")?;
                let kubelet = self.start_again(&place, ended)?;
                wait_for(&kubelet, || Ok(kubelet.listens_at(node::DEVICE_PLUGINS)))
            }
            Program::Containerd => {
                let containerd = self.start_again(&place, ended)?;
                let ask = ["--connect-timeout", "5s", "--timeout", "20s", "version"];
                wait_for(&containerd, || Ok(run::capture(&mut node.ctr(&self.binaries, ask)).is_ok()))
            }
            Program::KubeProxy => self.start_again(&place, ended).map(drop),
        }
    }

    fn start_again(&self, place: &Place<'_>, ended: &Ended) -> Result<Recorded> {
        let process = place.start_again(&ended.name, &ended.started)?;
        let mut all = cleanup::recorded(&self.dir);
        all.retain(|known| known.name != ended.name);
        all.push(process.clone());
        let file = self.dir.join("processes.json");
        let text = serde_json::to_vec(&all).context("writing down the processes")?;
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(process)
    }

    /// Ends all that runs on a node, containers included, without a word to anybody.
    pub fn power_off(&self, node: &Node) -> Result<PoweredOff> {
        let end = |program: &Program| self.end_program(node, *program, Signal::SIGKILL);
        // The kubelet first: it would start again what ends.
        let mut programs = Program::ALL.iter().rev().map(end).collect::<Result<Vec<_>>>()?;
        programs.reverse();
        let hierarchies = Hierarchies::find()?;
        for tree in [&node.cgroup2, &node.daemons_cgroup] {
            let path = tree.strip_prefix(&hierarchies.v2).context("a node's cgroups lie in cgroup2")?;
            hierarchies.kill(&path.to_string_lossy())?;
        }
        Ok(PoweredOff { node: node.clone(), programs })
    }

    /// Starts a node again.
    pub fn power_on(&self, off: &PoweredOff) -> Result<()> {
        off.programs.iter().try_for_each(|program| self.start_program(&off.node, program))
    }
}

impl PoweredOff {
    /// Takes from the node what no reboot leaves: what the kernel had, and the memory's file systems. `pins` is the guard's folder on the bpffs.
    pub fn forget(&self, pins: &Path) -> Result<()> {
        let node = &self.node;
        let state = node.containerd_socket.parent().context("a socket lies in a folder")?;
        for folder in [state, &node.kubelet_root] {
            mounts::unmount_below(folder)?;
        }
        fs::remove_dir_all(state).with_context(|| format!("removing {}", state.display()))?;
        fs::create_dir_all(state).with_context(|| format!("making {}", state.display()))?;
        if pins.exists() {
            fs::remove_dir_all(pins).with_context(|| format!("removing the BPF pins in {}", pins.display()))?;
        }
        let hierarchies = Hierarchies::find()?;
        let root = node.cgroup_root.trim_start_matches('/');
        hierarchies.remove(&format!("{root}/kubepods"))?;
        let bridge = "nft flush ruleset; if ip link show cni0 >/dev/null 2>&1; then ip link delete cni0; fi";
        in_node(node, bridge)?;
        // The kernel takes namespaces apart in its own time.
        let wait =
            Wait { part: &format!("the end of the pods' networks on {}", node.name), log: &node.logs, limit: END };
        wait.until(|| {
            let left = in_node(node, "ip -o link show type veth")?;
            let left: Vec<&str> = left.lines().filter(|line| line.contains(": veth")).collect();
            Ok((!left.is_empty()).then(|| left.join("\n")))
        })
    }
}

fn wait_for(process: &Recorded, answers: impl Fn() -> Result<bool>) -> Result<()> {
    let wait = Wait { part: &process.name, log: &process.log, limit: LIMIT };
    wait.until(|| {
        if !process.alive() {
            bail!("{} has ended{}", process.name, wait.log_tail());
        }
        Ok((!answers()?).then(|| "it does not answer yet".to_owned()))
    })
}

fn in_node(node: &Node, line: &str) -> Result<String> {
    run::capture(netns::command_in(&node.netns, "sh").args(["-c", line]))
}
