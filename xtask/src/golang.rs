//! The cluster's programs, built from the Go modules in `tests/go` and kept in the cache under the hash of their sources.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::hash::Sha256;
use crate::lock;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::run::{capture, run};
use crate::tools;

/// What the one Kubernetes binary is called by.
const SERVERS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];
/// Without what needs C libraries that no test uses.
const NODE_TAGS: &str = "no_btrfs no_devmapper no_zfs netgo";
/// The tools that are pure Go, and the pause program.
const NODE_PARTS: [&str; 9] = [
    "github.com/containerd/containerd/v2/cmd/containerd",
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    "github.com/containerd/containerd/v2/cmd/ctr",
    "github.com/containernetworking/plugins/plugins/ipam/host-local",
    "github.com/containernetworking/plugins/plugins/main/bridge",
    "github.com/containernetworking/plugins/plugins/main/loopback",
    "github.com/containernetworking/plugins/plugins/meta/portmap",
    "helm.sh/helm/v4/cmd/helm",
    "./pause",
];

/// Returns the folder that holds all programs, building them if their sources are new.
pub fn ensure(paths: &Paths, progress: &Progress) -> Result<PathBuf> {
    let (cluster, node) = (paths.go("cluster"), paths.go("node"));
    kept(&paths.cache.join("cluster"), &[&cluster, &node], |go, building| {
        progress.step("Kubernetes, etcd and kubectl from source", Duration::from_secs(400), || {
            build_kubernetes(go, &cluster, building)
        })?;
        progress.step("containerd, runc, CNI plugins and helm from source", Duration::from_secs(250), || {
            build_node_parts(go, &node, building)
        })?;
        for name in SERVERS {
            // A build that was broken off may have left some.
            let _ = fs::remove_file(building.join(name));
            symlink("kube", building.join(name)).with_context(|| format!("linking {name}"))?;
        }
        Ok(())
    })
}

/// Returns the folder that holds the oracles: programs that compare this project's answers with those of Kubernetes' own code.
pub fn ensure_oracles(paths: &Paths, progress: &Progress) -> Result<PathBuf> {
    let module = paths.go("oracle");
    kept(&paths.cache.join("oracle"), &[&module], |go, building| {
        progress.step("oracles from source", Duration::from_secs(30), || {
            run(go.build(&module, building, "0").args(["-ldflags", "-s -w", "./..."]))
        })
    })
}

/// Returns the folder that holds the source of a module that `module` requires.
pub fn module_folder(module: &Path, required: &str) -> Result<PathBuf> {
    let program =
        tools::go().with_context(|| format!("Go {} or newer is needed, as `go` on PATH", tools::GO_AT_LEAST))?;
    let go = |arguments: &[&str]| {
        let mut go = Command::new(&program);
        go.current_dir(module).env("GOFLAGS", "-mod=readonly").args(arguments);
        go
    };
    // Programs that were built on another day need no sources; whoever asks for the folder does.
    run(&mut go(&["mod", "download", required]))?;
    Ok(PathBuf::from(capture(&mut go(&["list", "-m", "-f", "{{.Dir}}", required]))?.trim()))
}

/// Returns the folder that holds `client`, which the tests run in pods.
pub fn ensure_clients(paths: &Paths, progress: &Progress) -> Result<PathBuf> {
    let module = paths.go("clients");
    kept(&paths.cache.join("clients"), &[&module], |go, building| {
        progress.step("the tests' client-go program from source", Duration::from_secs(90), || {
            run(go.build(&module, building, "0").args(["-ldflags", "-s -w", "./client"]))
        })
    })
}

/// A folder in `parent` for what these modules are now, filled by `build` if it is new.
fn kept(parent: &Path, modules: &[&Path], build: impl FnOnce(&Go<'_>, &Path) -> Result<()>) -> Result<PathBuf> {
    let key = key(modules)?;
    let done = parent.join(&key);
    if done.exists() {
        return Ok(done);
    }
    let _lock = lock::hold(&parent.join("lock"), "building programs from tests/go")?;
    if done.exists() {
        return Ok(done);
    }
    let building = parent.join(format!("{key}.building"));
    fs::create_dir_all(&building).with_context(|| format!("making {}", building.display()))?;
    let program =
        tools::go().with_context(|| format!("Go {} or newer is needed, as `go` on PATH", tools::GO_AT_LEAST))?;
    build(&Go { program: &program }, &building)?;
    fs::rename(&building, &done).with_context(|| format!("putting the programs into {}", done.display()))?;
    Ok(done)
}

fn build_kubernetes(go: &Go<'_>, module: &Path, out: &Path) -> Result<()> {
    let version = required_version(module, "k8s.io/kubernetes")?;
    let numbers: Vec<&str> = version.trim_start_matches('v').split('.').collect();
    let [major, minor, ..] = numbers.as_slice() else {
        bail!("Kubernetes version {version:?} in go.mod is not vX.Y.Z")
    };
    let package = "k8s.io/component-base/version";
    let flags =
        format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}");
    run(go.build(module, out, "0").args(["-ldflags", &flags, "./kube", "./kubectl"]))
}

fn build_node_parts(go: &Go<'_>, module: &Path, out: &Path) -> Result<()> {
    let flags =
        format!("-s -w -X helm.sh/helm/v4/internal/version.version={}", required_version(module, "helm.sh/helm/v4")?);
    run(go.build(module, out, "0").args(["-ldflags", &flags, "-tags", NODE_TAGS]).args(NODE_PARTS))?;
    // runc needs C for entering namespaces, and libseccomp for the profiles that Kubernetes asks for.
    run(go.build(module, out, "1").args(["-ldflags", "-s -w", "-tags", "seccomp", "github.com/opencontainers/runc"]))
}

/// The Go to build with.
struct Go<'a> {
    program: &'a Path,
}

impl Go<'_> {
    fn build(&self, module: &Path, out: &Path, cgo: &str) -> Command {
        let mut command = Command::new(self.program);
        command.current_dir(module).env("CGO_ENABLED", cgo).env("GOFLAGS", "-mod=readonly").args([
            "build",
            "-trimpath",
            "-o",
        ]);
        command.arg(format!("{}/", out.display()));
        command
    }
}

/// A hash of everything that the programs are made of, and of how.
fn key(modules: &[&Path]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(NODE_TAGS.as_bytes());
    for module in modules {
        let mut files = Vec::new();
        collect(module, &mut files)?;
        files.sort();
        for file in files {
            let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            hash.field(file.strip_prefix(module).unwrap_or(&file).as_os_str().as_encoded_bytes());
            hash.field(&text);
        }
    }
    Ok(hash.hex()[..16].to_owned())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|kind| kind == "go" || kind == "mod" || kind == "sum") {
            files.push(path);
        }
    }
    Ok(())
}

/// The version that a module's `go.mod` requires of another: it becomes what the programs made of that say of themselves.
fn required_version(module: &Path, of: &str) -> Result<String> {
    let file = module.join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let version = text.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(of)).then(|| words.next().map(str::to_owned))?
    });
    version.with_context(|| format!("{} does not require {of}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_go_mod_requires() {
        let folder = tempfile::tempdir().unwrap();
        let text = "module m\n\nrequire (\n\tk8s.io/kubectl v0.37.2\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\nrequire x v1\n";
        fs::write(folder.path().join("go.mod"), text).unwrap();
        assert_eq!(required_version(folder.path(), "k8s.io/kubernetes").unwrap(), "v1.37.2");
        assert_eq!(required_version(folder.path(), "x").unwrap(), "v1");
        assert!(required_version(folder.path(), "k8s.io").is_err());
    }

    #[test]
    fn another_source_is_another_key() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.go"), "one").unwrap();
        let one = key(&[folder.path()]).unwrap();
        assert_eq!(one, key(&[folder.path()]).unwrap());
        fs::write(folder.path().join("a.go"), "two").unwrap();
        assert_ne!(one, key(&[folder.path()]).unwrap());
    }
}
