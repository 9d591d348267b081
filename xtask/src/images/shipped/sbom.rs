//! The bill of materials: `CycloneDX` 1.6, JSON, from what cargo says of the guard's dependencies.
//!
//! It has no time and no serial number of its own: the same sources give the same document.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Architecture;
use crate::build::cargo;
use crate::paths::Paths;
use crate::run::capture;

/// `cargo metadata`, as far as it is needed (format version 1).
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `None` is an ordinary one.
    kind: Option<String>,
}

/// The bill of what the guard's program is made of. What only builds or tests it is not in it.
pub(super) fn of_the_guard(paths: &Paths, architecture: Architecture, version: &str) -> Result<String> {
    let text = capture(
        cargo(paths)
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", architecture.target()])
            .args(["--manifest-path"])
            .arg(paths.root.join("Cargo.toml")),
    )?;
    let metadata: Metadata = serde_json::from_str(&text).context("reading what cargo metadata says")?;
    let lock = fs::read_to_string(paths.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let mut bill = bill(&metadata, &checksums(&lock), version)?;
    add_c_library(&mut bill, &c_library(architecture)?);
    serde_json::to_string(&bill).context("writing the bill of materials")
}

fn bill(metadata: &Metadata, checksums: &BTreeMap<(String, String), String>, version: &str) -> Result<Value> {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let guard = packages
        .values()
        .find(|package| package.name == "guard" && package.source.is_none())
        .context("the workspace has no package guard")?;
    let mut reached = BTreeSet::new();
    let mut waiting = vec![guard.id.as_str()];
    while let Some(id) = waiting.pop() {
        if reached.insert(id) {
            waiting.extend(nodes.get(id).into_iter().flat_map(|node| ordinary(node)));
        }
    }
    let mut components: Vec<(String, Value)> = Vec::new();
    let mut dependencies: Vec<(String, Value)> = Vec::new();
    for id in &reached {
        let package = packages.get(id).with_context(|| format!("cargo names {id} and does not describe it"))?;
        let below = nodes.get(id).into_iter().flat_map(|node| ordinary(node));
        let below: BTreeSet<String> =
            below.filter_map(|id| packages.get(id)).map(|package| package.reference()).collect();
        dependencies.push((package.reference(), json!({"ref": package.reference(), "dependsOn": below})));
        if *id != guard.id {
            components.push((package.reference(), package.component(checksums)));
        }
    }
    components.sort_by(|one, other| one.0.cmp(&other.0));
    dependencies.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": guard.reference(),
            "name": "egress-guard",
            "version": version,
            "licenses": [{"expression": "Apache-2.0"}],
        }},
        "components": components.into_iter().map(|(_, component)| component).collect::<Vec<_>>(),
        "dependencies": dependencies.into_iter().map(|(_, dependency)| dependency).collect::<Vec<_>>(),
    }))
}

/// The version of the C library that the program is linked with, statically.
fn c_library(architecture: Architecture) -> Result<String> {
    let text = if architecture.is_this_machines() {
        capture(Command::new("getconf").arg("GNU_LIBC_VERSION"))?
    } else {
        capture(Command::new("dpkg-query").args(["--show", "--showformat=glibc ${Version}", "libc6-dev-arm64-cross"]))?
    };
    let version = text.trim().strip_prefix("glibc ").with_context(|| format!("{text:?} is no version of glibc"))?;
    Ok(version.to_owned())
}

fn add_c_library(bill: &mut Value, version: &str) {
    let reference = format!("pkg:generic/glibc@{version}");
    let component = json!({
        "type": "library",
        "bom-ref": reference,
        "name": "glibc",
        "version": version,
        "purl": reference,
        "licenses": [{"expression": "LGPL-2.1-or-later"}],
    });
    bill["components"].as_array_mut().expect("it is made with a list of components").push(component);
}

/// What a package's own code is linked with.
fn ordinary(node: &Node) -> impl Iterator<Item = &str> {
    let is_ordinary = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
    node.deps.iter().filter(is_ordinary).map(|dependency| dependency.pkg.as_str())
}

impl Package {
    /// A package URL. Packages of this workspace have none: nobody can fetch them by it.
    fn reference(&self) -> String {
        match self.source {
            Some(_) => format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B")),
            None => format!("{}@{}", self.name, self.version),
        }
    }

    fn component(&self, checksums: &BTreeMap<(String, String), String>) -> Value {
        let mut component = json!({
            "type": "library",
            "bom-ref": self.reference(),
            "name": self.name,
            "version": self.version,
        });
        if self.source.is_some() {
            component["purl"] = json!(self.reference());
        }
        if let Some(license) = &self.license {
            // The form that SPDX had before `OR`.
            component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
        }
        if let Some(description) = &self.description {
            component["description"] = json!(description.trim());
        }
        if let Some(checksum) = checksums.get(&(self.name.clone(), self.version.clone())) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        component
    }
}

/// Name and version to SHA-256, as Cargo.lock has them: a table per package, a line per field.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let field = |table: &str, name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let tables = lock.split("[[package]]").skip(1);
    tables
        .filter_map(|table| Some(((field(table, "name")?, field(table, "version")?), field(table, "checksum")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let package = |name: &str, source: Option<&str>| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source, "description": null});
        let dependency = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let registry = Some("registry+https://example.test/index");
        serde_json::from_value(json!({
            "packages": [package("guard", None), package("a", registry), package("b", registry), package("cc", registry), package("c", registry)],
            "resolve": {"nodes": [
                {"id": "guard", "deps": [dependency("a", Value::Null), dependency("c", json!("dev"))]},
                {"id": "a", "deps": [dependency("b", Value::Null), dependency("cc", json!("build"))]},
                {"id": "b", "deps": []}, {"id": "cc", "deps": []}, {"id": "c", "deps": []},
            ]},
        }))
        .unwrap()
    }

    /// What the schema of `CycloneDX` 1.6 requires of the parts that are used here.
    fn assert_valid(bill: &Value) {
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
        let mut references = BTreeSet::new();
        let own = [&bill["metadata"]["component"]];
        for component in bill["components"].as_array().unwrap().iter().chain(own) {
            assert!(component["type"].is_string() && component["name"].is_string(), "{component}");
            assert!(references.insert(component["bom-ref"].as_str().unwrap()), "a reference is unique: {component}");
            for license in component["licenses"].as_array().into_iter().flatten() {
                assert!(license["expression"].is_string());
            }
            for hash in component["hashes"].as_array().into_iter().flatten() {
                let content = hash["content"].as_str().unwrap();
                assert!(hash["alg"] == "SHA-256" && content.len() == 64, "{hash}");
            }
        }
        for dependency in bill["dependencies"].as_array().unwrap() {
            let named = dependency["dependsOn"].as_array().unwrap().iter().chain([&dependency["ref"]]);
            for reference in named {
                assert!(references.contains(reference.as_str().unwrap()), "{reference} is no component");
            }
        }
    }

    #[test]
    fn what_only_builds_or_tests_the_guard_is_not_in_its_bill() {
        let bill = bill(&metadata(), &BTreeMap::new(), "1.0.0").unwrap();
        assert_valid(&bill);
        let names: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(bill["components"][0]["licenses"], json!([{"expression": "MIT OR Apache-2.0"}]));
    }

    #[test]
    fn the_guards_own_bill_is_valid_and_each_crate_has_its_checksum() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let cache = tempfile::tempdir().unwrap();
        let paths = Paths { root, cache: cache.path().to_owned() };
        let text = of_the_guard(&paths, Architecture::Amd64, "1.0.0").unwrap();
        assert_eq!(text, of_the_guard(&paths, Architecture::Amd64, "1.0.0").unwrap());
        let bill: Value = serde_json::from_str(&text).unwrap();
        assert_valid(&bill);
        let components = bill["components"].as_array().unwrap();
        assert!(components.iter().any(|one| one["name"] == "rustls"));
        let fetched = |one: &&Value| one["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/"));
        assert!(components.iter().filter(fetched).all(|one| one["hashes"].is_array()), "{components:?}");
        assert!(components.iter().any(|one| one["name"] == "glibc"));
    }

    #[test]
    fn checksums_are_read_from_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00\"\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        assert_eq!(checksums(lock), BTreeMap::from([(("a".into(), "1.0.0".into()), "00".into())]));
    }
}
