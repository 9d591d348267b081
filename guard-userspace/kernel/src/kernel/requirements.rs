//! What the machine must have, checked before anything is half set up.

use std::path::Path;

use crate::Error;

/// cgroup links and `bpf_get_netns_cookie` in all hooks that use it.
const MINIMUM: (u32, u32) = (5, 15);
const TCX: (u32, u32) = (6, 6);

pub(super) fn check() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Unmet {
            what: "root, with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN",
            fix: "run the guard as root",
        });
    }
    if kernel_version() < MINIMUM {
        return Err(Error::Unmet { what: "Linux 5.15 or newer (6.6 for tcx)", fix: "`uname -r` says which this is" });
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

fn kernel_version() -> (u32, u32) {
    let release = rustix::system::uname();
    parse_version(&release.release().to_string_lossy())
}

/// `6.1.0-18-cloud-amd64` is 6.1.
fn parse_version(release: &str) -> (u32, u32) {
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
}
