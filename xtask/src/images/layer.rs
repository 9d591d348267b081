//! Layers: a tar of a folder that is the same, byte for byte, whenever the folder is the same.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tar::{Builder, EntryType, Header};

use crate::hash::{self, Hashing};
use crate::paths::Paths;

/// A finished layer in the cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Layer {
    pub(super) file: PathBuf,
    /// SHA-256 of the tar: the layer is not compressed, so it is digest and diff id at once.
    pub(super) digest: String,
    pub(super) size: u64,
}

/// Returns the layer with this recipe, calling `fill` to make its folder if the cache has none. All that decides the content
/// belongs into the recipe.
pub(super) fn cached(paths: &Paths, recipe: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Layer> {
    let folder = paths.images().join("layers");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let key = &hash::of(recipe.as_bytes())[..16];
    let description = folder.join(format!("{key}.json"));
    if let Ok(text) = fs::read(&description)
        && let Ok(layer) = serde_json::from_slice::<Layer>(&text)
        && layer.file.exists()
    {
        // Its time says when it was last of use.
        let _ = File::options().append(true).open(&description).and_then(|file| file.set_modified(SystemTime::now()));
        return Ok(layer);
    }
    let root = folder.join(format!("{key}.{}", std::process::id()));
    fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
    let made = fill(&root).and_then(|()| pack(&root, &folder.join(format!("{key}.tar"))));
    fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    let layer = made?;
    let text = serde_json::to_vec(&layer).context("describing a layer")?;
    fs::write(&description, text).with_context(|| format!("writing {}", description.display()))?;
    Ok(layer)
}

/// Removes the layers that nothing has asked for lately.
pub(super) fn prune(paths: &Paths, is_old: impl Fn(&Path) -> bool) -> Result<()> {
    for description in
        fs::read_dir(paths.images().join("layers")).into_iter().flatten().flatten().map(|entry| entry.path())
    {
        if description.extension().is_some_and(|kind| kind == "json") && is_old(&description) {
            for file in [description.with_extension("tar"), description] {
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
    }
    Ok(())
}

/// Packs a folder: sorted, owned by root, with no times.
fn pack(root: &Path, file: &Path) -> Result<Layer> {
    let partial = file.with_extension("partial");
    let out = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
    let mut builder = Builder::new(Hashing::new(BufWriter::new(out)));
    append(&mut builder, root, root)?;
    let (mut writer, digest, size) = builder.into_inner().context("ending the layer")?.finish();
    std::io::Write::flush(&mut writer).context("writing the layer")?;
    fs::rename(&partial, file).with_context(|| format!("putting the layer into {}", file.display()))?;
    Ok(Layer { file: file.to_owned(), digest, size })
}

fn append<W: std::io::Write>(builder: &mut Builder<W>, root: &Path, folder: &Path) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("reading {}", folder.display()))?;
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(root).expect("what was found in root lies below it");
        let metadata = fs::symlink_metadata(&path).with_context(|| format!("looking at {}", path.display()))?;
        let mut header = Header::new_gnu();
        header.set_mode(metadata.permissions().mode() & 0o7777);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let kind = metadata.file_type();
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, name, std::io::empty())
        } else if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(&path).with_context(|| format!("reading the link {}", path.display()))?;
            builder.append_link(&mut header, name, target)
        } else if kind.is_file() {
            header.set_size(metadata.len());
            let content = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            builder.append_data(&mut header, name, content)
        } else {
            bail!("{} is neither file, folder nor link: an image has no use for it", path.display());
        }
        .with_context(|| format!("packing {}", path.display()))?;
        if kind.is_dir() {
            append(builder, root, &path)?;
        }
    }
    Ok(())
}

/// Copies a program into a layer's folder, executable by all.
pub(super) fn put_program(root: &Path, from: &Path, to: &str) -> Result<()> {
    let target = root.join(to.trim_start_matches('/'));
    let parent = target.parent().context("a program lies in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    fs::copy(from, &target).with_context(|| format!("copying {} to {}", from.display(), target.display()))?;
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("chmod of {}", target.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn sample(folder: &Path, order: &[&str]) {
        for name in order {
            fs::write(folder.join(name), name).unwrap();
        }
        fs::create_dir(folder.join("d")).unwrap();
        symlink("a", folder.join("d/link")).unwrap();
    }

    #[test]
    fn the_same_folder_makes_the_same_layer() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sample(one.path(), &["a", "b", "c"]);
        sample(two.path(), &["c", "a", "b"]);
        let out = tempfile::tempdir().unwrap();
        let first = pack(one.path(), &out.path().join("1.tar")).unwrap();
        let second = pack(two.path(), &out.path().join("2.tar")).unwrap();
        assert_eq!(first.digest, second.digest);
        assert_eq!(first.size, fs::metadata(&first.file).unwrap().len());
        assert_eq!(first.digest, hash::of_file(&first.file).unwrap());
    }

    #[test]
    fn a_recipe_is_followed_once() {
        let cache = tempfile::tempdir().unwrap();
        let paths = Paths { root: PathBuf::new(), cache: cache.path().to_owned() };
        let fill = |root: &Path| Ok(fs::write(root.join("x"), "x")?);
        let first = cached(&paths, "x v1", fill).unwrap();
        let again = cached(&paths, "x v1", |_| panic!("it is in the cache")).unwrap();
        assert_eq!(first.digest, again.digest);
    }

    #[test]
    fn only_old_layers_are_pruned() {
        let cache = tempfile::tempdir().unwrap();
        let paths = Paths { root: PathBuf::new(), cache: cache.path().to_owned() };
        let layer = cached(&paths, "x v1", |root| Ok(fs::write(root.join("x"), "x")?)).unwrap();
        prune(&paths, |_| false).unwrap();
        assert!(layer.file.exists());
        prune(&paths, |_| true).unwrap();
        assert!(!layer.file.exists());
    }
}
