//! Labels that come late and by hand; names, addresses, namespaces and interfaces that are used again.

use guard_e2e::harness::{NodeNetns, Pod, PodPlan, eventually, unique};
use serde_json::json;
use xtask::images;

use crate::BED;
use crate::bed::{LABEL, LONG, agent};

#[test]
fn a_deployment_whose_pods_are_labelled_by_hand_is_cut_off_and_the_event_says_label_the_template() {
    let installed = &BED.installed;
    let name = unique("by-hand");
    installed.kubectl.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "serviceAccountName": "agent", "terminationGracePeriodSeconds": 0,
                "nodeSelector": {"kubernetes.io/hostname": "n1"},
                "containers": [{"name": "main", "image": images::AGENT, "imagePullPolicy": "Never"}],
            }},
        },
    }));
    let pods = || -> Vec<String> {
        let ready = "jsonpath={range .items[?(@.status.containerStatuses[0].ready==true)]}{.metadata.name} {end}";
        let names = installed.kubectl.run(["get", "pods", "--selector", &format!("app={name}"), "-o", ready]).ok();
        names.split_whitespace().map(str::to_owned).collect()
    };
    let several = |wanted: usize| {
        eventually("its pods to run", LONG, || {
            let pods = pods();
            if pods.len() == wanted { Ok(pods) } else { Err(format!("{pods:?}")) }
        })
    };
    let existing = |name: &str| Pod::existing(&installed.kubectl, &installed.cluster.nodes, name);
    let labelled = existing(&several(1)[0]);
    BED.reaches_the_api_server(&labelled, "10.96.0.1:443").expect("an ordinary pod");
    let watch = "kubectl get configmaps --watch --output-watch-events >/dev/null 2>&1; echo ended";
    let mut watch = labelled.start(["sh", "-c", watch]);
    installed.kubectl.run(["label", "pod", &labelled.name, &format!("{LABEL}=chatgpt")]).ok();
    eventually("the event", LONG, || {
        let said = BED.events(&labelled.name, "AgentCutOff");
        if said.contains("template of the Deployment, not on its pods") { Ok(()) } else { Err(said) }
    });
    assert_eq!(watch.line(LONG), "ended", "what it had open is cut");
    for way in ["connect --to 10.96.0.1:443", "connect --to 172.30.0.10:6443", "datagram --to 172.30.0.10:6443"] {
        let found = labelled.probe(&format!("--limit 3000 {way}"));
        assert_eq!(found.peer_certificate_sha256, None, "{found:?}");
    }
    // The template is as it was: the next pod is an ordinary one.
    installed.kubectl.run(["scale", "deployment", &name, "--replicas=2"]).ok();
    let next = several(2).into_iter().find(|pod| *pod != labelled.name).expect("another pod");
    BED.reaches_the_api_server(&existing(&next), "10.96.0.1:443").expect("an ordinary pod");
    // And where the template is labelled, both are made anew, and guarded.
    let patch = json!({"spec": {"template": {"metadata": {"labels": {LABEL: "chatgpt"}}}}});
    installed.kubectl.run(["patch", "deployment", &name, "--patch", &patch.to_string()]).ok();
    installed.kubectl.run(["rollout", "status", "deployment", &name, "--timeout=115s"]).ok();
    for pod in eventually("the pods of before to be gone", LONG, || {
        let pods = pods();
        if pods.len() == 2 && !pods.contains(&labelled.name) && !pods.contains(&next) {
            Ok(pods)
        } else {
            Err(format!("{pods:?}"))
        }
    }) {
        BED.served(&existing(&pod));
    }
    installed.kubectl.run(["delete", "deployment", &name, "--wait=false"]).ok();
}

#[test]
fn what_was_an_agents_is_used_again_by_an_ordinary_pod_that_nobody_guards() {
    let installed = &BED.installed;
    let name = unique("reused");
    let first = BED.pod(agent(&name));
    BED.served(&first);
    first.probe("--limit 500 datagram --to 172.30.0.10:6443");
    let node = NodeNetns::new(&first.node.netns);
    // `eth0@if7`: number 7 is the other end, on the node.
    let own = first.netns().sh("ip -o link show eth0");
    let peer = own.split("@if").nth(1).and_then(|rest| rest.split(':').next()).expect("eth0 is a veth").to_owned();
    let [v4, v6] = [std::net::IpAddr::is_ipv4, std::net::IpAddr::is_ipv6]
        .map(|family| *first.addresses.iter().find(|address| family(address)).expect("the cluster is dual-stack"));
    first.delete();
    eventually("its interface to be gone", LONG, || {
        let left = node.sh(&format!("ip -o link | grep ^{peer}: || true"));
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    // At once, and while its guard may still be at work on its end: the same name, the same number on the node, the same addresses.
    let second = Pod::create_all(&installed.kubectl, &installed.cluster.nodes, &[PodPlan::ordinary(&name)]);
    let [second] = second.try_into().expect("one");
    assert_ne!(first.uid, second.uid);
    for to in ["10.96.0.1:443", "172.30.0.10:6443", "[fd00:30::10]:6443"] {
        BED.reaches_the_api_server(&second, to).unwrap_or_else(|found| panic!("the name was an agent's: {found}"));
    }
    let netns = Again::make(&node, &peer, [v4, v6]);
    for to in ["172.30.0.10:6443", "[fd00:30::10]:6443"] {
        let found = installed.probe_in(&netns.inside, &format!("--limit 10000 connect --to {to} --speak https"));
        let met = found.peer_certificate_sha256;
        assert_eq!(met, Some(installed.api_server_certificate()), "interface {peer} and {v4}, {v6} were an agent's");
    }
}

/// A network namespace like a pod's whose other end has a number of our choice, and addresses of our choice.
struct Again {
    node: NodeNetns,
    inside: NodeNetns,
    name: String,
}

impl Again {
    #[track_caller]
    fn make(node: &NodeNetns, index: &str, [v4, v6]: [std::net::IpAddr; 2]) -> Self {
        let name = format!("again-{}", std::process::id());
        let inside = NodeNetns::new(&xtask::netns::create(&name).expect("a network namespace"));
        let again = Self { node: node.clone(), inside, name: name.clone() };
        again.node.sh(&format!(
            "ip link add again index {index} type veth peer name eth0 netns {name} && ip link set again master cni0 up"
        ));
        let [router4, router6] = ["-4", "-6"].map(|family| {
            let shown = again.node.sh(&format!("ip {family} -o addr show dev cni0 scope global"));
            let word = shown.split_whitespace().nth(3).expect("the bridge has an address of each family");
            word.split('/').next().expect("an address and a length").to_owned()
        });
        again.inside.sh(&format!(
            "ip link set lo up; ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad; ip link set eth0 up; \
             ip route add default via {router4}; ip route add default via {router6}"
        ));
        again
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let _ = self.node.try_sh("ip link delete again");
        let _ = xtask::netns::remove(&self.name);
    }
}
