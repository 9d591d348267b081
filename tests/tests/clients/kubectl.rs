//! kubectl: each row is a script, run in a guarded pod and in an ordinary one. What they print must be equal.

use guard_e2e::harness::{Agent, PodPlan};

use crate::WORLD;

#[test]
fn the_api_server_has_one_version() {
    let [guarded, direct] = WORLD.pods(&[PodPlan::agent("guarded", Agent("unhindered")), PodPlan::ordinary("direct")]);
    let version = ["kubectl", "version"];
    assert_eq!(guarded.exec(version).ok(), direct.exec(version).ok());
}
