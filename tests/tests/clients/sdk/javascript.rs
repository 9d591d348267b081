//! `@kubernetes/client-node`: list, paging, patches, watch, informer, exec, logs, port-forward.

use xtask::images;

use super::space::{Pair, Space, TARGET};

#[test]
fn nodes_client_gets_the_same() {
    let pair = Pair::of("javascript-sdk", images::AGENT_NODE);
    let space = Space::new("javascript");
    let _target = space.target();
    let command = ["node", "--input-type=module", "-", &space.name, TARGET];
    let steps = pair.same(&command, include_str!("javascript.mjs"));
    assert!(steps.count() > 15, "{:?}", steps.names());
    assert_eq!(steps.result("watch from long ago")[1], 410);
    assert_eq!(*steps.result("informer"), 75);
}
