//! Ways to an agent pod that are not its creation: labels, subresources, Bindings, ephemeral containers, copies, workloads, Secrets.

use serde_json::{Value, json};

use crate::installation::{AREA, Installation};

const LABEL: &str = "egressguard.io/agent";

/// A pod that is stored and never runs, and the path of it.
#[track_caller]
fn create(installation: &Installation, name: &str, labels: &Value, spec: &Value) -> String {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "agent"}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    let pods = format!("/api/v1/namespaces/{}/pods", installation.plain);
    AREA.api.create(&pods, &pod).stored();
    format!("{pods}/{name}")
}

#[track_caller]
fn refused(way: &str, reply: &crate::api::Reply, because: &str) {
    let said = reply.refusal();
    assert!(said.contains(because), "{way}: {said}");
}

/// All of them, one after the other.
#[track_caller]
pub(crate) fn every_other_way_is_closed(installation: &Installation) {
    labels(installation);
    changes(installation);
    ephemeral_containers(installation);
    late_labels(installation);
    connections(installation);
    copies(installation);
    workloads(installation);
    new_token_secrets(installation);
}

fn labels(installation: &Installation) {
    let pod = create(installation, "kept", &json!({LABEL: "chatgpt"}), &json!({}));
    for (way, value) in [("removal", Value::Null), ("change", json!("free"))] {
        let patch = json!({"metadata": {"labels": {LABEL: value}}});
        refused(way, &AREA.api.patch(&pod, &patch), "never removed or changed");
        refused(way, &AREA.api.patch(&format!("{pod}/status"), &patch), "never removed or changed");
    }
    let binding = |metadata: Value| {
        let mut metadata = metadata;
        metadata["name"] = json!("kept");
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": "Node", "name": "no-such-node"}})
    };
    for metadata in [json!({"labels": {LABEL: "free"}}), json!({"annotations": {"egressguard.io/ca": "mine"}})] {
        let reply = AREA.api.create(&format!("{pod}/binding"), &binding(metadata.clone()));
        refused("a Binding", &reply, "those of egressguard.io are the guard's");
        let bindings = format!("/api/v1/namespaces/{}/bindings", installation.plain);
        refused(
            "a Binding",
            &AREA.api.create(&bindings, &binding(metadata)),
            "those of egressguard.io are the guard's",
        );
    }
    AREA.api
        .create(&format!("{pod}/binding"), &binding(json!({"labels": {"topology.kubernetes.io/zone": "a"}})))
        .stored();
}

fn changes(installation: &Installation) {
    let pod = create(installation, "changed", &json!({LABEL: "chatgpt"}), &json!({}));
    let image = json!({"spec": {"initContainers": [{"name": "egress-guard-gate", "image": "evil"}]}});
    refused("the gate's image", &AREA.api.patch(&pod, &image), "is the guard's: leave it as it is");
    if installation.settings.trust == guard_admission::Trust::Annotation {
        let ca = json!({"metadata": {"annotations": {"egressguard.io/ca": "mine"}}});
        refused("another CA", &AREA.api.patch(&pod, &ca), "only guard control changes it");
        let control = format!(
            "Impersonate-User: {}\r\nImpersonate-Group: system:masters\r\n",
            installation.settings.guard_service_accounts.control
        );
        AREA.api.send("PATCH", &pod, "application/strategic-merge-patch+json", &ca, &control).stored();
    }
    AREA.api.patch(&pod, &json!({"metadata": {"annotations": {"a": "b"}, "finalizers": ["a.test/b"]}})).stored();
    AREA.api.patch(&pod, &json!({"metadata": {"finalizers": null}})).stored();
    AREA.api.patch(&pod, &json!({"spec": {"containers": [{"name": "main", "image": "agent:2"}]}})).stored();
    AREA.api.patch(&format!("{pod}/status"), &json!({"status": {"reason": "Testing"}})).stored();
}

fn ephemeral_containers(installation: &Installation) {
    let pod = create(installation, "debugged", &json!({LABEL: "chatgpt"}), &json!({}));
    let debug = |name: &str, more: Value| {
        let mut container = json!({"name": name, "image": "x"});
        for (field, value) in more.as_object().into_iter().flatten() {
            container[field] = value.clone();
        }
        AREA.api.patch(&format!("{pod}/ephemeralcontainers"), &json!({"spec": {"ephemeralContainers": [container]}}))
    };
    refused("before the gate", &debug("early", json!({})), "before the guard's gate has ended");
    AREA.api
        .patch(
            &format!("{pod}/status"),
            &json!({"status": {"conditions": [{"type": "Initialized", "status": "True"}]}}),
        )
        .stored();
    refused(
        "the gate's namespaces",
        &debug("target", json!({"targetContainerName": "egress-guard-gate"})),
        "nobody enters the guard's gate",
    );
    refused(
        "the gate's volume",
        &debug("mount", json!({"volumeMounts": [{"name": "egress-guard-upstream", "mountPath": "/x"}]})),
        "remove their volumeMounts",
    );
    refused("privileged", &debug("privileged", json!({"securityContext": {"privileged": true}})), "privileged");
    let general = json!({"securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}});
    refused("kubectl debug's general profile", &debug("general", general), "--profile=restricted");
    let stored = debug("fine", json!({})).stored();
    let ephemeral = &stored["spec"]["ephemeralContainers"][0];
    assert_eq!(ephemeral["securityContext"]["capabilities"]["drop"], json!(["NET_RAW"]), "{ephemeral}");
    // Those that are there are not judged again, nor changed.
    AREA.api
        .patch(
            &format!("{pod}/ephemeralcontainers"),
            &json!({"spec": {"ephemeralContainers": [{"name": "second", "image": "x"}]}}),
        )
        .stored();
}

fn late_labels(installation: &Installation) {
    let label = json!({"metadata": {"labels": {LABEL: "chatgpt"}}});
    let pod = create(installation, "late", &json!({}), &json!({}));
    AREA.api.patch(&pod, &label).stored();
    let pod = create(installation, "late-by-status", &json!({}), &json!({"hostPID": true}));
    refused("late and unsafe", &AREA.api.patch(&format!("{pod}/status"), &label), "hostNetwork, hostPID and hostIPC");
    refused("late and unsafe", &AREA.api.patch(&pod, &label), "hostNetwork, hostPID and hostIPC");
    let tied = json!({"metadata": {"labels": {LABEL: "tied"}}});
    let pod = create(installation, "late-class", &json!({}), &json!({}));
    refused("late and tied", &AREA.api.patch(&pod, &tied), "tied to other namespaces");
}

fn connections(installation: &Installation) {
    let pod = create(installation, "entered", &json!({LABEL: "chatgpt"}), &json!({}));
    for way in ["exec", "attach"] {
        let enter = |container: &str| {
            AREA.api.create(&format!("{pod}/{way}?container={container}&command=sh&stdin=true"), &Value::Null)
        };
        refused(way, &enter("egress-guard-gate"), "nobody enters the guard's gate");
        let other = enter("main");
        assert_ne!(other.status, 403, "{way} into another container: {}", other.body);
    }
    let forward = AREA.api.create(&format!("{pod}/portforward"), &Value::Null);
    assert_ne!(forward.status, 403, "{}", forward.body);
}

fn copies(installation: &Installation) {
    let pods = format!("/api/v1/namespaces/{}/pods", installation.plain);
    let gate = json!([{"name": "egress-guard-gate", "image": "x"}]);
    let volume =
        json!([{"name": "egress-guard-upstream", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]);
    for (field, value) in [("initContainers", gate), ("volumes", volume)] {
        let mut copy = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "copy"},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "agent"}]}});
        copy["spec"][field] = value;
        refused(field, &AREA.api.create(&pods, &copy), "kubectl debug --copy-to needs --keep-labels and");
        copy["metadata"] = json!({"name": format!("labelled-{}", field.to_lowercase()), "labels": {LABEL: "chatgpt"}});
        let stored = AREA.api.create(&pods, &copy).stored();
        assert_eq!(stored["spec"]["initContainers"][0]["image"], installation.settings.gate.image.as_str());
    }
}

fn workloads(installation: &Installation) {
    let labels = json!({"app": "x", LABEL: "chatgpt"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"hostNetwork": true, "restartPolicy": "Always",
        "containers": [{"name": "main", "image": "x", "securityContext": {"privileged": true}}]}});
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = json!("Never");
    let selector = json!({"matchLabels": {"app": "x"}});
    let apps = json!({"replicas": 0, "selector": selector, "template": template});
    let of_jobs = json!({"suspend": true, "template": job});
    let kinds = [
        ("apps/v1", "Deployment", "deployments", json!({"spec": apps})),
        ("apps/v1", "ReplicaSet", "replicasets", json!({"spec": apps})),
        ("apps/v1", "StatefulSet", "statefulsets", json!({"spec": apps})),
        ("apps/v1", "DaemonSet", "daemonsets", json!({"spec": {"selector": selector, "template": template}})),
        (
            "v1",
            "ReplicationController",
            "replicationcontrollers",
            json!({"spec": {"replicas": 0, "template": template}}),
        ),
        ("v1", "PodTemplate", "podtemplates", json!({"template": template})),
        ("batch/v1", "Job", "jobs", json!({"spec": of_jobs})),
        (
            "batch/v1",
            "CronJob",
            "cronjobs",
            json!({"spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": of_jobs}}}),
        ),
    ];
    for (version, kind, resource, body) in kinds {
        let group = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
        let path = format!("{group}/namespaces/{}/{resource}?dryRun=All", installation.plain);
        let mut object = body;
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "warned"});
        let reply = AREA.api.create(&path, &object);
        assert!(reply.status < 300, "{kind}: {}", reply.body);
        let warnings = reply.warnings.join("\n");
        for sentence in ["beside the guard instead of behind it", "remove securityContext.privileged (container main)"]
        {
            assert!(warnings.contains(sentence), "{kind}: {sentence}: {warnings}");
        }
    }
    let mut unlabelled = template;
    unlabelled["metadata"] = json!({"labels": {"app": "x"}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "warned", "labels": {LABEL: "chatgpt"}},
        "spec": {"replicas": 0, "selector": selector, "template": unlabelled}});
    let path = format!("/apis/apps/v1/namespaces/{}/deployments?dryRun=All", installation.plain);
    let warnings = AREA.api.create(&path, &deployment).warnings.join("\n");
    assert!(warnings.contains("put it into the pod template's metadata.labels"), "{warnings}");
    let mut ordinary = deployment;
    ordinary["metadata"] = json!({"name": "ordinary"});
    assert_eq!(AREA.api.create(&path, &ordinary).warnings, [] as [String; 0]);
}

fn new_token_secrets(installation: &Installation) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token",
        "annotations": {"kubernetes.io/service-account.name": "default"}}, "type": "kubernetes.io/service-account-token"});
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    let labelled = AREA.api.create(&secrets(&installation.labelled), &secret);
    refused("a token Secret in an agents' namespace", &labelled, "make no Secret of type");
    AREA.api.create(&secrets(&installation.plain), &secret).stored();
}
