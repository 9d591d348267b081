//! Labels that come late, and pods that admission would have refused.

use guard_e2e::harness::{Agent, PodPlan, SOON, eventually, unique};
use serde_json::json;

use crate::BED;

#[test]
fn a_namespace_labelled_late_cuts_its_pods_off_and_says_what_to_do() {
    let namespace = unique("late");
    let kubectl = guard_e2e::harness::Kubectl::new(&BED.cluster, &namespace);
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent"}},
    ]}));
    let plan = PodPlan::ordinary("worker");
    let [pod] = guard_e2e::harness::Pod::create_all(&kubectl, &BED.cluster.nodes, &[plan]).try_into().expect("one");
    let dial = "curl -sk --max-time 5 -o /dev/null -w '%{http_code}' https://$KUBERNETES_SERVICE_HOST/version";
    assert_eq!(pod.sh(dial).out.trim(), "200", "an ordinary pod");
    kubectl.run(["label", "namespace", &namespace, "egressguard.io/agent=ci-bot"]).ok();
    eventually("the pod to be cut off", SOON, || {
        let code = pod.sh(dial).out;
        if code.trim() == "000" { Ok(()) } else { Err(code) }
    });
    eventually("the event", SOON, || {
        let said = kubectl
            .run(["get", "events", "--field-selector", "reason=AgentCutOff", "-o", "jsonpath={.items[*].message}"])
            .out;
        if said.contains("template") && said.contains("namespace") { Ok(()) } else { Err(said) }
    });
    // Taking it off again frees nobody who is there.
    kubectl.run(["label", "namespace", &namespace, "egressguard.io/agent-"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(pod.sh(dial).out.trim(), "000");
    pod.delete();
    kubectl.run(["delete", "namespace", &namespace, "--wait=false"]).ok();
}

#[test]
fn a_pod_that_admission_would_have_refused_stays_closed_and_the_event_names_the_rule() {
    let _turn = BED.turn();
    // No admission is installed here: what the pod breaks, the node alone sees.
    BED.guards[1].kill();
    BED.judging.start();
    let name = unique("unsafe");
    let plan = PodPlan::agent(name.clone(), Agent("ci-bot")).without_gate().armed().on(1);
    BED.kubectl.apply(&plan.object(&BED.cluster.nodes));
    eventually("the event", SOON, || {
        let said = BED.events(&name, "AgentUnsafe");
        if said.contains("breaks the rule") { Ok(()) } else { Err(said) }
    });
    BED.kubectl.run(["delete", "pod", &name, "--wait=false"]).ok();
    BED.judging.kill();
    BED.guards[1].start();
}
