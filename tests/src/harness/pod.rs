//! Pods that run.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use xtask::cluster::Node;

use super::kubectl::run;
use super::{Answer, Counters, Kubectl, NodeNetns, PodPlan, Running, eventually};
use crate::finding::Finding;

/// The gate included, on two busy cores.
const READY: Duration = Duration::from_mins(2);

/// A pod that runs. Dropped, it is deleted.
#[derive(Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where it runs.
    pub node: Node,
    kubectl: Kubectl,
    /// Somebody else's, who deletes it.
    borrowed: bool,
}

impl Pod {
    /// One that is there and ready, and is left alone when this is dropped.
    #[track_caller]
    pub fn existing(kubectl: &Kubectl, nodes: &[Node], name: &str) -> Self {
        let object = kubectl.get("pod", name);
        let node = nodes.iter().find(|node| object["spec"]["nodeName"] == node.name.as_str());
        Self::of(&object, kubectl, node.expect("a pod that runs has a node"), true)
    }

    #[track_caller]
    fn of(object: &Value, kubectl: &Kubectl, node: &Node, borrowed: bool) -> Self {
        let text = |value: &Value| value.as_str().expect("the API server sets it").to_owned();
        let addresses = object["status"]["podIPs"].as_array().expect("a ready pod has addresses");
        Self {
            name: text(&object["metadata"]["name"]),
            uid: text(&object["metadata"]["uid"]),
            addresses: addresses.iter().map(|one| text(&one["ip"]).parse().expect("an address")).collect(),
            node: node.clone(),
            kubectl: kubectl.clone(),
            borrowed,
        }
    }

    /// Creates the pods and waits until all are ready.
    #[track_caller]
    pub fn create_all(kubectl: &Kubectl, nodes: &[Node], plans: &[PodPlan]) -> Vec<Self> {
        for plan in plans {
            kubectl.provide(&nodes[plan.node], plan.image);
        }
        let objects: Vec<Value> = plans.iter().map(|plan| plan.object(nodes)).collect();
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}));
        plans.iter().map(|plan| Self::ready(kubectl, nodes, plan)).collect()
    }

    #[track_caller]
    fn ready(kubectl: &Kubectl, nodes: &[Node], plan: &PodPlan) -> Self {
        let object = eventually(&format!("pod {} to be ready", plan.name), READY, || {
            let object = kubectl.get("pod", &plan.name);
            let ready = object["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
            if ready { Ok(object) } else { Err(describe(kubectl, &plan.name, &object)) }
        });
        Self::of(&object, kubectl, &nodes[plan.node], false)
    }

    /// The address of IPv4.
    #[track_caller]
    pub fn ipv4(&self) -> IpAddr {
        *self.addresses.iter().find(|address| address.is_ipv4()).expect("the cluster is dual-stack")
    }

    /// `kubectl exec`, not started.
    pub fn exec_command<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut all =
            vec!["exec".to_owned(), "--stdin".into(), self.name.clone(), "--container=main".into(), "--".into()];
        all.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self.kubectl.command(all)
    }

    /// Runs a program in the pod to its end.
    #[track_caller]
    pub fn exec<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Answer {
        run(self.exec_command(arguments), "")
    }

    /// Runs a program in the pod to its end, with this standard input.
    #[track_caller]
    pub fn exec_with_input<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>, input: &str) -> Answer {
        run(self.exec_command(arguments), input)
    }

    /// Runs a line of shell in the pod.
    #[track_caller]
    pub fn sh(&self, line: &str) -> Answer {
        self.exec(["sh", "-c", line])
    }

    /// Starts a program in the pod.
    #[track_caller]
    pub fn start<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Running::start(&mut self.exec_command(arguments))
    }

    /// Starts a program of the pod's image as a process of the pod, by a way that needs neither the kubelet nor its runtime, and outlives both. It
    /// has the capabilities that a pod of an agent lacks.
    #[track_caller]
    pub fn start_inside<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        let process = self.process();
        let cgroup = holder(&self.cgroup(), process).expect("a process of the pod is in one of its cgroups");
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                r#"echo $$ > "$1/cgroup.procs" && of=$2 && shift 2 && exec nsenter --target "$of" --net --mount --pid -- "$@""#,
                "sh",
            ])
            .arg(cgroup)
            .arg(process.to_string())
            .args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        Running::start(&mut command)
    }

    /// Serves the pod's `/etc` on port 8080 until dropped.
    #[track_caller]
    pub fn serve_etc(&self) -> Running {
        let server = self.start(["busybox", "httpd", "-f", "-p", "8080", "-h", "/etc"]);
        // kubectl's port-forward ends at the first connection that the pod refuses.
        eventually("httpd to answer in its pod", Duration::from_secs(20), || {
            let answer = self.sh("curl -sS --max-time 5 http://127.0.0.1:8080/hosts");
            if answer.status.success() { Ok(()) } else { Err(answer.err) }
        });
        server
    }

    /// One try of the probe; its arguments are separated by blanks.
    #[track_caller]
    pub fn probe(&self, arguments: &str) -> Finding {
        let out = self.exec(std::iter::once("/bin/probe").chain(arguments.split_whitespace())).ok();
        finding(&out)
    }

    /// The probe, beside the test.
    #[track_caller]
    pub fn start_probe(&self, arguments: &str) -> Running {
        self.start(std::iter::once("/bin/probe").chain(arguments.split_whitespace()))
    }

    /// The pod's folder in cgroup2.
    #[track_caller]
    pub fn cgroup(&self) -> PathBuf {
        self.find_cgroup().unwrap_or_else(|| panic!("{} has no cgroup on {}", self.name, self.node.name))
    }

    /// The same, if it is there.
    pub fn find_cgroup(&self) -> Option<PathBuf> {
        find(&self.node.cgroup2.join("kubepods"), &format!("pod{}", self.uid))
    }

    /// The number that the kernel knows the workload by.
    #[track_caller]
    pub fn workload(&self) -> u64 {
        fs::metadata(self.cgroup()).expect("the pod's cgroup").ino()
    }

    /// A process of the pod's main container, by its number on the machine.
    #[track_caller]
    pub fn process(&self) -> u32 {
        // The pause container has no shell.
        let has_a_shell = |pid: &u32| Path::new("/proc").join(pid.to_string()).join("root/bin/sh").exists();
        self.processes().into_iter().find(has_a_shell).expect("a pod that runs has processes")
    }

    /// All of the pod's, by their numbers on the machine.
    #[track_caller]
    pub fn processes(&self) -> Vec<u32> {
        processes(&self.cgroup())
    }

    /// The pod's network namespace, entered from outside: what is started there isn't in the pod's cgroup.
    #[track_caller]
    pub fn netns(&self) -> NodeNetns {
        NodeNetns::new(Path::new(&format!("/proc/{}/ns/net", self.process())))
    }

    /// The kernel's counts of what this pod was refused.
    #[track_caller]
    pub fn refusals(&self, pins: &Path) -> Counters {
        let netns = NodeNetns::new(&self.node.netns);
        Counters::read(pins, self.workload()).with_netfilter(&netns, &self.addresses)
    }

    /// Deletes it and waits until it is gone.
    #[track_caller]
    pub fn delete(&self) {
        self.kubectl.run(["delete", "pod", &self.name, "--ignore-not-found", "--wait", "--grace-period=0"]).ok();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if self.borrowed {
            return;
        }
        let _ = self.kubectl.run(["delete", "pod", &self.name, "--ignore-not-found", "--wait=false"]);
    }
}

/// The finding in what the probe wrote.
#[track_caller]
pub fn finding(out: &str) -> Finding {
    let line = out.lines().rfind(|line| line.starts_with('{'));
    let line = line.unwrap_or_else(|| panic!("the probe reported nothing: {out}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn describe(kubectl: &Kubectl, name: &str, object: &Value) -> String {
    let events = kubectl.run([
        "get",
        "events",
        "--field-selector",
        &format!("involvedObject.name={name}"),
        "-o",
        "custom-columns=R:.reason,M:.message",
    ]);
    let gate = kubectl.run(["logs", name, "--container=egress-guard-gate", "--tail=5"]);
    format!("{}\n{}\n{}", object["status"], events.out, gate.out)
}

fn find(folder: &Path, wanted: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(folder).ok()?.flatten().filter(|entry| entry.path().is_dir());
    folders.into_iter().find_map(|entry| {
        if entry.file_name().to_string_lossy() == wanted { Some(entry.path()) } else { find(&entry.path(), wanted) }
    })
}

fn processes(cgroup: &Path) -> Vec<u32> {
    let mut all = own_processes(cgroup);
    all.extend(children(cgroup).flat_map(|child| processes(&child)));
    all
}

/// The folder at or below this one that a process is in.
fn holder(cgroup: &Path, process: u32) -> Option<PathBuf> {
    if own_processes(cgroup).contains(&process) {
        return Some(cgroup.to_owned());
    }
    children(cgroup).find_map(|child| holder(&child, process))
}

fn own_processes(cgroup: &Path) -> Vec<u32> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    own.lines().filter_map(|line| line.parse().ok()).collect()
}

fn children(cgroup: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(cgroup).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir())
}
