//! An OCI image layout in one tar, as `ctr images import` reads it (OCI image-layout specification 1.0).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tar::{Builder, Header};

use super::layer::Layer;
use crate::hash;
use crate::paths::Paths;

/// An image in the cache, ready to be imported.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// All of an image.
pub(super) struct Described<'a> {
    pub(super) image: Image<'a>,
    /// Go's name of what its programs run on.
    pub(super) architecture: &'a str,
    /// `UID:GID` unless the pod says otherwise; root if empty.
    pub(super) user: &'a str,
    /// Of the manifest: the specification's `org.opencontainers.image.…`.
    pub(super) annotations: &'a [(&'a str, &'a str)],
    /// A bill of materials, which refers to the image as its subject (OCI image specification 1.1, "Referrers").
    pub(super) sbom: Option<&'a str>,
}

/// What a `CycloneDX` document in JSON is.
const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The JSON documents of an image, each by its digest.
struct Documents {
    index: String,
    blobs: Vec<String>,
    /// The digest of the image's manifest.
    image: String,
}

impl Image<'_> {
    /// Writes the archive, if the cache has none with this content. For this machine, as root.
    pub(super) fn archive(self, paths: &Paths) -> Result<Archive> {
        Described { image: self, architecture: architecture(), user: "", annotations: &[], sbom: None }.archive(paths)
    }
}

impl Described<'_> {
    /// Writes the archive, if the cache has none with this content.
    pub(super) fn archive(&self, paths: &Paths) -> Result<Archive> {
        let documents = self.documents();
        let key = hash::of(documents.index.as_bytes())[..16].to_owned();
        let folder = paths.images().join(&key);
        let path = folder.join("image.tar");
        let archive = Archive { image: self.image.name.to_owned(), path: path.clone(), key };
        if !path.exists() {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            self.put(&documents, &path)?;
        }
        Ok(archive)
    }

    /// Writes the archive; returns the digest of the image's manifest, by which a registry knows it.
    pub(super) fn write(&self, path: &Path) -> Result<String> {
        let documents = self.documents();
        self.put(&documents, path)?;
        Ok(format!("sha256:{}", documents.image))
    }

    fn put(&self, documents: &Documents, path: &Path) -> Result<()> {
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let file = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
        let mut builder = Builder::new(BufWriter::new(file));
        let blob = |digest: &str| format!("blobs/sha256/{digest}");
        put(&mut builder, "oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
        put(&mut builder, "index.json", documents.index.as_bytes())?;
        for document in &documents.blobs {
            put(&mut builder, &blob(&hash::of(document.as_bytes())), document.as_bytes())?;
        }
        for layer in self.image.layers {
            let mut header = header(layer.size);
            let content = File::open(&layer.file).with_context(|| format!("opening {}", layer.file.display()))?;
            builder
                .append_data(&mut header, blob(&layer.digest), content)
                .context("writing a layer into the archive")?;
        }
        builder.into_inner().context("ending the archive")?.into_inner().context("writing the archive")?;
        fs::rename(&partial, path).with_context(|| format!("putting the archive into {}", path.display()))
    }

    fn documents(&self) -> Documents {
        let config = self.config().to_string();
        let manifest = self.manifest(&config).to_string();
        let image = of(MANIFEST, &manifest);
        let mut blobs = vec![manifest.clone(), config];
        let mut manifests = vec![self.named(image.clone())];
        if let Some(sbom) = self.sbom {
            const EMPTY: &str = "{}";
            let attached = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": CYCLONEDX,
                "config": of("application/vnd.oci.empty.v1+json", EMPTY),
                "layers": [of(CYCLONEDX, sbom)],
                "subject": image,
            })
            .to_string();
            let mut entry = of(MANIFEST, &attached);
            entry["artifactType"] = json!(CYCLONEDX);
            manifests.push(entry);
            blobs.extend([attached, EMPTY.to_owned(), sbom.to_owned()]);
        }
        let index =
            json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
        Documents { index: index.to_string(), blobs, image: hash::of(manifest.as_bytes()) }
    }

    fn config(&self) -> Value {
        let diff_ids: Vec<_> = self.image.layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "User": self.user,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": self.image.entrypoint,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
    }

    fn manifest(&self, config: &str) -> Value {
        let layers: Vec<Value> = self
            .image
            .layers
            .iter()
            .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", &layer.digest, layer.size))
            .collect();
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": of("application/vnd.oci.image.config.v1+json", config),
            "layers": layers,
            "annotations": self.annotations.iter().copied().collect::<BTreeMap<_, _>>(),
        })
    }

    /// containerd takes the name from its own annotation; the other is the specification's.
    fn named(&self, mut entry: Value) -> Value {
        let name = self.image.name;
        entry["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
        entry["platform"] = json!({"architecture": self.architecture, "os": "linux"});
        entry
    }
}

/// The descriptor of a document.
fn of(media_type: &str, document: &str) -> Value {
    descriptor(media_type, &hash::of(document.as_bytes()), document.len() as u64)
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

/// Go's name for this machine's architecture.
pub(super) fn architecture() -> &'static str {
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

    fn blobs(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut tar = tar::Archive::new(File::open(archive).unwrap());
        let files = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        });
        files.collect()
    }

    fn layer(cache: &Path) -> Layer {
        let paths = Paths { root: PathBuf::new(), cache: cache.to_owned() };
        super::super::layer::cached(&paths, "x", |root| Ok(fs::write(root.join("x"), "x")?)).unwrap()
    }

    #[test]
    fn every_digest_in_the_archive_is_that_of_its_blob() {
        let cache = tempfile::tempdir().unwrap();
        let paths = Paths { root: PathBuf::new(), cache: cache.path().to_owned() };
        let layer = layer(cache.path());
        let image = Image { name: "example.test/x:1", entrypoint: &["/x"], layers: &[&layer] };
        let files = blobs(&image.archive(&paths).unwrap().path);
        let blobs: Vec<_> =
            files.iter().filter_map(|(name, blob)| Some((name.strip_prefix("blobs/sha256/")?, blob))).collect();
        assert!(blobs.iter().all(|(digest, blob)| *digest == hash::of(blob)));
        assert_eq!(blobs.len(), 3, "manifest, config, layer");
    }

    #[test]
    fn a_bill_of_materials_names_the_image_as_its_subject() {
        let cache = tempfile::tempdir().unwrap();
        let layer = layer(cache.path());
        let image = Described {
            image: Image { name: "example.test/x:1", entrypoint: &["/x"], layers: &[&layer] },
            architecture: "arm64",
            user: "1:1",
            annotations: &[("org.opencontainers.image.title", "x")],
            sbom: Some(r#"{"bomFormat":"CycloneDX"}"#),
        };
        let path = cache.path().join("x.tar");
        let digest = image.write(&path).unwrap();
        let files = blobs(&path);
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let [first, second] = index["manifests"].as_array().unwrap().as_slice() else { panic!("{index}") };
        assert_eq!((&first["digest"], &first["platform"]["architecture"]), (&json!(digest), &json!("arm64")));
        let of = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            let blob = &files[&format!("blobs/{digest}")];
            assert_eq!(descriptor["size"], blob.len());
            blob
        };
        let attached: Value = serde_json::from_slice(of(second)).unwrap();
        assert_eq!((&attached["subject"]["digest"], &second["artifactType"]), (&json!(digest), &json!(CYCLONEDX)));
        assert_eq!(of(&attached["layers"][0]), br#"{"bomFormat":"CycloneDX"}"#);
    }
}
