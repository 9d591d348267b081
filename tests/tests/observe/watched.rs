//! An installation that is watched: agents at work on both nodes, one that tries ways round, one that sends what no software sends.

use std::process::Command;
use std::time::Duration;

use guard_e2e::harness::{Installed, Kubectl, NodeNetns, Pod, PodPlan, eventually, run};
use serde_json::{Value, json};

use crate::documented::{Metrics, differences, metrics, series, served, text};
use crate::prometheus::{Server, programs};

/// Scrapes and evaluations, on a busy machine.
const SEEN: Duration = Duration::from_mins(3);

#[test]
fn what_guards_and_control_tell_is_what_is_documented_and_what_people_need() {
    let installed = Installed::prepare();
    installed.install(&[]);
    let prometheus = Server::start(&installed);
    let agents = agents(&installed);
    // It has no label, and watches: who runs it should know.
    let ordinary = Pod::create_all(&installed.kubectl, &installed.cluster.nodes, &[PodPlan::ordinary("ordinary")]);
    let _watching = ordinary[0].start(["kubectl", "get", "configmaps", "--watch"]);
    for agent in &agents {
        agent
            .sh("kubectl get configmaps -o name && kubectl create configmap notes-$(hostname) --from-literal=a=b")
            .ok();
    }
    an_agent_at_work_tries_no_way_round(&prometheus);

    let [agent, other] = &agents;
    ways_round_and_wrong_tokens(agent);
    no_agent_makes_more_series_than_there_are_documented(&installed, other);
    pages_are_what_is_documented(&installed);
    each_query_of_the_dashboard_yields_data(&prometheus);
    the_alerts_that_should_fire_do_and_no_others(&prometheus);
    coverage_names_who_is_guarded_and_who_should_be(&installed);
}

/// One on each node: labelled, and no more. Admission and gates do the rest.
#[track_caller]
fn agents(installed: &Installed) -> [Pod; 2] {
    let (kubectl, namespace) = (&installed.kubectl, &installed.namespace);
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "agent"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": namespace}],
        },
    ]}));
    let plan =
        |node: usize| PodPlan::ordinary(format!("agent-{node}")).label("egressguard.io/agent", "chatgpt").on(node);
    let pods = Pod::create_all(kubectl, &installed.cluster.nodes, &[plan(0), plan(1)]);
    pods.try_into().expect("as many pods as plans")
}

/// Two gates have proven enforcement by now, which the kernel has counted; that is no attempt.
#[track_caller]
fn an_agent_at_work_tries_no_way_round(prometheus: &Server) {
    eventually("both guards to be seen, with an agent each", SEEN, || {
        let found = prometheus.query("guard_agents == 1")?;
        if found.len() == 2 { Ok(()) } else { Err(format!("{found:?}\n{:?}", prometheus.get("/api/v1/targets"))) }
    });
    eventually("what the gates tried", SEEN, || {
        let found = prometheus.query("sum by (node) (guard_refusals_total) > 0")?;
        if found.len() == 2 { Ok(()) } else { Err(format!("{found:?}")) }
    });
    let attempts = prometheus.query("guard_bypass_attempts_total").expect("Prometheus answers");
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().all(|(_, count)| *count == 0.0), "{attempts:?}");
}

fn ways_round_and_wrong_tokens(agent: &Pod) {
    let kubelet = format!("probe datagram --to {}:10250 --way udp", agent.node.addresses[0]);
    for line in [
        &*kubelet,
        "probe datagram --to 172.30.0.10:6443 --way udp",
        "curl -sS --insecure --max-time 10 -H 'Authorization: Bearer x.y.z' https://10.96.0.1/api",
        "curl -sS --max-time 10 https://10.96.0.1/api || true",
        "kubectl auth can-i list secrets || true",
        "kubectl exec \"$(hostname)\" -- true || true",
    ] {
        agent.sh(line);
    }
}

/// Verbs, paths, names and user agents that no software has.
#[track_caller]
fn no_agent_makes_more_series_than_there_are_documented(installed: &Installed, agent: &Pod) {
    let count = || series(&page(installed, "node", &agent.node.name));
    let before = count();
    let line = "cd /tmp; token=$(cat /var/run/secrets/kubernetes.io/serviceaccount/token); \
                for i in 1 2 3 4 5 6 7 8 9 10 11 12; do \
                curl -sS --insecure --max-time 60 -o /dev/null -X \"ODD$i\" -A \"odd-agent-$i\" -H \"X-Odd-$i: $i\" -H \"Authorization: Bearer $token\" \
                \"https://10.96.0.1/apis/group-$i.example/v$i/namespaces/ns-$i/things-$i/name-[1-20]/sub-$i?watch=$i\"; \
                curl -sS --insecure --max-time 60 -o /dev/null -A \"odd-agent-$i\" -H \"Authorization: Bearer odd-$i\" \"https://10.96.0.1/odd/$i/[1-5]\"; \
                done; echo done";
    let said = agent.sh(line).ok();
    assert!(said.contains("done"), "{said}");
    // 300 requests, each with another name; of what is in the labels there can be a handful: verb other, a decision, a few codes.
    let new = count().saturating_sub(before);
    println!("series before: {before}, new: {new}");
    assert!(new <= 12, "{new} new series for 300 odd requests: {:?}", page(installed, "node", &agent.node.name));
}

/// Both ways: nothing undocumented is served, and nothing documented isn't. `promtool` has nothing to say.
#[track_caller]
fn pages_are_what_is_documented(installed: &Installed) {
    for (component, heading) in [("node", "## Of a node guard"), ("control", "## Of `guard control`")] {
        let documented: Metrics = metrics(heading);
        let page = page(installed, component, "");
        assert_eq!(differences(&served(&page), &documented), [] as [String; 0], "{component}");
        let mut promtool = Command::new(programs().promtool);
        promtool.args(["check", "metrics"]);
        let said = run(promtool, &page);
        assert!(said.status.success() && said.clone().out_and_err().trim().is_empty(), "{}", said.out_and_err());
    }
}

/// `/metrics` of one pod of a component, on one node or on any.
#[track_caller]
fn page(installed: &Installed, component: &str, node: &str) -> String {
    let guard = Kubectl::new(&installed.cluster, guard_e2e::harness::RELEASE);
    let selector = format!("app.kubernetes.io/component={component}");
    let text = guard.run(["get", "pods", "--selector", &selector, "-o", "json"]).ok();
    let list: Value = serde_json::from_str(&text).expect("kubectl's JSON");
    let pods = list["items"].as_array().expect("a list");
    let pod = pods.iter().find(|pod| node.is_empty() || pod["spec"]["nodeName"] == node).expect("a pod of the guard");
    let port = if component == "node" { 9464 } else { 9465 };
    let address = pod["status"]["podIP"].as_str().expect("a running pod has an address");
    let netns = NodeNetns::new(&installed.cluster.control_plane_netns);
    netns.sh(&format!("curl -sS --fail --max-time 30 http://{address}:{port}/metrics"))
}

#[track_caller]
fn each_query_of_the_dashboard_yields_data(prometheus: &Server) {
    let dashboard: Value =
        serde_json::from_str(&text("deploy/charts/egress-guard/dashboards/egress-guard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default();
        panel["targets"].as_array().into_iter().flatten().map(move |target| (title, target))
    });
    let mut count = 0;
    for (title, target) in targets {
        let query = target["expr"].as_str().expect("a query").replace("$node", ".*").replace("$__rate_interval", "5m");
        assert!(!query.contains('$'), "{title}: a variable that Grafana does not have: {query}");
        eventually(&format!("data for {title:?}: {query}"), SEEN, || {
            let found = prometheus.query(&query)?;
            if found.iter().any(|(_, value)| !value.is_nan()) { Ok(()) } else { Err(format!("{found:?}")) }
        });
        count += 1;
    }
    println!("{count} queries of the dashboard, each with data");
    assert!(count > 25, "{count} queries are no dashboard");
}

/// One agent tried ways round. All else is as it should be: nothing else fires, not even soon.
#[track_caller]
fn the_alerts_that_should_fire_do_and_no_others(prometheus: &Server) {
    eventually("the alert on ways round", SEEN, || {
        let (firing, ill) = prometheus.alerts();
        if ill.is_empty() && firing.contains(&"GuardBypassAttempts".to_owned()) {
            Ok(())
        } else {
            Err(format!("{firing:?} {ill:?}"))
        }
    });
    let (firing, _) = prometheus.alerts();
    // The odd requests of before have shown no token of their pod.
    let expected = ["GuardBypassAttempts", "GuardAuthenticationFailures"];
    let others: Vec<_> = firing.iter().filter(|name| !expected.contains(&name.as_str())).collect();
    assert!(others.is_empty(), "{others:?} fire in an installation that is well");
    // What is only starting may be pending for a while.
    eventually("nothing else to be about to fire", SEEN, || {
        let pending = prometheus.query("ALERTS{alertstate=\"pending\"}")?;
        if pending.is_empty() { Ok(()) } else { Err(format!("{pending:?}")) }
    });
}

/// From an administrator's workstation, and as kubectl's plugin.
#[track_caller]
fn coverage_names_who_is_guarded_and_who_should_be(installed: &Installed) {
    let states = |wanted: &[(&str, &str)]| {
        eventually("the guards' nodes to tell of these pods", SEEN, || {
            let said =
                installed.guard_command(&["coverage", "--output=json", "--namespace", &installed.namespace]).ok();
            let said: Value = serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))?;
            let pods = said["pods"].as_array().into_iter().flatten();
            let mut found: Vec<(&str, &str)> =
                pods.filter_map(|pod| Some((pod["name"].as_str()?, pod["state"].as_str()?))).collect();
            found.sort_unstable();
            if found == wanted { Ok(()) } else { Err(said.to_string()) }
        });
    };
    states(&[("agent-0", "guarded"), ("agent-1", "guarded"), ("ordinary", "unlabelled")]);
    // The label bites at once, and its software trusts another CA.
    installed.kubectl.run(["label", "pod", "ordinary", "egressguard.io/agent=late"]).ok();
    states(&[("agent-0", "guarded"), ("agent-1", "guarded"), ("ordinary", "cut-off")]);

    let folder = installed.cluster.dir.join("plugins");
    std::fs::create_dir_all(&folder).expect("a folder in the cluster's");
    let plugin = folder.join("kubectl-guard");
    // From an earlier run on this cluster.
    let _ = std::fs::remove_file(&plugin);
    let guard = std::env::var("EGRESS_GUARD_BINARY").expect("cargo xtask e2e runs these tests");
    std::os::unix::fs::symlink(guard, &plugin).expect("a link to the guard");
    let netns = NodeNetns::new(&installed.cluster.control_plane_netns);
    let mut kubectl = netns.command(installed.cluster.binaries.join("kubectl"));
    let path = std::env::var("PATH").unwrap_or_default();
    kubectl.env("KUBECONFIG", &installed.cluster.kubeconfig).env("PATH", format!("{}:{path}", folder.display()));
    kubectl.args(["guard", "coverage"]);
    let table = run(kubectl, "").ok();
    println!("{table}");
    assert!(table.starts_with("STATE") && table.contains("3 agent pods: 2 guarded, 1 cut off"), "{table}");
}
