//! Where things are: the checkout, and the cache that lies outside it, so that a fresh clone on a warm machine is warm.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The folders that all verbs share.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The checkout: what holds the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// `$EGRESS_GUARD_CACHE`, or `egress-guard` in `$XDG_CACHE_HOME` or `~/.cache`.
    pub cache: PathBuf,
}

impl Paths {
    /// Finds both; the cache is made if it is not there.
    pub fn find() -> Result<Self> {
        // What cargo says now, not what it said when this was built: checkouts share a target folder, and with it this program.
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = package.parent().context("xtask lies in the checkout, so its folder has a parent")?.to_path_buf();
        let cache = cache_from(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
            .context("neither EGRESS_GUARD_CACHE, XDG_CACHE_HOME nor HOME is set: set one, the cache needs a place")?;
        fs::create_dir_all(&cache).with_context(|| {
            format!("making the cache {} (is it writable? EGRESS_GUARD_CACHE moves it)", cache.display())
        })?;
        Ok(Self { root, cache })
    }

    /// What cargo builds into: `$CARGO_TARGET_DIR`, or `target` in the cache.
    pub fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR")
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| self.cache.join("target"), PathBuf::from)
    }

    /// The kernel programs' own target folder: another toolchain, another target.
    pub fn ebpf_target(&self) -> PathBuf {
        self.cache.join("target-ebpf")
    }

    /// The fuzz targets' own target folder: all their code is instrumented.
    pub fn fuzz_target(&self) -> PathBuf {
        self.cache.join("target-fuzz")
    }

    /// Where the state of each cluster lies.
    pub fn clusters(&self) -> PathBuf {
        self.cache.join("clusters")
    }

    /// Where image layers and archives lie.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// The Go modules that clusters and clients are made of.
    pub fn go(&self, module: &str) -> PathBuf {
        self.root.join("tests/go").join(module)
    }
}

fn cache_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("EGRESS_GUARD_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("egress-guard")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/egress-guard")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &'static [(&'static str, &'static str)]) -> Option<PathBuf> {
        cache_from(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value)))
    }

    #[test]
    fn the_cache_is_where_the_most_specific_variable_says() {
        assert_eq!(with(&[("EGRESS_GUARD_CACHE", "/c"), ("HOME", "/h")]), Some("/c".into()));
        assert_eq!(with(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), Some("/x/egress-guard".into()));
        assert_eq!(with(&[("HOME", "/h")]), Some("/h/.cache/egress-guard".into()));
        assert_eq!(with(&[]), None);
    }
}
