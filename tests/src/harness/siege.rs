//! One pod that attacks the guard, and a neighbour on the same node that goes about its business.

use std::cell::Cell;
use std::time::{Duration, Instant};

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
/// After that what an attack has used up of every rate has come in again: a burst, and as much that it may owe.
const REST: Duration = Duration::from_secs(9);

/// Attackers and neighbour, all agents, on the first node.
pub struct Siege<'a> {
    world: &'a World,
    /// They attack by turns, so that one rests meanwhile.
    attackers: [Attacker; 2],
    turn: Cell<usize>,
    neighbour: Pod,
}

/// A pod with a limit on its processor, as one has where anybody cares.
struct Attacker {
    pod: Pod,
    /// When it has rested.
    rested: Cell<Instant>,
}

/// What came of one attack.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the attacker was told.
    pub damage: Damage,
    /// What its neighbour saw meanwhile.
    pub neighbour: Latencies,
    /// The guard's resident size before, in bytes.
    pub memory_before: u64,
    /// Its highest meanwhile.
    pub memory_peak: u64,
}

impl<'a> Siege<'a> {
    /// All pods.
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
        let attacker = |name: &str| PodPlan::agent(name, Agent("attacker")).account(ACCOUNT).cpu_limit(CPU);
        let plans = [attacker("besieger-1"), attacker("besieger-2"), PodPlan::agent("neighbour", Agent("chatgpt"))];
        let [first, second, neighbour] = world.pods(&plans);
        let attackers = [first, second].map(|pod| Attacker { pod, rested: Cell::new(Instant::now()) });
        Self { world, attackers, turn: Cell::new(0), neighbour }
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
        let turn = self.turn.replace(self.turn.get() + 1);
        let attacker = &self.attackers[turn % self.attackers.len()];
        std::thread::sleep(attacker.rested.get().saturating_duration_since(Instant::now()));
        let guard = self.world.guard();
        guard.forget_peak();
        let memory_before = guard.memory_now();
        let whole = seconds + 2 * MARGIN;
        let mut attacking =
            attacker.pod.start_probe(&format!("attack {attack} --to {TO} --path {path} --seconds {whole}"));
        std::thread::sleep(Duration::from_secs(MARGIN));
        let neighbour = answer(&mut self.gets(seconds));
        let damage = answer(&mut attacking);
        attacker.rested.set(Instant::now() + REST);
        Outcome { damage, neighbour, memory_before, memory_peak: guard.memory_peak() }
    }

    /// How often the limit was met so far.
    #[track_caller]
    pub fn met(&self, limit: &str) -> f64 {
        self.world.guard().metrics().sum("guard_limits_total", &[("limit", limit)])
    }

    /// Waits until nothing of an attack is left to the guard: its connections.
    #[track_caller]
    fn settle(&self) {
        eventually("the last attack's connections to end", LONG, || {
            let open = self.world.guard().metrics().sum("guard_connections", &[]);
            if open < 1.0 { Ok(()) } else { Err(format!("{open} are open")) }
        });
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
