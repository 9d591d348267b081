//! A user on a node's machine: an account, a home with credentials, a project, and sockets of others.

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use guard_e2e::finding::Finding;
use guard_e2e::harness::{Answer, Kubectl, NodeNetns, run};
use xtask::cluster::Cluster;

/// The account; it is in none of the machine's files but one of the test's own.
pub(crate) const USER: &str = "agent";
pub(crate) const UID: u32 = 47110;
/// In every credential of the home.
pub(crate) const CANARY: &str = "canary-of-the-home";
/// Allows everything.
pub(crate) const ALLOW: &str = "--policy=/home/allow.yaml";

pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) kubectl: Kubectl,
    /// Mounted at `/home`, for runs alone.
    pub(crate) home: PathBuf,
    pub(crate) node: NodeNetns,
    pub(crate) control_plane: NodeNetns,
    pub(crate) guard: PathBuf,
    passwd: PathBuf,
    resolv_conf: PathBuf,
    /// Connections to it are seen by nobody but the test.
    _sockets: [std::os::unix::net::UnixListener; 2],
}

impl Bed {
    pub(crate) fn set_up() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `cargo xtask e2e` runs these tests"))
        };
        let cluster = Cluster::load(&variable("EGRESS_GUARD_CLUSTER")).expect("the cluster's description");
        let guard = PathBuf::from(variable("EGRESS_GUARD_BINARY"));
        let folder = cluster.dir.join("run");
        let home = folder.join("home");
        for below in
            ["agent/project", "agent/.aws", "agent/.azure", "agent/.config/gcloud", "agent/.kube", "bin", "tools"]
        {
            fs::create_dir_all(home.join(below)).expect("a folder of the home");
        }
        let write = |path: &str, text: &str| fs::write(home.join(path), text).expect("a file of the home");
        for credential in
            [".aws/credentials", ".azure/token", ".config/gcloud/db", ".kube/cache", ".vault-token", ".netrc"]
        {
            write(&format!("agent/{credential}"), CANARY);
        }
        write("agent/.bashrc", "# as it was\n");
        write("agent/project/file", "of the project\n");
        write(
            "allow.yaml",
            "apiVersion: egressguard.io/v1alpha1\nkind: GuardPolicy\nmetadata: {name: all}\nspec: {}\n",
        );
        fs::copy(&cluster.kubeconfig, home.join("agent/.kube/config")).expect("the administrator's kubeconfig");
        let probe = home.join("tools/probe");
        fs::copy(guard.with_file_name("probe"), &probe).expect("the probe");
        fs::copy("/usr/bin/id", home.join("tools/set-uid-id")).expect("a program");
        fs::set_permissions(home.join("tools/set-uid-id"), Permissions::from_mode(0o4755)).expect("its set-uid bit");
        own(&home.join("agent"));
        let passwd = folder.join("passwd");
        let accounts = fs::read_to_string("/etc/passwd").expect("the machine's accounts");
        let ours = format!("{accounts}{USER}:x:{UID}:{UID}::/home/{USER}:/bin/bash\n");
        fs::write(&passwd, ours).expect("accounts of the test's own");
        let resolv_conf = folder.join("resolv.conf");
        fs::write(&resolv_conf, "nameserver 127.0.0.53\n").expect("a resolver's address");
        let node = NodeNetns::new(&cluster.nodes[0].netns);
        let socket = home.join("agent/daemon.sock");
        let _ = fs::remove_file(&socket);
        let sockets = node.run(move || {
            let name = std::os::unix::net::SocketAddr::from_pathname(&socket)?;
            let listener = std::os::unix::net::UnixListener::bind_addr(&name)?;
            fs::set_permissions(&socket, Permissions::from_mode(0o777))?;
            let name = std::os::unix::net::SocketAddr::from_abstract_name("egress-guard-e2e-daemon")?;
            Ok::<_, std::io::Error>([listener, std::os::unix::net::UnixListener::bind_addr(&name)?])
        });
        Self {
            kubectl: Kubectl::new(&cluster, "default"),
            control_plane: NodeNetns::new(&cluster.control_plane_netns),
            _sockets: sockets.expect("sockets of a daemon"),
            cluster,
            home,
            node,
            guard,
            passwd,
            resolv_conf,
        }
    }

    /// `guard run OPTIONS -- COMMAND` by the user, on the node's machine.
    pub(crate) fn command(&self, options: &[&str], command: &[&str]) -> Command {
        self.command_in(&self.node, options, command)
    }

    /// The same on another machine.
    pub(crate) fn command_in(&self, machine: &NodeNetns, options: &[&str], command: &[&str]) -> Command {
        const ARRANGE: &str = "mount --bind \"$1\" /home && mount --bind \"$2\" /home/bin && mount --bind \"$3\" /etc/passwd && \
                               mount --bind \"$4\" /etc/resolv.conf && shift 4 && cd /home/agent/project && exec \"$@\"";
        let mut run = machine.command("unshare");
        run.args(["--mount", "sh", "-c", ARRANGE, "sh"]).arg(&self.home).arg(&self.cluster.binaries);
        run.arg(&self.passwd).arg(&self.resolv_conf).arg(&self.guard);
        run.args(["run", "--user", USER]).args(options).arg("--").args(command);
        run.env("PATH", "/home/bin:/home/tools:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        for variable in ["KUBECONFIG", "SUDO_USER", "AWS_PROFILE"] {
            run.env_remove(variable);
        }
        run
    }

    /// Runs a line of shell under guard.
    pub(crate) fn sh(&self, options: &[&str], line: &str) -> Answer {
        run(self.command(options, &["sh", "-c", line]), "")
    }

    /// The process of a command under guard whose command line has this word.
    pub(crate) fn process(word: &str) -> Option<u32> {
        fs::read_dir("/proc").expect("/proc").flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).into_owned();
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            (line.contains(word) && status.contains(&format!("Uid:\t{UID}\t"))).then_some(pid)
        })
    }
}

/// What the probe said.
#[track_caller]
pub(crate) fn finding(answer: &Answer) -> Finding {
    let line = answer.out.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn own(path: &Path) {
    chown(path, Some(UID), Some(UID)).expect("the user's file");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder").flatten() {
            own(&entry.path());
        }
    }
}
