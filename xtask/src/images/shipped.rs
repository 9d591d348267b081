//! The guard's own image, as it is shipped: one static program, and nothing to run beside it.

mod compile;
mod contents;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::archive::{Described, Image};
use super::layer::{Layer, cached, put_program};
use super::recipes::write;
use crate::hash;
use crate::paths::Paths;
use crate::progress::Progress;

pub use compile::{Architecture, compile};
pub use contents::files_in;

/// The repository that the chart names unless its values say otherwise; the tag is the version.
pub const GUARD: &str = "egressguard.io/guard";
/// Where the program lies in the image: commands of pods name it.
pub const PROGRAM: &str = "/usr/local/bin/guard";
/// Who runs it, unless a pod says otherwise: nobody that an image of an agent is likely to have as well.
pub(super) const USER: &str = "65532:65532";

/// A finished image.
#[derive(Debug)]
pub struct Shipped {
    /// Its name, with tag.
    pub image: String,
    /// The digest of its manifest, by which a registry knows it.
    pub digest: String,
    /// The OCI layout, as a tar.
    pub archive: PathBuf,
    /// The bill of materials, which is in the layout as well.
    pub sbom: PathBuf,
}

/// Where cargo builds what is shipped, unless somebody says otherwise.
pub fn target(paths: &Paths) -> PathBuf {
    paths.target().join("image")
}

/// Builds the guard for an architecture in `target` and packs it. The same sources give the same digest, whatever folders they and the target
/// lie in.
pub fn ship(
    paths: &Paths,
    architecture: Architecture,
    target: &Path,
    archive: &Path,
    progress: &Progress,
) -> Result<Shipped> {
    let program = progress.step(&format!("the guard for {architecture}, static"), Duration::from_mins(12), || {
        compile(paths, architecture, target)
    })?;
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("{GUARD}:{version}");
    let bill = sbom::of_the_guard(paths, architecture, version)?;
    let sbom = archive.with_extension("cdx.json");
    fs::write(&sbom, &bill).with_context(|| format!("writing {}", sbom.display()))?;
    let digest = pack(paths, architecture, &program, &image, &bill, archive)?;
    Ok(Shipped { image, digest, archive: archive.to_owned(), sbom })
}

/// Writes the archive; returns the digest.
fn pack(
    paths: &Paths,
    architecture: Architecture,
    program: &Path,
    image: &str,
    bill: &str,
    archive: &Path,
) -> Result<String> {
    let (files, program) = (files(paths)?, layer(paths, program)?);
    let described = Described {
        image: Image { name: image, entrypoint: &[PROGRAM], layers: &[&files, &program] },
        architecture: architecture.of_images(),
        user: USER,
        annotations: &[
            ("org.opencontainers.image.title", "Egress Guard"),
            ("org.opencontainers.image.description", "Guards AI agents' access to the Kubernetes API"),
            ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
            ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
        ],
        sbom: Some(bill),
    };
    described.write(archive)
}

fn layer(paths: &Paths, program: &Path) -> Result<Layer> {
    cached(paths, &format!("program {PROGRAM} {}", hash::of_file(program)?), |root| put_program(root, program, PROGRAM))
}

/// What the C library reads to look up users and hosts.
pub(super) fn files(paths: &Paths) -> Result<Layer> {
    let (uid, gid) = USER.split_once(':').expect("it is UID:GID");
    let users =
        format!("root:x:0:0:root:/nonexistent:/nonexistent\nguard:x:{uid}:{gid}:guard:/nonexistent:/nonexistent\n");
    let groups = format!("root:x:0:\nguard:x:{gid}:\n");
    let lookups = "passwd: files\ngroup: files\nhosts: files dns\n";
    cached(paths, &format!("files of the guard {users}{groups}{lookups}"), |root| {
        write(root, "etc/passwd", &users)?;
        write(root, "etc/group", &groups)?;
        write(root, "etc/nsswitch.conf", lookups)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_image_holds_the_program_and_nothing_else_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { root: PathBuf::new(), cache: folder.path().to_owned() };
        let (program, archive) = (folder.path().join("guard"), folder.path().join("image.tar"));
        fs::write(&program, "a program").unwrap();
        let digest = pack(&paths, Architecture::Amd64, &program, "example.test/guard:1", "{}", &archive).unwrap();
        assert!(digest.starts_with("sha256:"), "{digest}");
        let files = files_in(&archive).unwrap();
        let executable: BTreeMap<_, _> = files.iter().filter(|(_, mode)| **mode & 0o111 != 0).collect();
        assert!(executable.keys().eq([&"usr/local/bin/guard"]), "{files:?}");
        assert!(files.keys().eq(["etc/group", "etc/nsswitch.conf", "etc/passwd", "usr/local/bin/guard"]), "{files:?}");
    }
}
