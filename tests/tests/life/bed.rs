//! The installation that all cases share, and those to whom things happen.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guard_e2e::harness::{Installed, Pod, PodPlan, Witnesses};
use xtask::cluster::Node;

pub(crate) const LABEL: &str = "egressguard.io/agent";
/// Ample, on two busy cores.
pub(crate) const LONG: Duration = Duration::from_mins(4);

/// Instead of the chart's baseline, which denies exec: one rule that nobody here meets.
pub(crate) const POLICY: &str = "policies[0].apiVersion=egressguard.io/v1alpha1,policies[0].kind=GuardPolicy,policies[0].metadata.name=open,\
    policies[0].spec.rules[0].name=no-namespace-deletion,policies[0].spec.rules[0].match.verbs[0]=delete,\
    policies[0].spec.rules[0].match.resources[0]=namespaces,policies[0].spec.rules[0].action=Deny,\
    policies[0].spec.rules[0].message=Namespaces are deleted by people.";

/// As the chart has it, and longer than any test waits.
pub(crate) const DRAIN: &str = "node.drainFor=600";

/// See the module.
pub(crate) struct Bed {
    pub(crate) installed: Installed,
    witnesses: LazyLock<Witnesses, Box<dyn FnOnce() -> Witnesses + Send>>,
    turn: Mutex<()>,
}

impl Bed {
    /// Installs the guard.
    #[track_caller]
    pub(crate) fn set_up() -> Self {
        let installed = Installed::with_agents(&[POLICY, DRAIN]);
        Self { installed, witnesses: LazyLock::new(Box::new(|| witnesses("witness"))), turn: Mutex::default() }
    }

    /// For what befalls a guard or a node: the second one, one case at a time.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        // A case that failed has left nothing that the next one couldn't bear.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The second node.
    pub(crate) fn node(&self) -> &Node {
        &self.installed.cluster.nodes[1]
    }

    /// An agent and an ordinary pod on the second node, for cases that leave both as they are.
    pub(crate) fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// Pods in the agents' namespace, ready.
    #[track_caller]
    pub(crate) fn pods<const N: usize>(&self, plans: &[PodPlan; N]) -> [Pod; N] {
        let pods = Pod::create_all(&self.installed.kubectl, &self.installed.cluster.nodes, plans);
        pods.try_into().expect("as many pods as plans")
    }

    /// One.
    #[track_caller]
    pub(crate) fn pod(&self, plan: PodPlan) -> Pod {
        let [pod] = self.pods(&[plan]);
        pod
    }

    /// Waits until an agent's requests are answered.
    #[track_caller]
    pub(crate) fn served(&self, agent: &Pod) {
        self.installed.served(agent);
    }

    /// Whether it was the API server itself whom one try of a pod has met.
    #[track_caller]
    pub(crate) fn reaches_the_api_server(&self, pod: &Pod, to: &str) -> Result<(), String> {
        let found = pod.probe(&format!("--limit 5000 connect --to {to}"));
        let met = found.peer_certificate_sha256.as_ref() == Some(&self.installed.api_server_certificate());
        if met { Ok(()) } else { Err(format!("{found:?}")) }
    }

    /// What the events on an object of this kind and name say, for one reason.
    pub(crate) fn events(&self, name: &str, reason: &str) -> String {
        let selector = format!("involvedObject.name={name},reason={reason}");
        let path = "jsonpath={.items[*].message}";
        self.installed.kubectl.run(["get", "events", "--field-selector", &selector, "-o", path]).out
    }
}

/// A labelled pod, as its team makes it.
pub(crate) fn agent(name: impl Into<String>) -> PodPlan {
    PodPlan::ordinary(name).label(LABEL, "chatgpt")
}

/// A pair on the second node.
#[track_caller]
pub(crate) fn witnesses(name: &str) -> Witnesses {
    let plans = [agent(format!("{name}-agent")).on(1), PodPlan::ordinary(format!("{name}-ordinary")).on(1)];
    let [agent, ordinary] = crate::BED.pods(&plans);
    Witnesses { agent, ordinary }
}
