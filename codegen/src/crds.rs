//! `deploy/crds/`: one file for each kind of the API group. The chart carries the same, since Helm reads nothing beside a chart.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Generated;

const HEADER: &str = "# Written by `cargo xtask codegen` from the types in guard-userspace/api; do not edit.\n";

pub(crate) fn files() -> Result<Vec<Generated>> {
    let folders = ["deploy/crds", "deploy/charts/egress-guard/files/crds"];
    let of = |folder: &'static str| {
        guard_api::crds().into_iter().map(move |crd| {
            let mut value = serde_json::to_value(&crd).context("a CustomResourceDefinition as JSON")?;
            value.sort_all_objects();
            let name = format!("{}.yaml", crd.spec.names.plural);
            Ok(Generated { path: Path::new(folder).join(name), text: format!("{HEADER}{}", yaml(&value)?) })
        })
    };
    folders.into_iter().flat_map(of).collect()
}

fn yaml(value: &Value) -> Result<String> {
    serde_saphyr::to_string(value).context("a CustomResourceDefinition as YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structural schema has a type everywhere, or says that anything goes, and nothing that Kubernetes forbids in one.
    fn check(path: &str, schema: &Value) {
        let object = schema.as_object().unwrap_or_else(|| panic!("{path} is no schema: {schema}"));
        let free = object.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        assert!(free || object.contains_key("type"), "{path} has no type: {schema}");
        for forbidden in ["$ref", "$defs", "definitions", "uniqueItems"] {
            assert!(!object.contains_key(forbidden), "{path} has {forbidden}");
        }
        let properties = object.get("properties").and_then(Value::as_object);
        assert!(properties.is_none() || !object.contains_key("additionalProperties"), "{path} has both");
        for (name, property) in properties.into_iter().flatten() {
            check(&format!("{path}.{name}"), property);
        }
        for inner in ["items", "additionalProperties"].iter().filter_map(|name| object.get(*name)) {
            check(&format!("{path}[]"), inner);
        }
    }

    #[test]
    fn every_schema_is_structural_and_says_what_its_fields_are_for() {
        for crd in guard_api::crds() {
            for version in &crd.spec.versions {
                let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
                let schema = serde_json::to_value(schema).unwrap();
                check(&crd.spec.names.kind, &schema);
                for (name, property) in schema["properties"]["spec"]["properties"].as_object().unwrap() {
                    assert!(property["description"].is_string(), "{}.{name} has no description", crd.spec.names.kind);
                }
            }
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for file in files().unwrap() {
            let read: Value = serde_saphyr::from_str(&file.text).unwrap();
            assert_eq!(read["kind"], "CustomResourceDefinition", "{}", file.path.display());
        }
    }
}
