//! client-go (`tests/go/clients`): typed, dynamic, protobuf, informers, leader election, exec, port-forward, logs.

use std::sync::LazyLock;

use xtask::images;

use super::compare::Steps;
use super::space::{Pair, Space, TARGET};

/// Shared by all that is written in Go.
pub(super) static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::of("go", images::AGENT_GO));

/// What `client` tells of a part, in both pods alike.
#[track_caller]
fn same(part: &str, space: &Space) -> Steps {
    PAIR.same(&["client", part, &space.name, TARGET], "")
}

#[test]
fn client_go_reads_writes_watches_and_elects_a_leader() {
    let steps = same("client-go", &Space::new("go"));
    assert!(steps.count() > 40, "{:?}", steps.names());
    for kind in ["application/json", "application/vnd.kubernetes.protobuf"] {
        assert_eq!(steps.result(&format!("{kind}: list page by page"))[0], 3);
    }
    assert_eq!(steps.result("dynamic: watch from a resource version of long ago")["code"], 410);
}

#[test]
fn client_go_execs_and_forwards_ports_by_both_protocols_and_follows_logs() {
    let space = Space::new("streams");
    let _target = space.target();
    let steps = same("streams", &space);
    for protocol in ["WebSocket", "SPDY", "WebSocket or else SPDY"] {
        assert_eq!(steps.result(&format!("{protocol}: exec"))["Code"], 7);
    }
}

#[test]
fn an_informer_holds_what_the_api_server_has_whatever_ends_its_watches() {
    // Lists that come as watches, and lists that come as pages.
    for (how, prefix) in [("true", "watchlist"), ("false", "lists")] {
        let space = Space::new(prefix);
        let mode = format!("KUBE_FEATURE_WatchListClient={how}");
        let steps = Steps::read(&PAIR.guarded.exec(["env", &mode, "client", "informers", &space.name, TARGET]));
        // A quarter of 300 was deleted; among the ConfigMaps kube-root-ca.crt is there besides.
        assert_eq!(*steps.result("informer: typed, protobuf"), 226, "{mode}");
        assert_eq!(*steps.result("informer: dynamic"), 225, "{mode}");
    }
}

#[test]
fn three_hundred_watches_of_one_client_see_every_change() {
    let steps = same("watches", &Space::new("watches"));
    assert_eq!(steps.names(), ["ADDED", "MODIFIED", "DELETED"]);
}
