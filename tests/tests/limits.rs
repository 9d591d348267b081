//! One pod attacks the guard in every way that costs it anything: it is told so in its own protocol, and its neighbour goes on.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use guard_e2e::harness::{Kubectl, Outcome, Siege, World, run};
use serde_json::json;

/// What the guard's process may hold in any attack, all of it.
const GUARD_BYTES: u64 = 160 << 20;
/// What as many idle connections as a pod may have add to that.
const IDLE_BYTES: u64 = 40 << 20;
/// How long the neighbour asks.
const SECONDS: u64 = 2;
/// Longer than a handshake may take.
const HALF_DONE: u64 = 12;
/// `ENHANCE_YOUR_CALM` (RFC 9113, 7).
const CALM: u32 = 11;

static WORLD: LazyLock<World> = LazyLock::new(World::guarded);
static SIEGE: LazyLock<Mutex<Siege<'static>>> = LazyLock::new(|| Mutex::new(Siege::lay(&WORLD)));

/// One attack at a time: counts and memory are those of one alone.
fn siege() -> MutexGuard<'static, Siege<'static>> {
    SIEGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Attacks, and looks at what holds for every attack: the neighbour gets all that it asks for, the guard's memory is bounded, the limit is
/// counted.
#[track_caller]
fn withstand(attack: &str, path: &str, limit: &str) -> Outcome {
    let siege = siege();
    let before = siege.met(limit);
    let outcome = siege.attack(attack, path, SECONDS);
    eprintln!(
        "{attack}: {:?}; neighbour: {} answers, p50 {} us, p99 {} us; the guard held {} MB",
        outcome.damage,
        outcome.neighbour.micros.len(),
        outcome.neighbour.percentile(0.5),
        outcome.neighbour.percentile(0.99),
        outcome.memory_peak >> 20
    );
    assert!(outcome.neighbour.failed.is_empty(), "the neighbour failed: {:?}", outcome.neighbour.failed);
    assert!(!outcome.neighbour.micros.is_empty(), "the neighbour got nothing");
    assert!(outcome.memory_peak < GUARD_BYTES, "the guard held {} MB", outcome.memory_peak >> 20);
    assert!(siege.met(limit) > before, "{limit} was not counted: {:?}", outcome.damage);
    outcome
}

#[track_caller]
fn is_told_to_be_calm(attack: &str, limit: &str) {
    let damage = withstand(attack, "/version", limit).damage;
    assert!(damage.goaways.get(&CALM).is_some_and(|count| *count > 0), "{damage:?}");
}

#[track_caller]
fn is_answered(attack: &str, path: &str, limit: &str, status: u16) {
    let damage = withstand(attack, path, limit).damage;
    assert!(damage.statuses.get(&status).is_some_and(|count| *count > 0), "{damage:?}");
}

#[test]
fn ten_thousand_connections() {
    let damage = withstand("connections", "/version", "connections").damage;
    assert!(damage.closed > 0, "{damage:?}");
}

#[test]
fn handshakes_without_end() {
    let damage = withstand("handshakes", "/version", "handshakes").damage;
    assert!(damage.connections > 0, "{damage:?}");
}

#[test]
fn half_done_handshakes() {
    let siege = siege();
    let outcome = siege.attack("half-handshakes", "/version", HALF_DONE);
    assert!(outcome.neighbour.failed.is_empty(), "the neighbour failed: {:?}", outcome.neighbour.failed);
    assert!(outcome.damage.closed > 0, "{:?}", outcome.damage);
    assert!(siege.met("handshake_time") > 0.0);
}

#[test]
fn a_megabyte_of_unfinished_headers_on_every_connection() {
    is_answered("headers", "/version", "held_bytes", 429);
}

#[test]
fn a_thousand_header_lines() {
    is_answered("header-lines", "/version", "headers", 431);
}

#[test]
fn heads_of_more_than_a_megabyte() {
    is_answered("large-heads", "/version", "header_bytes", 431);
}

/// The API server waits for the bodies as long as they come, the guard half a minute.
#[test]
fn heads_and_bodies_a_byte_at_a_time() {
    let before = siege().met("body_rate");
    is_answered("slow-writers", "/api/v1/namespaces/default/configmaps?dryRun=All", "head_time", 408);
    assert!(siege().met("body_rate") > before);
}

#[test]
fn bodies_without_end() {
    is_answered("large-bodies", "/api/v1/namespaces/default/configmaps", "body_bytes", 413);
}

#[test]
fn rapid_reset() {
    is_told_to_be_calm("rapid-reset", "resets");
}

#[test]
fn more_streams_than_allowed() {
    let damage = withstand("streams", "/api/v1/namespaces/default/configmaps", "streams").damage;
    assert!(damage.refused_streams > 0, "{damage:?}");
}

#[test]
fn heads_in_empty_pieces() {
    is_told_to_be_calm("continuation", "frames");
}

#[test]
fn settings_without_end() {
    is_told_to_be_calm("settings", "frames");
}

#[test]
fn pings_without_end() {
    is_told_to_be_calm("ping", "frames");
}

#[test]
fn windows_opened_by_a_byte() {
    is_told_to_be_calm("window-updates", "frames");
}

#[test]
fn frames_of_one_byte() {
    is_told_to_be_calm("one-byte-frames", "frames");
}

/// Twenty lists of four megabytes that nobody reads for a while: the API server waits, the guard's memory is bounded, and every list
/// comes whole in the end.
#[test]
fn readers_who_stop_get_all_of_it_later() {
    let namespace = format!("{}-lists", WORLD.namespace);
    WORLD.kubectl.run(["create", "namespace", &namespace]).ok();
    let kubectl = Kubectl::new(&WORLD.cluster, &namespace);
    let text = "x".repeat(200_000);
    let object = |n: usize| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{n}")}, "data": {"text": text}});
    let items: Vec<_> = (0..20).map(object).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    run(kubectl.command(["create", "-f", "-"]), &list.to_string()).ok();
    let outcome = siege().attack("slow-readers", &format!("/api/v1/namespaces/{namespace}/configmaps"), SECONDS);
    eprintln!("slow readers: {:?}; the guard held {} MB", outcome.damage, outcome.memory_peak >> 20);
    assert!(outcome.neighbour.failed.is_empty(), "the neighbour failed: {:?}", outcome.neighbour.failed);
    assert_eq!((outcome.damage.connections, outcome.damage.closed), (20, 0));
    assert!(outcome.damage.read > 20 * 20 * 200_000, "{:?}", outcome.damage);
    assert!(outcome.memory_peak < GUARD_BYTES, "the guard held {} MB", outcome.memory_peak >> 20);
    WORLD.kubectl.run(["delete", "namespace", &namespace, "--wait=false"]).ok();
}

/// An idle client is no attack: nobody is cut, and it costs little.
#[test]
fn idle_connections_up_to_the_limit_cost_little() {
    let outcome = siege().attack("idle", "/version", SECONDS);
    let grown = outcome.memory_peak.saturating_sub(outcome.memory_before);
    eprintln!("idle: {:?}; the guard grew by {} KB", outcome.damage, grown >> 10);
    assert!(outcome.neighbour.failed.is_empty(), "the neighbour failed: {:?}", outcome.neighbour.failed);
    assert!(grown < IDLE_BYTES, "the guard grew by {} MB", grown >> 20);
}
