//! helm, with a chart that has a workload, a Secret, a look-up and a test.

use guard_e2e::harness::Pod;
use serde_json::json;

use super::compare::{Steps, assert_equal};
use super::go::PAIR;
use super::space::Space;

/// The chart: file names and contents.
const CHART: [(&str, &str); 5] = [
    ("Chart.yaml", include_str!("helm/chart/Chart.yaml")),
    ("values.yaml", include_str!("helm/chart/values.yaml")),
    ("templates/NOTES.txt", include_str!("helm/chart/templates/NOTES.txt")),
    ("templates/greeting.yaml", include_str!("helm/chart/templates/greeting.yaml")),
    ("templates/tests/greets.yaml", include_str!("helm/chart/templates/tests/greets.yaml")),
];

/// A release's life.
const COMMANDS: [&str; 17] = [
    "install greeter /tmp/chart --wait --timeout 100s --output json",
    "install greeter /tmp/chart",
    "list --output json",
    "status greeter | sort",
    "get manifest greeter",
    "get notes greeter",
    "upgrade greeter /tmp/chart --set greeting=two --wait --timeout 100s --output json",
    "get values greeter --all --output json",
    "upgrade greeter /tmp/chart --set replicas=many",
    "history greeter --output json",
    "rollback greeter 1 --wait --timeout 100s",
    "get values greeter --all --output json",
    "upgrade new /tmp/chart --install --set replicas=0 --dry-run=server --output json",
    "test greeter --logs --timeout 100s",
    "uninstall greeter --wait --timeout 100s",
    "get manifest greeter --revision 1",
    "list --short",
];

/// What helm says in a pod to each command.
#[track_caller]
fn life(pod: &Pod, space: &Space) -> Steps {
    for (name, text) in CHART {
        let command = format!("mkdir -p $(dirname /tmp/chart/{name}) && cat > /tmp/chart/{name}");
        pod.exec_with_input(["sh", "-c", &command], text).ok();
    }
    let said = COMMANDS.map(|command| {
        let answer = pod.sh(&format!("HOME=/tmp helm --namespace {} {command}", space.name));
        (command.to_owned(), json!({"code": answer.status.code(), "out": answer.out, "err": answer.err}))
    });
    Steps::of(said)
}

#[test]
fn helm_installs_upgrades_rolls_back_tests_and_uninstalls_the_same() {
    let space = Space::new("helm");
    let [guarded, direct] = [&PAIR.guarded, &PAIR.direct].map(|pod| life(pod, &space));
    assert_equal(&guarded, &direct);
    let failed: Vec<&str> = COMMANDS.into_iter().filter(|command| guarded.result(command)["code"] != 0).collect();
    assert_eq!(failed, [COMMANDS[1], COMMANDS[8], COMMANDS[15]], "{guarded:#?}");
    let tested = guarded.result(COMMANDS[13])["out"].as_str().expect("a text");
    assert!(tested.contains("greets with one"), "{tested}");
}
