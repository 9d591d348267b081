//! The node's half: what its kernel, its mounts and its other tenants mean for the guard.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use guard_kernel::interfaces::{self, Kind};
use guard_kernel::netns::Netns;
use guard_kernel::{Kernel, Options, programs_of_others};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{FsType, statfs};

use super::finding::{Finding, named};

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);
const BPFFS: &str = "/sys/fs/bpf";
/// By number, as linux/capability.h has them.
const CAPABILITIES: [(&str, u32); 6] =
    [("DAC_READ_SEARCH", 2), ("NET_ADMIN", 12), ("NET_RAW", 13), ("SYS_PTRACE", 19), ("SYS_ADMIN", 21), ("BPF", 39)];

/// Looks at this machine.
pub(super) fn look(kubelet_root: &Path) -> Vec<Finding> {
    let mut findings = vec![
        architecture(),
        kernel(),
        btf(Path::new("/sys/kernel/btf/vmlinux")),
        cgroup2(),
        capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
        bpffs(),
        enforcement(),
        kubelet(kubelet_root, &kubelets_on_this_machine()),
    ];
    findings.extend(network());
    findings.push(others());
    findings
}

fn architecture() -> Finding {
    match std::env::consts::ARCH {
        arch @ "x86_64" => Finding::ok("architecture", arch),
        arch => Finding::warn("architecture", arch, "the guard builds for it, and is tested on x86_64 alone"),
    }
}

fn kernel() -> Finding {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_else(|error| error.to_string());
    match Kernel::missing_features().as_slice() {
        [] => Finding::ok("kernel", release),
        missing => Finding::warn("kernel", format!("{release}: {}", missing.join("; ")), "Linux 6.6 or newer has all"),
    }
}

fn btf(path: &Path) -> Finding {
    if path.exists() {
        return Finding::ok("BTF", path.display().to_string());
    }
    let fix = "a kernel built with CONFIG_DEBUG_INFO_BTF, as those of all larger distributions are; in a container, mount /sys";
    Finding::fail("BTF", format!("{} is missing", path.display()), fix)
}

fn cgroup2() -> Finding {
    match guard_workload::mount_point() {
        Ok(point) => Finding::ok("cgroup2", point.display().to_string()),
        Err(error) => Finding::fail("cgroup2", error.to_string(), "mount -t cgroup2 none /sys/fs/cgroup/unified"),
    }
}

fn capabilities(status: &str) -> Finding {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()) else {
        return Finding::warn("capabilities", "/proc/self/status names none", "mount /proc");
    };
    let missing: Vec<_> =
        CAPABILITIES.iter().filter(|(_, number)| effective & (1 << number) == 0).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Finding::ok("capabilities", CAPABILITIES.map(|(name, _)| name).join(", "));
    }
    Finding::fail(
        "capabilities",
        format!("missing: {}", missing.join(", ")),
        "add them to the container's securityContext",
    )
}

fn bpffs() -> Finding {
    match statfs(BPFFS) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => Finding::ok("bpffs", BPFFS),
        _ => Finding::fail(
            "bpffs",
            format!("none at {BPFFS}"),
            format!("on the node: mount -t bpf bpf {BPFFS} (systemd does it at boot)"),
        ),
    }
}

/// Not asked but tried: everything is loaded, pinned and removed, in a network that nobody else is in.
fn enforcement() -> Finding {
    let tried = std::thread::spawn(|| -> Result<(), String> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("a network namespace for the try: {error}"))?;
        let place = format!("{BPFFS}/egress-guard-doctor-{}", std::process::id());
        let options = Options { table: "egress_guard_doctor".to_owned(), ..Options::pinned_in(&place) };
        let tried = Kernel::open(&options).and_then(Kernel::uninstall).map_err(|error| error.to_string());
        // What is not whole was not removed with the rest.
        let _ = fs::remove_dir_all(&place);
        tried
    });
    match tried.join() {
        Ok(Ok(())) => Finding::ok("enforcement", "programs, maps and nft rules were loaded and removed again"),
        Ok(Err(error)) => {
            Finding::fail("enforcement", error, "what the message names; then start the guard's pod anew")
        }
        Err(_) => Finding::fail("enforcement", "the try has panicked", "report this, with the log"),
    }
}

/// The `--root-dir` of each kubelet that runs here: what its command line says, or the default. A machine of tests has several.
fn kubelets_on_this_machine() -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter_map(|line| root_in(&line)).collect()
}

fn root_in(command_line: &[u8]) -> Option<String> {
    let mut arguments =
        command_line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned());
    let program = arguments.next()?;
    if program.rsplit('/').next() != Some("kubelet") {
        return None;
    }
    let arguments: Vec<String> = arguments.collect();
    let joined = arguments.iter().find_map(|argument| argument.strip_prefix("--root-dir=").map(str::to_owned));
    let apart =
        arguments.iter().position(|argument| argument == "--root-dir").and_then(|at| arguments.get(at + 1)).cloned();
    Some(joined.or(apart).unwrap_or_else(|| "/var/lib/kubelet".to_owned()))
}

fn kubelet(configured: &Path, running: &[String]) -> Finding {
    let check = "kubelet's root";
    match running.first() {
        Some(other) if !running.iter().any(|root| Path::new(root) == configured) => {
            let found = format!("the kubelet has {other}, the guard {}", configured.display());
            Finding::fail(check, found, format!("--set node.kubeletRoot={other}"))
        }
        _ if configured.join("pods").is_dir() => Finding::ok(check, configured.display().to_string()),
        _ => {
            let found = format!("{} holds no pods", configured.display());
            Finding::fail(check, found, "set node.kubeletRoot to the kubelet's --root-dir; in a container, mount it")
        }
    }
}

/// What the interfaces say of the network plugin.
fn network() -> Vec<Finding> {
    let list = match Netns::current().and_then(|host| interfaces::list(&host)) {
        Ok(list) => list,
        Err(error) => return vec![Finding::warn("network plugin", error.to_string(), "look with `ip link`")],
    };
    let names: Vec<&str> = list.iter().map(|interface| interface.name.as_str()).collect();
    let kinds: BTreeSet<&str> = list
        .iter()
        .filter_map(|interface| match &interface.kind {
            Kind::Other(kind) if matches!(kind.as_str(), "macvlan" | "ipvlan") => Some(kind.as_str()),
            _ => None,
        })
        .collect();
    let mut findings = vec![plugin(&names)];
    if !kinds.is_empty() {
        let kinds: Vec<_> = kinds.into_iter().collect();
        findings.push(Finding::warn(
            "interfaces",
            format!("this node has {} interfaces", kinds.join(" and ")),
            "agent pods need a veth: those with a macvlan, ipvlan or SR-IOV interface are refused, with an event that says so",
        ));
    }
    findings
}

fn plugin(interfaces: &[&str]) -> Finding {
    const SIGNS: [(&str, &str); 7] = [
        ("cilium_", "Cilium"),
        ("cali", "Calico"),
        ("flannel", "Flannel"),
        ("genev_sys", "OVN-Kubernetes"),
        ("antrea-gw", "Antrea"),
        ("eni", "AWS VPC CNI"),
        ("cni", "bridge"),
    ];
    let sign = SIGNS.iter().find(|(prefix, _)| interfaces.iter().any(|name| name.starts_with(prefix)));
    match sign {
        Some((_, "Cilium")) => Finding::warn(
            "network plugin",
            "Cilium",
            "the guard's programs run beside Cilium's; with IPsec, set node.mark to a bit that it leaves free",
        ),
        Some((_, plugin)) => Finding::ok("network plugin", *plugin),
        None => Finding::warn(
            "network plugin",
            "no interface tells which",
            "agent pods need a veth each; `helm test` proves it",
        ),
    }
}

fn others() -> Finding {
    let others = programs_of_others::loaded();
    if others.is_empty() {
        return Finding::ok("other programs", "nobody else uses the same kinds of hooks");
    }
    let names: Vec<String> = others.iter().map(|program| format!("{} ({})", program.name, program.hook)).collect();
    Finding::warn(
        "other programs",
        named(&names),
        "nothing, as a rule: the guard goes first on agents' veths and puts itself back there. A program that lets packets pass before it \
         on kernels before 6.6, or rewrites connects, is worth a `helm test`",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn capabilities_are_read_by_their_numbers() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t000001fffeffffff\n").status, Status::Ok);
        let found = capabilities("CapEff:\t00000000a80425fb\n");
        assert_eq!(found.status, Status::Fail);
        assert!(found.found.contains("BPF") && !found.found.contains("NET_RAW"), "{}", found.found);
    }

    #[test]
    fn the_kubelet_says_where_its_root_is() {
        assert_eq!(root_in(b"/usr/bin/kubelet\0--root-dir=/data/kubelet\0").as_deref(), Some("/data/kubelet"));
        assert_eq!(root_in(b"kubelet\0--root-dir\0/k\0").as_deref(), Some("/k"));
        assert_eq!(root_in(b"kubelet\0").as_deref(), Some("/var/lib/kubelet"));
        assert_eq!(root_in(b"grep\0kubelet\0"), None);
        let found = kubelet(Path::new("/var/lib/kubelet"), &["/data/kubelet".to_owned()]);
        assert!(found.fix.unwrap().contains("node.kubeletRoot=/data/kubelet"));
    }

    #[test]
    fn plugins_are_told_by_their_interfaces() {
        assert_eq!(plugin(&["eth0", "cali1234"]).found, "Calico");
        assert_eq!(plugin(&["cilium_host", "lxc1"]).status, Status::Warn);
        assert_eq!(plugin(&["eth0"]).status, Status::Warn);
    }

    #[test]
    fn a_kernel_without_types_is_told_apart() {
        assert_eq!(btf(Path::new("/nonexistent")).status, Status::Fail);
    }

    #[test]
    fn what_the_kernel_can_is_tried_and_nothing_of_the_try_is_left() {
        assert_eq!(
            enforcement(),
            Finding::ok("enforcement", "programs, maps and nft rules were loaded and removed again")
        );
        assert!(!Path::new(&format!("{BPFFS}/egress-guard-doctor-{}", std::process::id())).exists());
    }
}
