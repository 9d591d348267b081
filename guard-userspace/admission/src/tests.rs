//! What the three judges share, without a cluster. That they agree is shown end to end, on the stored pod.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::policies::{Inputs, mutating, mutating_ca, validating, validating_ca};
use crate::{Place, Settings, class_of, judge, mutate, webhook};

fn settings(trust: &str) -> Settings {
    serde_json::from_value(json!({
        "gate": {"image": "host:5000/guard:1", "repository": "host:5000/guard", "imagePullPolicy": "Always", "resources": {"limits": {"cpu": "50m"}}},
        "trust": trust,
        "guardNamespace": "egress-guard",
        "guardServiceAccounts": {
            "control": "system:serviceaccount:egress-guard:control", "node": "system:serviceaccount:egress-guard:node",
        },
        "classes": [{"name": "tied", "namespaces": ["ci"]}],
        "leadingInitContainers": [{"name": "mesh-init", "repository": "mesh/init", "capabilities": ["NET_ADMIN"]}],
        "exemptNamespaces": ["egress-guard"],
    }))
    .unwrap()
}

fn pod(spec: &Value) -> Value {
    json!({"metadata": {"name": "bot", "labels": {"egressguard.io/agent": "chatgpt"}}, "spec": spec})
}

/// The patch, applied: all of its operations set a whole field.
fn applied(pod: &Value, patch: &[Value]) -> Value {
    let mut pod = pod.clone();
    for operation in patch {
        let fields: Vec<&str> = operation["path"].as_str().unwrap().split('/').skip(1).collect();
        pod[fields[0]][fields[1]] = operation["value"].clone();
    }
    pod
}

fn in_place<T>(labels: &[(&str, &str)], ca: Option<&str>, work: impl FnOnce(&Place<'_>) -> T) -> T {
    let labels: BTreeMap<String, String> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    work(&Place { namespace: "team", namespace_labels: &labels, ca })
}

fn rules(settings: &Settings, place: &Place<'_>, pod: &Value) -> Vec<&'static str> {
    judge(settings, place, pod).into_iter().map(|violation| violation.rule).collect()
}

#[test]
fn what_admission_makes_of_a_pod_breaks_no_rule_and_is_changed_no_more() {
    let container = json!({"name": "main", "image": "agent"});
    let pods = [
        json!({"containers": [container]}),
        json!({"containers": [container], "initContainers": [
            {"name": "own", "image": "x"}, {"name": "mesh-init", "image": "mesh/init:7", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
        ], "securityContext": {"runAsUser": 1}, "volumes": [{"name": "kube-api-access-x", "projected": {"sources": []}}]}),
        json!({"containers": [container], "initContainers": [{"name": "egress-guard-gate", "image": "evil"}], "volumes": [
            {"name": "egress-guard-upstream", "hostPath": {"path": "/"}},
        ]}),
    ];
    for trust in ["ClusterTrustBundle", "Annotation"] {
        let settings = settings(trust);
        for spec in &pods {
            in_place(&[], Some("PEM"), |place| {
                let pod = pod(spec);
                let made = applied(&pod, &mutate(&settings, place, &pod));
                let broken = rules(&settings, place, &made);
                // A mesh's own container keeps what it needs only if the settings say so.
                let expected: &[&str] = if spec["initContainers"][1].is_object() { &["net-raw"] } else { &[] };
                assert_eq!(broken, expected, "{made:#}");
                assert!(mutate(&settings, place, &made).is_empty());
            });
        }
    }
}

#[test]
fn the_gate_comes_first_but_for_those_that_the_settings_name() {
    let spec = json!({"containers": [], "initContainers": [
        {"name": "own"}, {"name": "mesh-init", "image": "mesh/init@sha256:0"}, {"name": "mesh-init", "image": "evil/init:1"},
    ]});
    in_place(&[], None, |place| {
        let pod = pod(&spec);
        let made = applied(&pod, &mutate(&settings("ClusterTrustBundle"), place, &pod));
        let images: Vec<&Value> =
            made["spec"]["initContainers"].as_array().unwrap().iter().map(|c| &c["image"]).collect();
        assert_eq!(
            images,
            [&json!("mesh/init@sha256:0"), &json!("host:5000/guard:1"), &Value::Null, &json!("evil/init:1")]
        );
    });
}

#[test]
fn a_gate_of_another_repository_is_none() {
    let settings = settings("ClusterTrustBundle");
    in_place(&[], None, |place| {
        let pod = pod(&json!({"containers": []}));
        let mut made = applied(&pod, &mutate(&settings, place, &pod));
        for (image, broken) in [
            ("host:5000/guard:2", false),
            ("host:5000/guard@sha256:0", false),
            ("host:5000/guard", false),
            ("host:5000/guard-evil:1", true),
            ("host:5000/guard/evil:1", true),
            ("host:5000/guard:5000/evil", true),
            ("", true),
        ] {
            made["spec"]["initContainers"][0]["image"] = json!(image);
            assert_eq!(rules(&settings, place, &made).contains(&"gate-program"), broken, "{image}");
        }
    });
}

#[test]
fn the_namespace_makes_its_pods_agents_unless_it_is_exempt() {
    let settings = settings("ClusterTrustBundle");
    let unlabelled = json!({"metadata": {}, "spec": {"containers": []}});
    let labels = BTreeMap::from([("egressguard.io/agent".to_owned(), "bot".to_owned())]);
    let place = |namespace| Place { namespace, namespace_labels: &labels, ca: None };
    assert_eq!(class_of(&settings, &place("team"), &unlabelled).as_deref(), Some("bot"));
    assert_eq!(class_of(&settings, &place("egress-guard"), &unlabelled), None);
    assert!(mutate(&settings, &place("egress-guard"), &unlabelled).is_empty());
    let made = applied(&unlabelled, &mutate(&settings, &place("team"), &unlabelled));
    assert_eq!(made["metadata"]["labels"]["egressguard.io/agent"], "bot");
}

#[test]
fn without_the_ca_no_pod_passes_where_it_comes_by_annotation() {
    let settings = settings("Annotation");
    in_place(&[], None, |place| {
        let pod = pod(&json!({"containers": []}));
        let made = applied(&pod, &mutate(&settings, place, &pod));
        assert_eq!(rules(&settings, place, &made), ["ca-annotation"]);
    });
}

/// Each of these the API server itself refuses first, in some version or with what admission adds.
#[test]
fn what_the_api_server_may_let_through_is_refused_here() {
    let settings = settings("ClusterTrustBundle");
    let cases = [
        ("/spec/os", json!({"name": "windows"}), "operating-system"),
        ("/spec/runtimeClassName", json!("gvisor"), "runtime-class"),
        ("/spec/securityContext", json!({"windowsOptions": {"hostProcess": true}}), "operating-system"),
        ("/metadata/annotations", json!({"kubernetes.io/config.mirror": "0a1b"}), "mirror-pod"),
        ("/spec/containers", json!([{"name": "egress-guard-gate"}]), "gate-name"),
        ("/spec/ephemeralContainers", json!([{"name": "egress-guard-gate"}]), "gate-name"),
        (
            "/spec/containers",
            json!([{"name": "c", "securityContext": {"windowsOptions": {"hostProcess": true}}}]),
            "host-process",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "projected": {"sources": [{"podCertificate": {}}]}}]),
            "pod-certificate",
        ),
        ("/spec/volumes", json!([{"name": "v"}]), "volume-type"),
    ];
    in_place(&[], None, |place| {
        for (field, value, rule) in cases {
            let mut pod = pod(&json!({"containers": []}));
            let (part, name) = field[1..].split_once('/').unwrap();
            pod[part][name] = value;
            let broken = rules(&settings, place, &pod);
            assert!(broken.contains(&rule), "{pod}: {broken:?}");
        }
    });
}

/// What a mutation would have made, spoilt by somebody behind it.
#[test]
fn a_gate_that_somebody_has_changed_is_none() {
    let settings = settings("ClusterTrustBundle");
    let cases = [
        ("/env", json!([{"name": "LD_PRELOAD", "value": "/x"}]), "gate-additions"),
        ("/envFrom", json!([{"configMapRef": {"name": "x"}}]), "gate-program"),
        ("/args", json!(["--help"]), "gate-program"),
        ("/command", json!(["/bin/true"]), "gate-program"),
        ("/lifecycle", json!({}), "gate-program"),
        ("/restartPolicy", json!("Always"), "gate-program"),
        ("/terminationMessagePath", json!("/usr/local/bin/guard"), "gate-program"),
        ("/volumeMounts/0/subPath", json!("x"), "gate-mounts"),
        ("/volumeMounts/1/mountPath", json!("/usr/local/bin"), "gate-additions"),
        ("/securityContext/runAsUser", json!(0), "gate-hardened"),
        ("/securityContext/readOnlyRootFilesystem", json!(false), "gate-hardened"),
        ("/securityContext/capabilities/add", json!(["SYS_ADMIN"]), "gate-hardened"),
    ];
    in_place(&[], None, |place| {
        let pod = pod(&json!({"containers": []}));
        let made = applied(&pod, &mutate(&settings, place, &pod));
        assert_eq!(rules(&settings, place, &made), [] as [&str; 0]);
        for (field, value, rule) in cases {
            let mut spoilt = made.clone();
            let gate = &mut spoilt["spec"]["initContainers"][0];
            let place_of = field.split('/').skip(1).fold(gate, |value, key| match key.parse::<usize>() {
                Ok(index) => &mut value[index],
                Err(_) => &mut value[key],
            });
            *place_of = value;
            assert!(
                rules(&settings, place, &spoilt).contains(&rule),
                "{field}: {:?}",
                rules(&settings, place, &spoilt)
            );
        }
    });
}

#[test]
fn what_is_no_pod_at_all_is_answered() {
    let settings = settings("Annotation");
    for review in [
        json!(null),
        json!({}),
        json!({"request": {"kind": {"kind": "Pod"}, "operation": "CREATE", "object": 7}}),
        json!({"request": {"kind": {"kind": "Pod"}, "operation": "CREATE", "object": {"metadata": {"labels": {"egressguard.io/agent": "a"}}, "spec": {"containers": [7], "volumes": [7]}}}}),
    ] {
        in_place(&[], None, |place| {
            for answer in [webhook::mutate(&settings, place, &review), webhook::validate(&settings, place, &review)] {
                assert!(answer["response"]["allowed"].is_boolean(), "{answer}");
            }
        });
    }
}

#[test]
fn every_rule_has_a_name_of_its_own_and_a_sentence_that_says_what_to_do() {
    let rules: Vec<crate::rules::Rule> = crate::rules::all().into_iter().chain(crate::rules::about_ca()).collect();
    let mut names: Vec<&str> = rules.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rules.len());
    for rule in &rules {
        assert!(rule.message.contains(": ") && !rule.message.ends_with('.'), "{}", rule.name);
    }
}

/// Limits of the API server (`admissionregistration` validation): 50 variables and 64 matchConditions, and no name twice.
#[test]
fn objects_have_names_of_their_own() {
    let inputs = Inputs::of(&settings("Annotation"));
    let objects = [mutating(&inputs), mutating_ca(&inputs), validating(&inputs), validating_ca(&inputs)].concat();
    let mut names: Vec<String> =
        objects.iter().map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"])).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
