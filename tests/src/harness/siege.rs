//! One pod that attacks the guard, and a neighbour on the same node that goes about its business.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Agent, Pod, PodPlan, Running, World, eventually, pod};
use crate::probe::{attack::Damage, gets::Latencies};

/// The `kubernetes` Service.
const TO: &str = "10.96.0.1:443";
const ACCOUNT: &str = "besieger";
/// As much of a processor as the attacker has: what it burns on its own is no feat of the guard's.
const CPU: &str = "250m";
/// Longer than an attack or its neighbour runs, on a slow machine.
const LONG: Duration = Duration::from_mins(3);
/// The attack begins before its neighbour asks, and ends after.
const MARGIN: u64 = 1;

/// Attacker and neighbour, both agents, on the first node.
pub struct Siege<'a> {
    world: &'a World,
    /// With a limit on its processor, as a pod has where anybody cares.
    pub attacker: Pod,
    /// Without.
    pub neighbour: Pod,
}

/// What came of one attack.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the attacker was told.
    pub damage: Damage,
    /// What its neighbour saw meanwhile.
    pub neighbour: Latencies,
    /// The guard's highest resident size meanwhile, in bytes.
    pub memory_peak: u64,
}

impl<'a> Siege<'a> {
    /// Both pods.
    #[track_caller]
    pub fn lay(world: &'a World) -> Self {
        // Its own account: the API server, too, keeps users from each other (priority and fairness), and not a user from itself.
        let namespace = &world.namespace;
        world.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": format!("{namespace}-{ACCOUNT}"), "labels": {"egressguard.io/e2e": "true"}},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
            },
        ]}));
        let plans = [
            PodPlan::agent("besieger", Agent("attacker")).account(ACCOUNT).cpu_limit(CPU),
            PodPlan::agent("neighbour", Agent("chatgpt")),
        ];
        let [attacker, neighbour] = world.pods(&plans);
        Self { world, attacker, neighbour }
    }

    /// The neighbour alone, for so many seconds.
    #[track_caller]
    pub fn quiet(&self, seconds: u64) -> Latencies {
        self.settle();
        answer(&mut self.gets(seconds))
    }

    /// Attacks (by the probe's name for it) while the neighbour asks for so many seconds. `path` is what the attacker asks for.
    #[track_caller]
    pub fn attack(&self, attack: &str, path: &str, seconds: u64) -> Outcome {
        self.settle();
        let guard = self.world.guard();
        guard.forget_peak();
        let whole = seconds + 2 * MARGIN;
        let mut attacking =
            self.attacker.start_probe(&format!("attack {attack} --to {TO} --path {path} --seconds {whole}"));
        std::thread::sleep(Duration::from_secs(MARGIN));
        let neighbour = answer(&mut self.gets(seconds));
        let damage = answer(&mut attacking);
        Outcome { damage, neighbour, memory_peak: guard.memory_peak() }
    }

    /// How often the limit was met so far.
    #[track_caller]
    pub fn met(&self, limit: &str) -> f64 {
        self.world.guard().metrics().sum("guard_limits_total", &[("limit", limit)])
    }

    /// Waits until nothing of an attack is left: its connections, and what it has used up for the next seconds.
    #[track_caller]
    fn settle(&self) {
        eventually("the last attack's connections to end", LONG, || {
            let open = self.world.guard().metrics().sum("guard_connections", &[]);
            if open < 1.0 { Ok(()) } else { Err(format!("{open} are open")) }
        });
        std::thread::sleep(Duration::from_secs(4));
    }

    #[track_caller]
    fn gets(&self, seconds: u64) -> Running {
        self.neighbour.start_probe(&format!("gets --to {TO} --seconds {seconds}"))
    }
}

/// The JSON in a probe's finding.
#[track_caller]
fn answer<T: DeserializeOwned>(running: &mut Running) -> T {
    let line = running.line(LONG);
    let finding = pod::finding(&line);
    let answer = finding.answer.unwrap_or_else(|| panic!("the probe has failed: {line}"));
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
