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
/// A shell, curl, iproute2, kubectl, `script`, and the attack probe where it is built.
pub const AGENT: &str = "egressguard.io/test/agent:1";
/// Python and its Kubernetes client.
pub const AGENT_PYTHON: &str = "egressguard.io/test/agent-python:1";
/// node and its Kubernetes client.
pub const AGENT_NODE: &str = "egressguard.io/test/agent-node:1";
/// helm, and as `client` what the tests do with client-go.
pub const AGENT_GO: &str = "egressguard.io/test/agent-go:1";
/// As `client` what the tests do with kube-rs.
pub const AGENT_RUST: &str = "egressguard.io/test/agent-rust:1";
/// MCP servers and the MCP SDK in `/opt/mcp`, with node, kubectl and helm.
pub const AGENT_MCP: &str = "egressguard.io/test/agent-mcp:1";
/// The guard's own binary, as `/usr/local/bin/guard`.
pub const GATE: &str = "egressguard.io/test/gate:1";
/// The guard as the chart installs it, from the development build: [`shipped`] without what takes long.
pub const GUARD: &str = "egressguard.io/guard:test";

/// What few tests need, and large: imported into a node when its first pod of it is made.
const ON_DEMAND: [&str; 5] = [AGENT_PYTHON, AGENT_NODE, AGENT_GO, AGENT_RUST, AGENT_MCP];
/// Where a cluster's folder says which archives its nodes import from.
const LISTED: &str = "images.json";
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
    let archives = ensure(paths, &cluster.binaries, progress)?;
    list(cluster, &archives)?;
    cluster.nodes.iter().try_for_each(|node| import_everywhere(cluster, node, &archives))
}

/// Imports an image into a node unless it is there: for one that not every cluster needs.
pub fn provide(cluster: &Cluster, node: &Node, image: &str) -> Result<()> {
    let file = cluster.dir.join(LISTED);
    let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let archives: Vec<Archive> =
        serde_json::from_slice(&text).with_context(|| format!("understanding {}", file.display()))?;
    let archive = archives.iter().find(|archive| archive.image == image);
    import(cluster, node, archive.with_context(|| format!("no image {image}: see `cargo xtask image`"))?)
}

/// Writes down where the nodes find what [`provide`] is asked for.
pub(crate) fn list(cluster: &Cluster, archives: &[Archive]) -> Result<()> {
    let file = cluster.dir.join(LISTED);
    let text = serde_json::to_vec_pretty(archives).context("listing the images")?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

/// Imports what every cluster needs.
pub(crate) fn import_everywhere(cluster: &Cluster, node: &Node, archives: &[Archive]) -> Result<()> {
    let mut wanted = archives.iter().filter(|archive| !ON_DEMAND.contains(&archive.image.as_str()));
    wanted.try_for_each(|archive| import(cluster, node, archive))
}

/// Imports an archive into a node's containerd, once for each content.
fn import(cluster: &Cluster, node: &Node, archive: &Archive) -> Result<()> {
    let folder: PathBuf = cluster.dir.join(&node.name).join("imported");
    let marker = folder.join(&archive.key);
    if marker.exists() {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // Tests ask for the same image at the same time.
    let _lock = lock::hold(&folder.join(format!("{}.lock", archive.key)), "importing an image")?;
    if marker.exists() {
        return Ok(());
    }
    let path = archive.path.display().to_string();
    run::capture(&mut node.ctr(&cluster.binaries, ["--timeout", "120s", "images", "import", "--local", &path]))
        .with_context(|| format!("importing {} into {}", archive.image, node.name))?;
    fs::write(&marker, &archive.image).with_context(|| format!("writing {}", marker.display()))
}
