//! `deploy/charts/egress-guard/templates/admission/`: the rules of guard-admission as templates of the chart.
//!
//! What the chart's values say comes in at whole scalars alone, so that no value can end a text and begin another.

use std::path::Path;

use anyhow::{Context, Result};
use guard_admission::policies::{self, Inputs};
use serde_json::{Value, json};

use crate::Generated;

const HEADER: &str =
    "{{/* Written by `cargo xtask codegen` from the rules in guard-userspace/admission; do not edit. */}}\n";
const FOLDER: &str = "deploy/charts/egress-guard/templates/admission";
/// Whole scalars, and what the template engine makes of each.
const PLACES: [(&str, &str); 4] = [
    ("EGRESS_GUARD_SETTINGS", "{{ include \"egress-guard.admission.settingsCel\" . | toJson }}"),
    ("EGRESS_GUARD_NAMESPACE", "{{ .Release.Namespace | toJson }}"),
    ("EGRESS_GUARD_EXEMPT", "{{ include \"egress-guard.admission.exempt\" . }}"),
    ("EGRESS_GUARD_LABELS", "\n    {{- include \"egress-guard.labels\" . | nindent 4 }}"),
];

pub(crate) fn files() -> Result<Vec<Generated>> {
    let [settings, namespace, exempt, _] = PLACES.map(|(place, _)| place.to_owned());
    let inputs = Inputs { settings, guard_namespace: namespace, exempt_namespaces: json!(exempt) };
    let by_annotation = "eq (include \"egress-guard.admission.trust\" .) \"Annotation\"";
    let mutation = |how: &str| format!("eq (include \"egress-guard.admission.mutation\" .) \"{how}\"");
    let validation = |how: &str| format!("eq (include \"egress-guard.admission.validation\" .) \"{how}\"");
    let and = |one: &str| format!("and ({one}) ({by_annotation})");
    [
        ("mutating-policies", mutation("policies"), policies::mutating(&inputs)),
        ("mutating-policies-ca", and(&mutation("policies")), policies::mutating_ca(&inputs)),
        ("mutating-webhooks", mutation("webhook"), vec![policies::mutating_webhooks(&inputs, &service)]),
        ("validating-policies", validation("policies"), policies::validating(&inputs)),
        ("validating-policies-ca", and(&validation("policies")), policies::validating_ca(&inputs)),
        ("validating-webhooks", validation("webhook"), vec![policies::validating_webhooks(&inputs, &service)]),
    ]
    .into_iter()
    .map(|(name, condition, objects)| {
        let path = Path::new(FOLDER).join(format!("{name}.yaml"));
        Ok(Generated { path, text: template(&condition, &objects)? })
    })
    .collect()
}

/// `guard control` behind its Service; it puts the CA of its certificate in by itself.
fn service(path: &str) -> Value {
    let [_, (namespace, _), ..] = PLACES;
    json!({"service": {"name": "egress-guard-control", "namespace": namespace, "path": path, "port": 443}})
}

fn template(condition: &str, objects: &[Value]) -> Result<String> {
    let documents: Vec<String> = objects.iter().map(document).collect::<Result<_>>()?;
    Ok(format!("{HEADER}{{{{- if {condition} }}}}\n---\n{}{{{{- end }}}}\n", documents.join("---\n")))
}

fn document(object: &Value) -> Result<String> {
    let mut object = object.clone();
    let [.., (labels, _)] = PLACES;
    object["metadata"]["labels"] = json!(labels);
    object.sort_all_objects();
    let text = serde_saphyr::to_string(&object).context("an object of the API server as YAML")?;
    // CEL may open two braces at once, which would begin an action of the template engine.
    let text = text.replace("{{", "{{ \"{{\" }}");
    Ok(PLACES.iter().fold(text, |text, (place, action)| text.replace(place, action)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_a_whole_scalar() {
        let files = files().unwrap();
        for (place, action) in PLACES {
            assert!(files.iter().all(|file| !file.text.contains(place)), "{place} is left");
            let lines = files.iter().flat_map(|file| file.text.lines()).filter(|line| line.contains(action));
            for line in lines {
                let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
                assert!(!key.contains(['"', '\'']) && value == action, "{line}");
            }
        }
    }

    #[test]
    fn nothing_but_places_is_an_action() {
        for file in files().unwrap() {
            let mut text = file.text.strip_prefix(HEADER).unwrap().replace("{{ \"{{\" }}", "");
            for (_, action) in PLACES {
                text = text.replace(action, "");
            }
            assert_eq!(text.matches("{{").count(), 2, "{}: the condition and its end", file.path.display());
        }
    }
}
