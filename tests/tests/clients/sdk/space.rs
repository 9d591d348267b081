//! What a client works with: a pair of pods that differ in the guard alone, and a namespace of its own.

use guard_e2e::harness::{Agent, Kubectl, Pod, PodPlan, Running, World, unique};
use serde_json::json;

use super::compare::{Steps, assert_equal};
use crate::WORLD;

/// A guarded pod and an ordinary one, of one image and one account, on one node.
pub(super) struct Pair {
    pub(super) guarded: Pod,
    pub(super) direct: Pod,
}

impl Pair {
    #[track_caller]
    pub(super) fn of(name: &str, image: &'static str) -> Self {
        let [guarded, direct] = WORLD.pods(&[
            PodPlan::agent(format!("{name}-guarded"), Agent("unhindered")).image(image),
            PodPlan::ordinary(format!("{name}-direct")).image(image),
        ]);
        Self { guarded, direct }
    }

    /// Runs a program that tells its steps in both pods, one after the other: what it tells must be equal. Returns it.
    #[track_caller]
    pub(super) fn same(&self, command: &[&str], input: &str) -> Steps {
        let [guarded, direct] =
            [&self.guarded, &self.direct].map(|pod| Steps::read(&pod.exec_with_input(command, input)));
        assert_equal(&guarded, &direct);
        guarded
    }
}

/// Defines `things.example.test`. All that is discovered would change under other tests if this were done later than with the world.
#[track_caller]
pub(crate) fn define_things(world: &World) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    world.kubectl.apply(&json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.test"},
        "spec": {
            "group": "example.test",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    }));
    world.kubectl.run(["wait", "--for=condition=Established", "--timeout=60s", "crd/things.example.test"]).ok();
}

/// A namespace for one test, deleted with it.
pub(super) struct Space {
    pub(super) name: String,
    kubectl: Kubectl,
}

impl Space {
    #[track_caller]
    pub(super) fn new(prefix: &str) -> Self {
        let name = unique(&format!("sdk-{prefix}"));
        let kubectl = Kubectl::new(&WORLD.cluster, &name);
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"egressguard.io/e2e": "true"}}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent", "namespace": name}},
        ]}));
        Self { name, kubectl }
    }

    /// A pod on the other node to run commands in, which serves its `/etc` on port 8080.
    #[track_caller]
    pub(super) fn target(&self) -> Target {
        let mut pods = Pod::create_all(&self.kubectl, &WORLD.cluster.nodes, &[PodPlan::ordinary("target").on(1)]);
        let pod = pods.remove(0);
        let server = pod.serve_etc();
        // What the logs begin with.
        pod.sh("for n in 1 2 3; do echo hello $n; done > /proc/1/fd/1").ok();
        Target { _server: server, _pod: pod }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.kubectl.run(["delete", "namespace", &self.name, "--ignore-not-found", "--wait=false"]);
    }
}

/// It serves for as long as this lives.
pub(super) struct Target {
    _server: Running,
    _pod: Pod,
}

/// Its name in its namespace.
pub(super) const TARGET: &str = "target";
