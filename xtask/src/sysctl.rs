//! Settings of the machine that a kubelet changes: remembered before the first cluster, put back after the last.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What the kubelet sets (`setupKernelTunables` in its container manager).
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];
const ROOT: &str = "/proc/sys";

/// Writes down what the settings are, unless another cluster did.
pub fn remember(folder: &Path) -> Result<()> {
    let file = file(folder);
    if file.exists() {
        return Ok(());
    }
    let values = read(Path::new(ROOT));
    let text = serde_json::to_vec(&values).context("writing down the machine's settings")?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

/// Puts them back.
pub fn restore(folder: &Path) {
    let file = file(folder);
    let Some(values) =
        fs::read(&file).ok().and_then(|text| serde_json::from_slice::<BTreeMap<String, String>>(&text).ok())
    else {
        return;
    };
    for (name, value) in values {
        // A machine that forbids it forbade it to the kubelet as well.
        let _ = fs::write(Path::new(ROOT).join(name), value);
    }
    let _ = fs::remove_file(file);
}

fn file(folder: &Path) -> PathBuf {
    folder.join("sysctls.json")
}

fn read(root: &Path) -> BTreeMap<&'static str, String> {
    SETTINGS
        .iter()
        .filter_map(|name| Some((*name, fs::read_to_string(root.join(name)).ok()?.trim().to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacks_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("vm")).unwrap();
        fs::write(root.path().join("vm/panic_on_oom"), "0\n").unwrap();
        assert_eq!(read(root.path()), BTreeMap::from([("vm/panic_on_oom", "0".to_owned())]));
    }
}
