//! An OCI image layout in one tar, as `ctr images import` reads it (OCI image-layout specification 1.0).

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tar::{Builder, Header};

use super::layer::Layer;
use crate::hash;
use crate::paths::Paths;

/// An image in the cache, ready to be imported.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its name, with tag.
    pub image: String,
    /// The tar.
    pub path: PathBuf,
    /// Names its content: another content, another key.
    pub key: String,
}

/// What an image is, beside its layers.
pub(super) struct Image<'a> {
    pub(super) name: &'a str,
    pub(super) entrypoint: &'a [&'a str],
    pub(super) layers: &'a [&'a Layer],
}

impl Image<'_> {
    /// Writes the archive, if the cache has none with this content.
    pub(super) fn archive(&self, paths: &Paths) -> Result<Archive> {
        let config = self.config().to_string();
        let manifest = self.manifest(&config).to_string();
        let index = self.index(&manifest).to_string();
        let key = hash::of(index.as_bytes())[..16].to_owned();
        let folder = paths.images().join(&key);
        let path = folder.join("image.tar");
        let archive = Archive { image: self.name.to_owned(), path: path.clone(), key };
        if path.exists() {
            return Ok(archive);
        }
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let partial = folder.join(format!("{}.partial", std::process::id()));
        let file = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
        let mut builder = Builder::new(BufWriter::new(file));
        let blob = |digest: &str| format!("blobs/sha256/{digest}");
        put(&mut builder, "oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
        put(&mut builder, "index.json", index.as_bytes())?;
        put(&mut builder, &blob(&hash::of(manifest.as_bytes())), manifest.as_bytes())?;
        put(&mut builder, &blob(&hash::of(config.as_bytes())), config.as_bytes())?;
        for layer in self.layers {
            let mut header = header(layer.size);
            let content = File::open(&layer.file).with_context(|| format!("opening {}", layer.file.display()))?;
            builder
                .append_data(&mut header, blob(&layer.digest), content)
                .context("writing a layer into the archive")?;
        }
        builder.into_inner().context("ending the archive")?.into_inner().context("writing the archive")?;
        fs::rename(&partial, &path).with_context(|| format!("putting the archive into {}", path.display()))?;
        Ok(archive)
    }

    fn config(&self) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": self.entrypoint,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": self.layers.iter().map(|l| format!("sha256:{}", l.digest)).collect::<Vec<_>>()},
        })
    }

    fn manifest(&self, config: &str) -> Value {
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", &layer.digest, layer.size))
            .collect();
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &hash::of(config.as_bytes()), config.len() as u64),
            "layers": layers,
        })
    }

    fn index(&self, manifest: &str) -> Value {
        let mut entry = descriptor(
            "application/vnd.oci.image.manifest.v1+json",
            &hash::of(manifest.as_bytes()),
            manifest.len() as u64,
        );
        // containerd takes the name from its own annotation; the other is the specification's.
        entry["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": self.name});
        entry["platform"] = json!({"architecture": architecture(), "os": "linux"});
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]})
    }
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

/// Go's name for this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn put<W: std::io::Write>(builder: &mut Builder<W>, name: &str, content: &[u8]) -> Result<()> {
    builder
        .append_data(&mut header(content.len() as u64), name, content)
        .with_context(|| format!("writing {name} into the archive"))
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_digest_in_the_archive_is_that_of_its_blob() {
        let cache = tempfile::tempdir().unwrap();
        let paths = Paths { root: PathBuf::new(), cache: cache.path().to_owned() };
        let layer = super::super::layer::cached(&paths, "x", |root| Ok(fs::write(root.join("x"), "x")?)).unwrap();
        let image = Image { name: "example.test/x:1", entrypoint: &["/x"], layers: &[&layer] };
        let archive = image.archive(&paths).unwrap();
        let mut tar = tar::Archive::new(File::open(&archive.path).unwrap());
        let mut blobs = 0;
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(digest, hash::of(&content));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3, "manifest, config, layer");
    }
}
