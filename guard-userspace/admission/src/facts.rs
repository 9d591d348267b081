//! What rules know besides the pod itself: each fact as a variable of a policy, and beside it how it is had here.

use guard_api::AGENT_LABEL;
use serde_json::{Map, Value, json};

use crate::expression::{Facts, Test, fact, item, literal, pod, quoted, settings};
use crate::names::GATE_CONTAINER;
use crate::request::{Action, Place};
use crate::settings::Settings;

/// A variable of a policy: its name and its CEL.
pub(crate) type Variable = (&'static str, String);

/// An init container that may come before the gate. The item is called `c`.
pub(crate) fn is_leading() -> Test {
    let l = || item("l");
    settings("leadingInitContainers").some(
        "l",
        item("c").at("name").same(l().at("name")).and(item("c").at("image").of_repository(l().at("repository"))),
    )
}

/// The pod's own class.
pub(crate) fn own_class() -> crate::expression::Term {
    pod("metadata.labels").key(AGENT_LABEL)
}

/// What the namespace makes of its pods.
pub(crate) fn namespace_class() -> crate::expression::Term {
    fact("namespaceLabels").key(AGENT_LABEL)
}

/// The variables of a policy on pods, in an order in which each knows those before it.
pub(crate) fn of_pods(settings: &str) -> Vec<Variable> {
    let mut variables = common(settings);
    variables.extend([
        ("user", "dyn(request.userInfo.username)".to_owned()),
        ("pod", "object".to_owned()),
        ("old", "oldObject == null ? dyn({}) : dyn(oldObject)".to_owned()),
        ("before", format!("variables.old.?metadata.?labels[?{}].hasValue()", quoted(AGENT_LABEL))),
        ("now", own_class().present().cel()),
        (
            "created",
            format!("request.operation == \"CREATE\" && (variables.now || {})", namespace_class().present().cel()),
        ),
        ("becoming", "request.operation == \"UPDATE\" && variables.now && !variables.before".to_owned()),
        ("kept", "request.operation == \"UPDATE\" && variables.before".to_owned()),
        (
            "ephemeral",
            "variables.now && has(request.subResource) && request.subResource == \"ephemeralcontainers\"".to_owned(),
        ),
        (
            "containers",
            "variables.ephemeral ? object.spec.?ephemeralContainers.orValue(dyn([])).filter(c, \
             !variables.old.?spec.?ephemeralContainers.orValue(dyn([])).exists(o, o.name == c.name)) : \
             dyn(object.spec.containers) + object.spec.?initContainers.orValue(dyn([])) + object.spec.?ephemeralContainers.orValue(dyn([]))"
                .to_owned(),
        ),
        ("volumes", "variables.ephemeral ? dyn([]) : object.spec.?volumes.orValue(dyn([]))".to_owned()),
        (
            "behind",
            format!("object.spec.?initContainers.orValue(dyn([])).filter(c, !({}))", is_leading().cel()),
        ),
        ("gate", "size(variables.behind) > 0 ? dyn(variables.behind[0]) : dyn({})".to_owned()),
    ]);
    variables.extend(places());
    variables
}

/// The variables of a policy on workloads, whose template is the pod.
pub(crate) fn of_templates(settings: &str) -> Vec<Variable> {
    let mut variables = common(settings);
    variables.extend([
        (
            "pod",
            "request.kind.kind == \"CronJob\" ? object.?spec.?jobTemplate.?spec.?template.orValue(dyn({})) : \
             request.kind.kind == \"PodTemplate\" ? object.?template.orValue(dyn({})) : object.?spec.?template.orValue(dyn({}))"
                .to_owned(),
        ),
        ("now", own_class().present().cel()),
        (
            "containers",
            "variables.pod.?spec.?containers.orValue(dyn([])) + variables.pod.?spec.?initContainers.orValue(dyn([]))".to_owned(),
        ),
        ("volumes", "variables.pod.?spec.?volumes.orValue(dyn([]))".to_owned()),
    ]);
    variables.extend(places());
    variables
}

fn common(settings: &str) -> Vec<Variable> {
    vec![
        ("settings", settings.to_owned()),
        (
            "namespaceLabels",
            "namespaceObject.metadata.name in variables.settings.exemptNamespaces ? dyn({}) : \
             dyn(namespaceObject.metadata.?labels.orValue({}))"
                .to_owned(),
        ),
        ("home", "dyn(request.namespace)".to_owned()),
    ]
}

fn places() -> [Variable; 2] {
    [
        ("class", format!("{} ? {} : {}", "variables.now", own_class().cel_or("dyn(\"\")"), namespace_class().cel_or("dyn(\"\")"))),
        (
            "account",
            "dyn(request.namespace + \"/\" + string(variables.pod.?spec.?serviceAccountName.orValue(dyn(\"default\"))))".to_owned(),
        ),
    ]
}

/// The settings as CEL.
pub(crate) fn settings_cel(settings: &Settings) -> String {
    literal(&settings_json(settings))
}

fn settings_json(settings: &Settings) -> Value {
    serde_json::to_value(settings).expect("settings are texts, lists and maps with texts for keys")
}

/// The facts about a pod.
pub(crate) fn pod_facts(all: &Settings, place: &Place<'_>, action: &Action<'_>) -> Facts {
    let (object, old) = (action.object, action.old);
    let mut facts = template_facts(all, place, object);
    let update = action.operation == "UPDATE";
    let now = facts.is("now");
    let before = !old["metadata"]["labels"][AGENT_LABEL].is_null();
    let created = action.operation == "CREATE" && (now || namespace_class().present().holds(&facts));
    let ephemeral = now && action.sub_resource == "ephemeralcontainers";
    let spec = |field: &str| list(&object["spec"][field]);
    let containers: Vec<Value> = if ephemeral {
        let known = list(&old["spec"]["ephemeralContainers"]);
        spec("ephemeralContainers").iter().filter(|c| !known.iter().any(|o| o["name"] == c["name"])).cloned().collect()
    } else {
        [spec("containers"), spec("initContainers"), spec("ephemeralContainers")].concat()
    };
    let leading = is_leading();
    let behind: Vec<Value> =
        spec("initContainers").iter().filter(|c| !leading.holds_for("c", c, &facts)).cloned().collect();
    facts.set("user", action.user);
    facts.set("ca", place.ca.unwrap_or_default());
    facts.set("old", if old.is_null() { json!({}) } else { old.clone() });
    facts.set("before", before);
    facts.set("created", created);
    facts.set("becoming", update && now && !before);
    facts.set("kept", update && before);
    facts.set("ephemeral", ephemeral);
    facts.set("containers", containers);
    facts.set("volumes", if ephemeral { Vec::new() } else { spec("volumes").to_vec() });
    facts.set("gate", behind.first().cloned().unwrap_or_else(|| json!({})));
    facts.set("behind", behind);
    facts
}

/// The facts about a template of pods.
pub(crate) fn template_facts(all: &Settings, place: &Place<'_>, template: &Value) -> Facts {
    let mut facts = Facts::default();
    let exempt = all.exempt_namespaces.iter().any(|name| name == place.namespace);
    let labels: Map<String, Value> =
        place.namespace_labels.iter().filter(|_| !exempt).map(|(name, value)| (name.clone(), json!(value))).collect();
    facts.set("settings", settings_json(all));
    facts.set("namespaceLabels", labels);
    facts.set("home", place.namespace);
    facts.set("pod", template.clone());
    let now = own_class().present().holds(&facts);
    facts.set("now", now);
    let class = if now { own_class() } else { namespace_class() };
    facts.set("class", class.find(&facts).cloned().unwrap_or_else(|| json!("")));
    let account = template["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    facts.set("account", format!("{}/{account}", place.namespace));
    let spec = |field: &str| list(&template["spec"][field]);
    facts.set("containers", [spec("containers"), spec("initContainers")].concat());
    facts.set("volumes", spec("volumes").to_vec());
    facts
}

/// An absent list has no items.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The gate, among init containers.
pub(crate) fn is_gate(container: &Value) -> bool {
    container["name"] == GATE_CONTAINER
}
