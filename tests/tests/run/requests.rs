//! What the command asks of the API server.

use guard_e2e::harness::run;

use super::BED;
use super::bed::{ALLOW, CANARY};

#[test]
fn kubectl_reads_and_what_changes_something_is_denied_with_the_rule() {
    let answer = BED.sh(&[], "kubectl get nodes && kubectl delete namespace default");
    assert!(answer.out.contains("n1"), "{answer:?}");
    assert!(answer.err.contains("denied by egress guard, rule \"reads-only\""), "{answer:?}");
    assert!(answer.err.contains("1 denied by rule \"reads-only\" of baseline"), "{answer:?}");
    assert_eq!(answer.status.code(), Some(1));
    let answer = BED.sh(&["--quiet"], "kubectl get secrets -A").refused();
    assert!(answer.contains("no-secrets"), "{answer}");
}

#[test]
fn a_policy_of_ones_own_decides_instead() {
    let script = "kubectl create configmap by-run --from-literal=a=b && kubectl get configmap by-run -o jsonpath={.data.a} && \
                  kubectl delete configmap by-run && helm list -A && kubectl auth whoami -o jsonpath={.status.userInfo.username}";
    let answer = BED.sh(&["--quiet", ALLOW], script).ok();
    assert!(answer.contains("admin") && answer.contains("NAMESPACE"), "{answer}");
}

#[test]
fn the_kubeconfig_of_the_command_names_the_guard_and_holds_no_credential() {
    let options = ["--quiet", "--namespace", "kube-system"];
    let answer = BED
        .sh(&options, "cat $KUBECONFIG ~/.kube/config; kubectl config view --minify -o jsonpath='{..namespace}'; env");
    let text = answer.ok();
    assert!(!text.contains("client-key") && !text.contains(CANARY), "{text}");
    assert!(text.contains("kube-system") && text.contains("https://100."), "{text}");
    assert!(!text.contains("172.30.0.10"), "{text}");
}

#[test]
fn a_credential_that_the_command_brings_is_not_taken() {
    let answer = BED.sh(&["--quiet"], "kubectl --token=something-else get nodes").refused();
    assert!(answer.contains("Unauthorized") || answer.contains("logged in"), "{answer}");
}

#[test]
fn two_runs_side_by_side_work() {
    let runs: Vec<_> = (0..2)
        .map(|_| std::thread::spawn(|| BED.sh(&["--quiet"], "kubectl get nodes && sleep 1 && kubectl get nodes").ok()))
        .collect();
    for run in runs {
        assert_eq!(run.join().expect("a run").matches("n1").count(), 2);
    }
}

#[test]
fn a_shared_network_is_no_boundary_and_says_so_and_still_lets_nobody_else_in() {
    let script = "kubectl get nodes && kubectl config view -o jsonpath='{.clusters[0].cluster.server}'";
    let answer = BED.sh(&["--share-network"], script);
    assert!(answer.err.contains("no boundary"), "{answer:?}");
    let text = answer.ok();
    assert!(text.contains("n1") && text.contains("https://127.0.0.1:"), "{text}");
}

#[test]
fn the_summary_is_for_people_and_for_ci() {
    let file = BED.home.join("agent/project/summary.md");
    let options = ["--summary", "/home/agent/project/summary.md", "--log", "/home/agent/project/guard.log"];
    let answer = run(BED.command(&options, &["kubectl", "delete", "node", "n1"]), "");
    assert!(answer.err.contains("guard: ") && answer.err.contains("1 denied"), "{answer:?}");
    let markdown = std::fs::read_to_string(file).expect("the summary");
    assert!(markdown.contains("| denied by `reads-only` of `baseline` | 1 |"), "{markdown}");
    let log = std::fs::read_to_string(BED.home.join("agent/project/guard.log")).expect("the log");
    assert!(log.contains("\"decision\":\"deny\""), "{log}");
}
