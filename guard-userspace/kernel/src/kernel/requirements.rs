//! What the machine must have, checked before anything is half set up; and what it may lack, and what that means.

use std::path::Path;

use crate::Error;

/// `SO_NETNS_COOKIE` came with 5.14, and 5.15 is the first long-term kernel that has it. The programs themselves were seen
/// to do their work on 5.10.
const MINIMUM: Version = (5, 15);
const TCX: Version = (6, 6);

/// Major and minor.
type Version = (u32, u32);

pub(super) fn check() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Unmet {
            what: "root, with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN",
            fix: "run the guard as root",
        });
    }
    if kernel_version() < MINIMUM {
        return Err(Error::Unmet {
            what: "Linux 5.15 or newer: older ones lack SO_NETNS_COOKIE (5.14), by which a pod's sockets are told apart",
            fix: "`uname -r` says which this is",
        });
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(Error::Unmet {
            what: "BTF, at /sys/kernel/btf/vmlinux",
            fix: "use a kernel built with CONFIG_DEBUG_INFO_BTF, and mount /sys",
        });
    }
    Ok(())
}

/// Whether programs can be attached to an interface by tcx links.
pub(super) fn has_tcx() -> bool {
    kernel_version() >= TCX
}

pub(super) fn missing() -> Vec<&'static str> {
    missing_from(kernel_version())
}

fn missing_from(version: Version) -> Vec<&'static str> {
    let known = [(
        TCX,
        "no tcx (Linux 6.6): the programs on the pods' veths are attached by clsact, where another tool on this node may \
         put itself before them or remove them until the guard looks again",
    )];
    known.into_iter().filter(|(since, _)| version < *since).map(|(_, said)| said).collect()
}

fn kernel_version() -> Version {
    let release = rustix::system::uname();
    parse_version(&release.release().to_string_lossy())
}

/// `6.1.0-18-cloud-amd64` is 6.1.
fn parse_version(release: &str) -> Version {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_s_release_is_compared_by_its_numbers() {
        assert_eq!(parse_version("6.1.0-18-cloud-amd64"), (6, 1));
        assert_eq!(parse_version("6.18.44-fc-v669"), (6, 18));
        assert!(parse_version("5.15.0") >= MINIMUM && parse_version("5.10.1") < MINIMUM);
    }

    #[test]
    fn what_an_older_kernel_lacks_is_said() {
        assert!(matches!(missing_from((6, 5))[..], [said] if said.contains("tcx") && said.contains("clsact")));
        assert_eq!(missing_from((6, 6)), [""; 0]);
    }
}
