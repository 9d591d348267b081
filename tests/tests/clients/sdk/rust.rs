//! kube-rs (`tests/src/bin/kube-rs-client.rs`): patches, paging, watch, reflectors, exec, attach, port-forward, logs.

use xtask::images;

use super::space::{Pair, Space, TARGET};

#[test]
fn kube_rs_gets_the_same() {
    let pair = Pair::of("rust-sdk", images::AGENT_RUST);
    let space = Space::new("rust");
    let _target = space.target();
    let steps = pair.same(&["client", &space.name, TARGET], "");
    assert!(steps.count() > 15, "{:?}", steps.names());
    assert_eq!(steps.result("watch from long ago")[1], 410);
    assert_eq!(steps.result("exec")["status"]["details"]["causes"][0]["message"], "7");
    for reflector in ["reflector from lists", "reflector from watches"] {
        assert_eq!(*steps.result(reflector), 150);
    }
}
