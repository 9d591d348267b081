//! The host's forwarding settings: switched on while a run needs them, and back as they were after the last one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV4_INTERFACES: &str = "/proc/sys/net/ipv4/conf";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const IPV6_INTERFACES: &str = "/proc/sys/net/ipv6/conf";

/// What was changed: each file with what it held, in the order in which it is written back.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Before {
    switches: BTreeMap<PathBuf, String>,
    interfaces: BTreeMap<PathBuf, String>,
}

impl Before {
    /// Switches forwarding on where it is off; what was changed. Whether IPv6 is meant too, the caller says.
    pub(crate) fn switch_on(ipv6: bool) -> Result<Self, Error> {
        let mut before = Self::default();
        if is(IPV4, "0") {
            before.keep_interfaces(IPV4_INTERFACES, &["forwarding"]);
            before.switch(IPV4)?;
        }
        if ipv6 && is(IPV6, "0") {
            // A host that forwards takes no router's advertisements, unless it is told to (2).
            before.keep_interfaces(IPV6_INTERFACES, &["forwarding", "accept_ra"]);
            let heeded: Vec<_> = before
                .interfaces
                .iter()
                .filter(|(file, value)| file.ends_with("accept_ra") && value.as_str() == "1")
                .map(|(file, _)| file.clone())
                .collect();
            for file in heeded {
                write(&file, "2")?;
            }
            before.switch(IPV6)?;
        }
        Ok(before)
    }

    /// Forwarding was off, of one family at least.
    pub(crate) fn was_off(&self) -> bool {
        !self.switches.is_empty()
    }

    /// Writes everything back. An interface that is gone is left out.
    pub(crate) fn restore(&self) {
        for (file, value) in self.switches.iter().chain(&self.interfaces) {
            if file.exists() && fs::read_to_string(file).is_ok_and(|now| now.trim() != value) {
                let _ = write(file, value).inspect_err(|error| tracing::warn!(%error, "a setting is not as it was"));
            }
        }
    }

    fn switch(&mut self, file: &str) -> Result<(), Error> {
        self.switches.insert(PathBuf::from(file), "0".to_owned());
        write(Path::new(file), "1")
    }

    fn keep_interfaces(&mut self, folder: &str, names: &[&str]) {
        for interface in fs::read_dir(folder).into_iter().flatten().flatten() {
            // `all` is the switch itself.
            if interface.file_name() == "all" {
                continue;
            }
            for name in names {
                let file = interface.path().join(name);
                if let Ok(value) = fs::read_to_string(&file) {
                    self.interfaces.insert(file, value.trim().to_owned());
                }
            }
        }
    }
}

/// Whether the machine has IPv6 switched on.
pub(crate) fn has_ipv6() -> bool {
    is("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0") && is("/proc/sys/net/ipv6/conf/default/disable_ipv6", "0")
}

fn is(file: &str, value: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim() == value)
}

fn write(file: &Path, value: &str) -> Result<(), Error> {
    let hint = "/proc/sys must be writable; a container needs --privileged";
    fs::write(file, value).map_err(|error| Error::file("writing", file, hint, error))
}
