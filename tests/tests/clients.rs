//! Unmodified clients get the same through the guard as without it: kubectl's every command, SDKs, streams.

use std::sync::LazyLock;

use guard_e2e::harness::World;

#[path = "clients/kubectl.rs"]
mod kubectl;
#[path = "clients/sdk.rs"]
mod sdk;
#[path = "clients/streams.rs"]
mod streams;

/// Agents of the class `hindered` are denied what the rules say; every other class is allowed everything.
const POLICIES: &str = "
apiVersion: egressguard.io/v1alpha1
kind: GuardPolicy
metadata: {name: e2e}
spec:
  selector: {matchLabels: {egressguard.io/agent: hindered}}
  rules:
    - name: no-exec-into-the-vault
      match: {verbs: [create, get], resources: [pods/exec], names: ['vault*']}
      action: Deny
      message: The vault is closed.
    # kubectl asks by GET for a WebSocket, and by POST for SPDY.
    - name: no-websocket-into-the-fallback
      match: {verbs: [get], resources: [pods/exec], names: ['fallback*']}
      action: Deny
      message: Not by WebSocket.
";

/// Shared by all tests: one cluster, one guard on each node.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let world = World::guarded_by(POLICIES);
    sdk::define_things(&world);
    world
});
