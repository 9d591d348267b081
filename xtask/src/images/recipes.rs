//! What each image holds.

mod clients;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::archive::{Archive, Described, Image, architecture};
use super::layer::{Layer, cached, put_program};
use super::{AGENT, GATE, GUARD, PAUSE, debian, shipped};
use crate::hash;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::run::{capture, command};

/// What every image but pause stands on: the C library, a shell with the usual tools, curl, ip.
const BASE: &[&str] =
    &["base-files", "bash", "busybox-static", "ca-certificates", "curl", "dash", "iproute2", "libgcc-s1", "netbase"];
/// What a program that is built for development is linked with.
const C_LIBRARY: &[&str] = &["libc6", "libgcc-s1"];
/// `script`: gives a program a terminal.
const TERMINAL: &[&str] = &["bsdutils"];
/// What another of its programs wants.
const UNUSED: &str = "libsystemd0";
/// An entrypoint that stays until it is told to go.
const STAY: &[&str] = &["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"];

/// All images that can be made now.
pub(super) fn all(paths: &Paths, binaries: &Path, progress: &Progress) -> Result<Vec<Archive>> {
    let base = base(paths, progress)?;
    let kubectl = program(paths, &binaries.join("kubectl"), "/usr/local/bin/kubectl")?;
    let pause = program(paths, &binaries.join("pause"), "/pause")?;
    let terminal = terminal(paths)?;
    let mut agent = vec![&base, &kubectl, &terminal];
    let probe = built(paths, "probe").map(|file| stripped(paths, &file, "/bin/probe")).transpose()?;
    agent.extend(&probe);
    let mut images = vec![
        Image { name: PAUSE, entrypoint: &["/pause"], layers: &[&pause] }.archive(paths)?,
        Image { name: AGENT, entrypoint: STAY, layers: &agent }.archive(paths)?,
    ];
    images.extend(clients::all(paths, &base, &kubectl, binaries, progress)?);
    if let Some(guard) = built(paths, "guard") {
        let guard = stripped(paths, &guard, "/usr/local/bin/guard")?;
        images.push(
            Image { name: GATE, entrypoint: &["/usr/local/bin/guard", "gate"], layers: &[&base, &guard] }
                .archive(paths)?,
        );
    }
    images.extend(installed(paths, progress)?);
    Ok(images)
}

/// The guard's image as it is shipped, but for the program: that one is built at every change, and takes its C library from Debian.
fn installed(paths: &Paths, progress: &Progress) -> Result<Option<Archive>> {
    let Some(program) = built(paths, "guard") else { return Ok(None) };
    let library = cached(paths, &format!("c library 1 {C_LIBRARY:?}"), |root| {
        progress.step("image layer with the C library", Duration::from_secs(5), || {
            debian::unpack(paths, root, C_LIBRARY, &[])?;
            slim(root)
        })
    })?;
    let files = shipped::files(paths)?;
    let program = stripped(paths, &program, shipped::PROGRAM)?;
    let image = Image { name: GUARD, entrypoint: &[shipped::PROGRAM], layers: &[&library, &files, &program] };
    let described =
        Described { image, architecture: architecture(), user: shipped::USER, annotations: &[], sbom: None };
    described.archive(paths).map(Some)
}

/// A program of this workspace, if `cargo xtask build` has made it.
fn built(paths: &Paths, name: &str) -> Option<PathBuf> {
    let file = paths.target().join("debug").join(name);
    file.exists().then_some(file)
}

fn program(paths: &Paths, file: &Path, place: &str) -> Result<Layer> {
    let recipe = format!("program {place} {}", hash::of_file(file)?);
    cached(paths, &recipe, |root| put_program(root, file, place))
}

/// Without what a debugger wants: two thirds of the size, imported into every node at every change.
fn stripped(paths: &Paths, file: &Path, place: &str) -> Result<Layer> {
    let recipe = format!("stripped {place} {}", hash::of_file(file)?);
    cached(paths, &recipe, |root| {
        put_program(root, file, place)?;
        let copy = root.join(place.trim_start_matches('/'));
        capture(command("strip", ["--strip-debug"]).arg(&copy)).with_context(|| format!("stripping {place}")).map(drop)
    })
}

fn base(paths: &Paths, progress: &Progress) -> Result<Layer> {
    cached(paths, &format!("base 2 {BASE:?}"), |root| {
        progress.step("image base from Debian packages", Duration::from_secs(15), || {
            debian::unpack(paths, root, BASE, &[])?;
            busybox_links(root)?;
            write(
                root,
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
            )?;
            write(root, "etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
            write(root, "etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
            trust_bundle(root)?;
            slim(root)?;
            let tmp = root.join("tmp");
            fs::create_dir_all(&tmp).context("making /tmp")?;
            fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).context("chmod of /tmp")
        })
    })
}

fn terminal(paths: &Paths) -> Result<Layer> {
    cached(paths, &format!("terminal 1 {TERMINAL:?} {BASE:?}"), |root| {
        debian::unpack(paths, root, TERMINAL, &[BASE, &[UNUSED]].concat())?;
        slim(root)
    })
}

/// Documentation and translations are dead weight in an image that is unpacked on every node.
fn slim(root: &Path) -> Result<()> {
    for folder in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"] {
        let folder = root.join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

/// Every tool that busybox has and no package brought.
fn busybox_links(root: &Path) -> Result<()> {
    let busybox = root.join("bin/busybox");
    // busybox's shell prefers its own tools to the real ones.
    let shell = root.join("bin/sh");
    if fs::symlink_metadata(&shell).is_err() {
        symlink("dash", &shell).context("linking /bin/sh")?;
    }
    let list =
        capture(&mut command(&busybox.display().to_string(), ["--list"])).context("asking busybox for its tools")?;
    for tool in list.lines() {
        let folders = ["bin", "sbin", "usr/bin", "usr/sbin"];
        if folders.iter().all(|folder| fs::symlink_metadata(root.join(folder).join(tool)).is_err()) {
            symlink("/bin/busybox", root.join("bin").join(tool)).with_context(|| format!("linking {tool}"))?;
        }
    }
    Ok(())
}

/// What `update-ca-certificates` would write.
fn trust_bundle(root: &Path) -> Result<()> {
    let folder = root.join("usr/share/ca-certificates/mozilla");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let mut bundle = String::new();
    for file in files {
        bundle.push_str(&fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    write(root, "etc/ssl/certs/ca-certificates.crt", &bundle)
}

pub(super) fn write(root: &Path, name: &str, text: &str) -> Result<()> {
    let file = root.join(name);
    let folder = file.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}
