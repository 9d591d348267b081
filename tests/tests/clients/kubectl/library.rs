//! Objects that both pods read, and nobody changes: what is read twice must be the same but for the ages.

use std::sync::Once;

use guard_e2e::harness::{Kubectl, SOON, eventually, run};
use xtask::images;

use crate::WORLD;

/// Where they are.
pub(super) const LIBRARY: &str = "library";

const OBJECTS: &str = include_str!("library.yaml");
/// What has come to rest when the library is read.
const AT_REST: &[&[&str]] = &[
    &["wait", "--for=condition=Available", "deployment/web", "--timeout=120s"],
    &["wait", "--for=condition=Complete", "job/done", "--timeout=120s"],
    &["wait", "--for=jsonpath={.status.readyReplicas}=2", "statefulset/state", "--timeout=120s"],
    &["wait", "--for=jsonpath={.status.numberReady}=2", "daemonset/each", "--timeout=120s"],
    &["wait", "--for=condition=Ready", "pod/talker", "pod/fallen", "--timeout=120s"],
    &["wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/fallen", "--timeout=120s"],
    &["wait", "--for=jsonpath={.status.phase}=Bound", "persistentvolumeclaim/claim", "--timeout=120s"],
    &["wait", "--for=condition=Established", "crd/books.library.example.com", "--timeout=120s"],
    &["wait", "--for=jsonpath={.status.used.configmaps}", "resourcequota/roomy", "--timeout=120s"],
];

/// Waits until the library is there.
#[track_caller]
pub(super) fn shelved() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let kubectl = Kubectl::new(&WORLD.cluster, LIBRARY);
        // One that an earlier run has left on this cluster was bound to that run's claim.
        kubectl.run(["delete", "persistentvolume", "library", "--ignore-not-found", "--timeout=60s"]).ok();
        let objects = OBJECTS.replace("$IMAGE", images::AGENT);
        eventually("the library's objects", SOON, || {
            // Some are of a kind that others define.
            let answer = run(kubectl.command(["apply", "-f", "-"]), &objects);
            if answer.status.success() { Ok(()) } else { Err(answer.err) }
        });
        for wait in AT_REST {
            kubectl.run(*wait).ok();
        }
    });
}
