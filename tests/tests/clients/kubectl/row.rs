//! How a row is run.

use guard_e2e::harness::{Answer, Kubectl, Pod, SOON, assert_same, differences, eventually};
use xtask::images;

use super::PAIR;
use crate::WORLD;

/// Each `kubectl` of a script works in the row's namespace, and tells standard error what it was asked and how it ended.
///
/// `await` waits, `tty` is a `kubectl` with a terminal, `managers` tells who manages which fields: sorted, since their order is that of timestamps, and
/// `plain` takes from a line what programs make up anew each time.
const PRELUDE: &str = r#"
export HOME=/tmp/home
mkdir -p "/tmp/rows/$ROW" && cd "/tmp/rows/$ROW" && rm -rf ./*
kubectl() {
  echo "+ kubectl $*" >&2
  command kubectl --namespace="$NAMESPACE" "$@"
  local status=$?
  echo "= $status" >&2
  return $status
}
await() { for try in $(seq 900); do eval "$1" && return; sleep 0.1; done; echo "not in time: $1" >&2; }
tty() { script -qec "/usr/local/bin/kubectl --namespace=$NAMESPACE $1" /dev/null | tr -d '\r'; }
managers() { kubectl get "$1" -o jsonpath='{range .metadata.managedFields[*]}{.manager} {.operation} {.subresource} {.fieldsV1}{"\n"}{end}' | sort; }
plain() { sed -E 's/^[EIW][0-9]{4} [0-9:.]+ +[0-9]+ /KLOG /; s/[0-9a-f]{64}/ID/g; s/(kube-api-access|node-debugger-n1)-[a-z0-9]{5}/\1-NAME/g'; }
"#;
/// What a row may leave in its namespace for the reset to remove, in an order that no controller undoes.
const KINDS: &str = "cronjobs,jobs,deployments,statefulsets,daemonsets,replicationcontrollers,replicasets,horizontalpodautoscalers,pods,\
                     services,ingresses,poddisruptionbudgets,resourcequotas,limitranges,roles,rolebindings,configmaps,secrets,\
                     serviceaccounts,persistentvolumeclaims,leases,events";
/// What controllers keep in every namespace.
const KEPT: &str = "metadata.name!=kube-root-ca.crt,metadata.name!=default";

/// How often what changes by itself is read by both until both see the same.
pub(super) const TRIES: usize = 3;

/// Runs a script that only reads, in both pods at once. Others change the cluster meanwhile: what differs is read again.
#[track_caller]
pub(super) fn same_at_once(row: &str, namespace: &str, script: &str) {
    let script = whole(row, namespace, script);
    let mut last = String::new();
    for _ in 0..TRIES {
        let [guarded, direct] = PAIR.each_at_once(|pod| pod.exec(["bash", "-c", &script]));
        assert_meant(&guarded);
        match differences(row, &guarded, &direct) {
            Some(found) => last = found,
            None => return,
        }
    }
    panic!("{TRIES} times:\n{last}");
}

/// Runs a script that changes things first in the guarded pod, then, after a reset, in the ordinary one: in one namespace, so that
/// all names are the same.
#[track_caller]
pub(super) fn same_in_turn(row: &str, script: &str) {
    let namespace = Namespace::new(row);
    let run = |pod: &Pod| pod.exec(["bash", "-c", &whole(row, row, script)]);
    let guarded = run(&PAIR.guarded);
    assert_meant(&guarded);
    namespace.reset();
    let direct = run(&PAIR.direct);
    assert_same(row, &guarded, &direct);
}

/// A script that ends in the middle, doesn't find a program or waits in vain would be the same in both pods, and show nothing.
#[track_caller]
fn assert_meant(answer: &Answer) {
    let wrong = ["command not found", "syntax error", "not in time"].iter().any(|sign| answer.err.contains(sign));
    assert!(answer.status.success() && !wrong, "ended with {}:\n{}\n{}", answer.status, answer.err, answer.out);
}

/// Scripts end with what their last command says; that is in standard error already.
fn whole(row: &str, namespace: &str, script: &str) -> String {
    format!("export ROW={row} NAMESPACE={namespace} IMAGE={}\n{PRELUDE}{script}\nexit 0", images::AGENT)
}

/// A row's own. Dropped, it is deleted.
struct Namespace<'a> {
    name: &'a str,
    kubectl: Kubectl,
}

impl<'a> Namespace<'a> {
    #[track_caller]
    fn new(name: &'a str) -> Self {
        let kubectl = Kubectl::new(&WORLD.cluster, name);
        // An earlier run on the same cluster may have left it.
        WORLD.kubectl.run(["delete", "namespace", name, "--ignore-not-found", "--timeout=60s"]).ok();
        WORLD.kubectl.apply(&serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"egressguard.io/e2e": "true"}},
        }));
        for made in ["serviceaccount/default", "configmap/kube-root-ca.crt"] {
            kubectl.run(["wait", "--for=create", made, "--timeout=60s"]).ok();
        }
        Self { name, kubectl }
    }

    /// As if nothing had been made here.
    #[track_caller]
    fn reset(&self) {
        eventually("an empty namespace", SOON, || {
            let deleted = self.kubectl.run(["delete", KINDS, "--field-selector", KEPT, "--now", "--timeout=60s"]).ok();
            // Those of a controller may have come after its own deletion.
            let left = self.kubectl.run(["get", "pods,replicasets,endpointslices", "-o", "name"]).ok();
            if left.is_empty() { Ok(()) } else { Err(format!("{left} is left after {deleted}")) }
        });
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = WORLD.kubectl.run(["delete", "namespace", self.name, "--wait=false"]);
    }
}
