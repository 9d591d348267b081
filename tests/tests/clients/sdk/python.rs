//! Python's `kubernetes`: list, paging, patches, watch, logs, exec, port-forward, the dynamic client.

use xtask::images;

use super::space::{Pair, Space, TARGET};

#[test]
fn pythons_client_gets_the_same() {
    let pair = Pair::of("python-sdk", images::AGENT_PYTHON);
    let space = Space::new("python");
    let _target = space.target();
    let steps = pair.same(&["python3", "-", &space.name, TARGET], include_str!("python.py"));
    assert!(steps.count() > 25, "{:?}", steps.names());
    assert_eq!(steps.result("watch from long ago"), 410);
    assert_eq!(steps.result("exec with standard input")[1], 7);
}
