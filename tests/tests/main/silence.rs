//! An API server that dies without a word.

use std::time::Duration;

use guard_e2e::harness::{Agent, Guard, NodeNetns, PodPlan, eventually, unique};

use crate::WORLD;
use crate::life::turn;

/// Ten seconds of silence, then ten seconds for an answer to a ping; and two busy cores.
const DEAD: Duration = Duration::from_secs(30);

#[test]
fn an_api_server_that_falls_silent_is_noticed_and_the_client_sees_a_reset() {
    // All of the guard's connections fall silent, its own watches too.
    let (_turn, guard) = turn();
    let agent = WORLD.pod(PodPlan::agent(unique("listener"), Agent("chatgpt")).on(1));
    let name = unique("silent");
    WORLD.kubectl.run(["create", "configmap", &name, "--from-literal=v=0"]).ok();
    let credentials = "/var/run/secrets/kubernetes.io/serviceaccount";
    let watch = format!(
        "curl -sSN --max-time 120 --cacert {credentials}/ca.crt -H \"Authorization: Bearer $(cat {credentials}/token)\" \
         'https://10.96.0.1/api/v1/namespaces/{}/configmaps?watch=1&fieldSelector=metadata.name={name}'; echo curl ended with $?",
        WORLD.namespace
    );
    let mut watch = agent.start(["sh", "-c", &watch]);
    watch.line_with(&name, DEAD);
    let silence = Silence::of_connections(guard);
    let end = watch.line_with("curl ended with", DEAD);
    // 0 would be a clean end; 28 curl's own time-out.
    assert!(["curl ended with 56", "curl ended with 92", "curl ended with 18"].contains(&end.as_str()), "{end}");
    drop(silence);
    eventually("the agent's next request to be answered", DEAD, || {
        let answer = agent.exec(["kubectl", "get", "configmap", &name]);
        if answer.status.success() { Ok(()) } else { Err(answer.err) }
    });
}

/// Drops what the guard sends on the connections to the API server that it has now; new ones work.
struct Silence {
    node: NodeNetns,
}

impl Silence {
    #[track_caller]
    fn of_connections(guard: &Guard) -> Self {
        let node = NodeNetns::new(&guard.node.netns);
        let owner = format!("pid={},", guard.process_id());
        let connections = node.sh("ss -Htnp state established dport = :6443");
        let own = connections.lines().filter(|line| line.contains(&owner));
        let ports: Vec<&str> =
            own.filter_map(|line| line.split_whitespace().nth(2)?.rsplit_once(':')).map(|(_, port)| port).collect();
        assert!(!ports.is_empty(), "the guard has connections to the API server: {connections}");
        node.sh(&format!(
            "nft 'table inet silence {{ chain out {{ type filter hook output priority 0; tcp dport 6443 tcp sport {{ {} }} drop; }}; }}'",
            ports.join(", ")
        ));
        Self { node }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.node.sh("nft delete table inet silence");
    }
}
