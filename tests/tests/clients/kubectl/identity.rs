//! Who a client is: a pod of one name, once under guard and once without.

use guard_e2e::harness::{Agent, Answer, PodPlan, assert_same};

use crate::WORLD;

/// The API server writes down who asks for a certificate, the pod's name included.
const SCRIPT: &str = r#"
export HOME=/tmp
for output in json yaml name; do kubectl auth whoami -o $output; done
kubectl auth whoami
printf 'apiVersion: authentication.k8s.io/v1\nkind: SelfSubjectReview\n' | kubectl create -f - -o yaml
kubectl get pods "$HOSTNAME" -o jsonpath='{.metadata.name}{.spec.serviceAccountName}'
kubectl get configmap kube-root-ca.crt -o name
cat /var/run/secrets/kubernetes.io/serviceaccount/namespace
"#;

#[test]
fn the_guards_client_is_who_it_would_be_without() {
    let said = |plan: PodPlan| -> Answer {
        let pod = WORLD.pod(plan);
        let answer = pod.exec(["bash", "-c", SCRIPT]);
        pod.delete();
        answer
    };
    let guarded = said(PodPlan::agent("whoever", Agent("unhindered")));
    assert!(guarded.out.contains("system:serviceaccount:"), "{guarded:?}");
    let direct = said(PodPlan::ordinary("whoever"));
    assert_same("who the client is", &guarded, &direct);
}
