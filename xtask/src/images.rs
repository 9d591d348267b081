//! The container images that the tests run, made by our own code: no registry, no container engine.

mod archive;
mod debian;
mod layer;
mod recipes;
pub mod shipped;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub use archive::Archive;

use crate::cluster::{Cluster, Node};
use crate::lock;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::run;

/// Holds a pod's namespaces.
pub const PAUSE: &str = "egressguard.io/test/pause:1";
/// A shell, curl, iproute2, kubectl, and the attack probe where it is built.
pub const AGENT: &str = "egressguard.io/test/agent:1";
/// Python and its Kubernetes client.
pub const AGENT_PYTHON: &str = "egressguard.io/test/agent-python:1";
/// node and its Kubernetes client.
pub const AGENT_NODE: &str = "egressguard.io/test/agent-node:1";
/// The guard's own binary, as `/usr/local/bin/guard`.
pub const GATE: &str = "egressguard.io/test/gate:1";
/// The guard as the chart installs it, from the development build: [`shipped`] without what takes long.
pub const GUARD: &str = "egressguard.io/guard:test";

const DAY: Duration = Duration::from_hours(24);

/// Makes the images whose content is new. The guard and the probe are taken from the target folder, if they are built.
pub fn ensure(paths: &Paths, binaries: &Path, progress: &Progress) -> Result<Vec<Archive>> {
    let _lock = lock::hold(&paths.images().join("lock"), "making images")?;
    let archives = recipes::all(paths, binaries, progress)?;
    prune(paths, &archives)?;
    Ok(archives)
}

/// Every build of the guard makes another image: those of yesterday go.
fn prune(paths: &Paths, keep: &[Archive]) -> Result<()> {
    let is_old = |path: &Path| {
        let used = fs::metadata(path).and_then(|metadata| metadata.modified());
        used.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > DAY))
    };
    let folder = paths.images();
    for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let kept = keep.iter().any(|archive| archive.path.starts_with(&path));
        if path.join("image.tar").exists() && !kept && is_old(&path) {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    layer::prune(paths, is_old)
}

/// Brings the nodes of a running cluster up to date with what is built.
pub fn refresh(paths: &Paths, cluster: &Cluster, progress: &Progress) -> Result<()> {
    for archive in ensure(paths, &cluster.binaries, progress)? {
        cluster.nodes.iter().try_for_each(|node| import(cluster, node, &archive))?;
    }
    Ok(())
}

/// Imports an archive into a node's containerd, once for each content.
pub(crate) fn import(cluster: &Cluster, node: &Node, archive: &Archive) -> Result<()> {
    let folder: PathBuf = cluster.dir.join(&node.name).join("imported");
    let marker = folder.join(&archive.key);
    if marker.exists() {
        return Ok(());
    }
    let path = archive.path.display().to_string();
    run::capture(&mut node.ctr(&cluster.binaries, ["--timeout", "120s", "images", "import", "--local", &path]))
        .with_context(|| format!("importing {} into {}", archive.image, node.name))?;
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(&marker, &archive.image).with_context(|| format!("writing {}", marker.display()))
}
