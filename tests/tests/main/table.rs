//! Ways round the guard as a table: what each meets from an ordinary pod, and how it ends in a guarded one.

use std::fmt::Write as _;

use guard_common::{Hook, Reason};
use guard_e2e::finding::{Finding, Outcome};
use guard_e2e::harness::{Arena, Pod, SOON, eventually};

use crate::WORLD;

/// Time enough for whoever is let through, on two busy cores.
const CONTROL_LIMIT: &str = "--limit 10000";
/// What is dropped stays silent; that it was dropped is seen in the counts, not in the silence. The probe's own stack asks for its next hop a
/// second time after a second.
const AGENT_LIMIT: &str = "--limit 2500";
const EPERM: i32 = 1;

/// What an ordinary pod meets: without that, a refusal would prove nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {
    /// The API server, by its certificate.
    ApiServer,
    /// Whoever is there, by a certificate or an answer.
    Somebody,
    /// The API server, where this kernel and node deliver such packets at all; nothing otherwise.
    ApiServerIfDelivered,
    /// Somebody, where this kernel knows the protocol.
    SomebodyIfSupported,
    /// An error, and no packet: harmless by itself.
    Nobody,
}

/// How it ends under guard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guarded {
    /// Meets the guard, and nothing is refused.
    Guard,
    /// The system call fails with EPERM; counted exactly once.
    Eperm(Hook, Reason),
    /// No answer: packets dropped and counted, as nothing else.
    Dropped(Hook, Reason),
}

/// One way: the probe's arguments, and what must come of them.
pub(crate) type Way<'a> = (&'a str, Control, Guarded);

/// Tries every way in both pods, and panics with all that went otherwise.
#[track_caller]
pub(crate) fn try_all(arena: &Arena, ways: &[Way<'_>]) {
    let mut wrong = String::new();
    for (probe, control, guarded) in ways {
        let ordinary = arena.ordinary.probe(&format!("{CONTROL_LIMIT} {probe}"));
        if let Err(reason) = control.judge(&ordinary) {
            let _ = writeln!(wrong, "{probe}: from an ordinary pod {reason}: {}", shown(&ordinary));
        }
        if let Err(reason) = try_guarded(arena, probe, *guarded, ordinary.outcome) {
            let _ = writeln!(wrong, "{probe}: from an agent pod {reason}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Waits until a way is open to an ordinary pod: kube-proxy takes a moment.
#[track_caller]
pub(crate) fn await_open(ordinary: &Pod, way: &str) {
    eventually(&format!("{way} to be open from an ordinary pod"), SOON, || {
        let found = ordinary.probe(&format!("--limit 3000 {way}"));
        if found.outcome == Outcome::Met { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// Waits until a connect is refused to an agent: the guard hears of a Service by itself, not from kube-proxy.
#[track_caller]
pub(crate) fn await_refused(agent: &Pod, way: &str) {
    eventually(&format!("{way} to be refused"), SOON, || {
        let found = agent.probe(way);
        if found.outcome == Outcome::Refused { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

fn try_guarded(arena: &Arena, probe: &str, guarded: Guarded, control: Outcome) -> Result<(), String> {
    let pins = &WORLD.guard_of(&arena.agent).pins;
    let limit = if matches!(guarded, Guarded::Guard) { CONTROL_LIMIT } else { AGENT_LIMIT };
    let before = arena.agent.refusals(pins);
    let found = arena.agent.probe(&format!("{limit} {probe}"));
    let counted = arena.agent.refusals(pins).since(&before);
    if control == Outcome::Unsupported {
        return if found.outcome == Outcome::Unsupported { Ok(()) } else { Err(shown(&found)) };
    }
    let as_expected = match guarded {
        Guarded::Guard => WORLD.is_guard(&found) && counted.is_empty(),
        Guarded::Eperm(hook, reason) => found.errno == Some(EPERM) && counted.into_iter().eq([((hook, reason), 1)]),
        Guarded::Dropped(hook, reason) => {
            let met = matches!(found.outcome, Outcome::Met | Outcome::Unsupported);
            !met && counted.into_keys().eq([(hook, reason)])
        }
    };
    let counted = arena.agent.refusals(pins).since(&before);
    if as_expected { Ok(()) } else { Err(format!("not {guarded:?}: {}, counted {counted:?}", shown(&found))) }
}

impl Control {
    fn judge(self, found: &Finding) -> Result<(), &'static str> {
        let as_expected = match self {
            Self::ApiServer => WORLD.is_api_server(found),
            Self::Somebody => found.outcome == Outcome::Met,
            Self::ApiServerIfDelivered => WORLD.is_api_server(found) || found.outcome == Outcome::Silent,
            Self::SomebodyIfSupported => matches!(found.outcome, Outcome::Met | Outcome::Unsupported),
            Self::Nobody => found.outcome == Outcome::Refused && found.errno != Some(EPERM),
        };
        if as_expected { Ok(()) } else { Err("it did not meet what it should") }
    }
}

fn shown(found: &Finding) -> String {
    let met = if WORLD.is_api_server(found) {
        "the API server"
    } else if WORLD.is_guard(found) {
        "the guard"
    } else {
        found.issuer.as_deref().or(found.answer.as_deref()).unwrap_or_default()
    };
    format!("{:?} {met}{}", found.outcome, found.error.as_deref().unwrap_or_default())
}
