//! Ways round.

use crate::WORLD;

#[test]
fn smoke() {
    let arena = WORLD.ring.enter();
    let control = arena.ordinary.probe("connect --to 10.96.0.1:443");
    assert!(WORLD.is_api_server(&control), "{control:?}");
    let found = arena.agent.probe("connect --to 10.96.0.1:443");
    assert!(WORLD.is_guard(&found), "{found:?}");
}
