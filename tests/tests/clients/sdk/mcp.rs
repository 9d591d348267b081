//! MCP servers, each of their read tools asked by a real MCP client over standard input and output.

use std::sync::LazyLock;

use serde_json::Value;
use xtask::images;

use super::compare::Steps;
use super::space::{Pair, Space, TARGET};
use crate::WORLD;

static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::of("mcp", images::AGENT_MCP));

/// What each read tool of a server answers, in both pods alike.
#[track_caller]
fn same(server: &str) -> Steps {
    let space = Space::new("mcp");
    let _target = space.target();
    let node = &WORLD.cluster.nodes[1].name;
    for pod in [&PAIR.guarded, &PAIR.direct] {
        // The cluster has no DNS; an agent's has.
        pod.sh("grep -q kubernetes /etc/hosts || echo 10.96.0.1 kubernetes.default.svc >> /etc/hosts").ok();
    }
    let command = format!("cd /opt/mcp && exec node --input-type=module - {server} {} {TARGET} {node}", space.name);
    PAIR.same(&["sh", "-c", &command], include_str!("mcp.mjs"))
}

/// The texts of the calls that went well.
fn answers(steps: &Steps) -> Vec<String> {
    let well = steps.results().filter(|result| result["isError"] == Value::Bool(false));
    well.map(|result| result["text"].to_string()).collect()
}

#[test]
fn the_read_tools_of_kubernetes_mcp_server_answer_the_same() {
    let answers = answers(&same("kubernetes-mcp-server"));
    // Only the tools that need a metrics API, or the kubelet's journal, have nothing to tell here.
    assert!(answers.len() >= 11, "{answers:#?}");
    assert!(answers.iter().any(|text| text.contains("hello 3")), "no tool has read the log: {answers:#?}");
}

#[test]
fn the_read_tools_of_mcp_server_kubernetes_answer_the_same() {
    let answers = answers(&same("mcp-server-kubernetes"));
    assert!(answers.len() >= 8, "{answers:#?}");
    assert!(answers.iter().any(|text| text.contains("hello 3")), "no tool has read the log: {answers:#?}");
}
