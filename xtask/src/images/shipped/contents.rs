//! What is in an image, read back from its archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tar::Archive;

/// Every file and link of the image in an OCI layout, with its mode. An entry of a later layer takes the place of an earlier one.
pub fn files_in(archive: &Path) -> Result<BTreeMap<String, u32>> {
    let index = document(archive, "index.json")?;
    // The first is the image; what follows refers to it.
    let manifest = document(archive, &blob(&index["manifests"][0])?)?;
    let mut files = BTreeMap::new();
    for layer in manifest["layers"].as_array().context("a manifest lists its layers")? {
        let name = blob(layer)?;
        read(archive, &name, |content| {
            for entry in Archive::new(content).entries().with_context(|| format!("reading the layer {name}"))? {
                let entry = entry.with_context(|| format!("reading the layer {name}"))?;
                if !entry.header().entry_type().is_dir() {
                    let path = entry.path().context("the name of a file")?.display().to_string();
                    files.insert(path, entry.header().mode().context("the mode of a file")?);
                }
            }
            Ok(())
        })?;
    }
    Ok(files)
}

fn document(archive: &Path, name: &str) -> Result<Value> {
    let mut text = String::new();
    read(archive, name, |content| content.read_to_string(&mut text).map(drop).context("reading it"))?;
    serde_json::from_str(&text).with_context(|| format!("{name} in {}", archive.display()))
}

/// Where the layout has what a descriptor names.
fn blob(descriptor: &Value) -> Result<String> {
    let digest = descriptor["digest"].as_str().context("a descriptor has a digest")?;
    Ok(format!("blobs/{}", digest.replace(':', "/")))
}

fn read(archive: &Path, name: &str, mut with: impl FnMut(&mut dyn Read) -> Result<()>) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
    let mut tar = Archive::new(BufReader::new(file));
    for entry in tar.entries().with_context(|| format!("reading {}", archive.display()))? {
        let mut entry = entry.with_context(|| format!("reading {}", archive.display()))?;
        if entry.path().is_ok_and(|path| path == Path::new(name)) {
            return with(&mut entry).with_context(|| format!("{name} in {}", archive.display()));
        }
    }
    anyhow::bail!("{} has no {name}", archive.display())
}
