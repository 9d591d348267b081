//! K9, edge case 43: the guard's own listener in the pod can't be taken, shared, or used by others.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};

use guard_common::{Hook, Reason};
use guard_e2e::finding::{Finding, Outcome};
use guard_e2e::harness::{Agent, Pod, PodPlan, Running, SOON, eventually};

use crate::WORLD;

#[test]
fn the_listeners_port_can_not_be_bound() {
    let arena = WORLD.ring.enter();
    let port = port_of(&arena.agent);
    let pins = &WORLD.guard_of(&arena.agent).pins;
    let mut wrong = String::new();
    let addresses = ["loopback4", "other-loopback", "any4", "loopback6", "mapped", "any6", "both"];
    let every_way = addresses.iter().map(|at| (*at, "plain"));
    let more = ["reuse-address", "reuse-port", "transparent", "multipath", "io-uring"];
    for (at, how) in every_way
        .chain(more.iter().map(|how| ("loopback4", *how)))
        .chain([("both", "reuse-port"), ("both", "io-uring")])
    {
        let arguments = format!("bind --port {port} --at {at} --how {how}");
        let hook = if ["loopback4", "other-loopback", "any4"].contains(&at) { Hook::Bind4 } else { Hook::Bind6 };
        let control = arena.ordinary.probe(&arguments);
        let before = arena.agent.refusals(pins);
        let found = arena.agent.probe(&arguments);
        let counted: Vec<_> = arena.agent.refusals(pins).since(&before).into_iter().collect();
        let refused = found.errno == Some(1) && counted == [((hook, Reason::ListenerPort), 1)];
        let had = control.outcome == Outcome::Met;
        if control.outcome != Outcome::Unsupported && !(refused && had) {
            let _ = writeln!(wrong, "{arguments}: {control:?}, {found:?}, counted {counted:?}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_listen_without_bind_never_gets_the_listeners_port() {
    let arena = WORLD.ring.enter();
    let port = port_of(&arena.agent);
    // Few to choose from, so that this one would soon be chosen.
    let choice = format!("{} {}", port - 4, port + 4);
    let setting = "/proc/sys/net/ipv4/ip_local_port_range";
    let pods = [&arena.ordinary, &arena.agent];
    let usual = pods.map(|pod| pod.netns().sh(&format!("cat {setting}; echo {choice} > {setting}")));
    let ways = ["listen", "io-uring", "bind-to-zero"];
    let given = ways.map(|how| pods.map(|pod| pod.probe(&format!("listen-unbound --times 40 --how {how}"))));
    for (pod, usual) in pods.iter().zip(usual) {
        pod.netns().sh(&format!("echo {} > {setting}", usual.trim()));
    }
    let mut wrong = String::new();
    for (how, [ordinary, agent]) in ways.iter().zip(given) {
        let ports = |found: &Finding| {
            let answer = found.answer.as_deref().unwrap_or_default();
            answer.split_whitespace().map(|port| port.parse::<u16>().unwrap()).collect::<Vec<_>>()
        };
        if ordinary.outcome == Outcome::Unsupported && agent.outcome == Outcome::Unsupported {
            continue;
        }
        let (had, was_given) = (ports(&ordinary), ports(&agent));
        if !had.contains(&port) || was_given.is_empty() || was_given.contains(&port) {
            let _ = writeln!(wrong, "{how}: the ordinary pod {ordinary:?}, the agent pod {agent:?}");
        }
    }
    assert!(wrong.is_empty(), "{port}:\n{wrong}");
}

#[test]
fn a_pod_that_takes_its_loopback_down_cuts_itself_off_and_nobody_else() {
    let [agent, neighbour] =
        ["loopless", "neighbour"].map(|name| WORLD.pod(PodPlan::agent(name, Agent("chatgpt")).armed()));
    let meets_the_guard = |pod: &Pod| WORLD.is_guard(&pod.probe("--limit 10000 connect --to 10.96.0.1:443"));
    assert!(meets_the_guard(&agent) && meets_the_guard(&neighbour));
    agent.sh("ip link set lo down").ok();
    let found = agent.probe("--limit 2000 connect --to 10.96.0.1:443");
    assert!(matches!(found.outcome, Outcome::Refused | Outcome::Silent), "{found:?}");
    assert!(meets_the_guard(&neighbour));
    agent.sh("ip link set lo up").ok();
    assert!(meets_the_guard(&agent));
}

#[test]
fn port_forward_into_an_agent_pod_does_not_reach_the_api_server_through_the_guard() {
    let agent = WORLD.pod(PodPlan::agent("forwarded-into", Agent("chatgpt")));
    let guard = WORLD.guard_of(&agent);
    let foreign = || guard.metrics().sum("guard_connections_total", &[("result", "foreign")]);
    let before = foreign();
    let mut server = agent.serve_etc();
    let [free, other] = [0, 0].map(|_| WORLD.control_plane().run(free_port));
    let port = port_of(&agent);
    let mut forward = WORLD.kubectl.command([
        "port-forward",
        &format!("pod/{}", agent.name),
        &format!("{free}:8080"),
        &format!("{other}:{port}"),
    ]);
    let mut forward = Running::start(&mut forward);
    forward.line_with(&format!("127.0.0.1:{other}"), SOON);

    // Positive control: port-forward works, into this very pod.
    let fetched = eventually("httpd in the pod to answer", SOON, || {
        let answer = WORLD.control_plane().try_sh(&format!("curl -sS --max-time 5 http://127.0.0.1:{free}/hosts"));
        if answer.status.success() { Ok(answer.out) } else { Err(answer.err) }
    });
    assert!(fetched.contains("localhost"), "{fetched}");

    let found = WORLD.probe_in(&WORLD.control_plane(), &format!("--limit 10000 connect --to 127.0.0.1:{other}"));
    assert_eq!(found.outcome, Outcome::Refused, "{found:?}");
    assert!(foreign() > before, "the guard counted no foreign connection");
    assert!(server.is_running());
}

/// Where the guard listens in the pod, as anybody in the pod can find out.
#[track_caller]
pub(crate) fn port_of(pod: &Pod) -> u16 {
    let listening = pod.netns().sh("ss --listening --tcp --numeric --no-header");
    let addresses = listening.lines().filter_map(|line| line.split_whitespace().nth(3)?.parse::<SocketAddr>().ok());
    let mut ports: Vec<u16> =
        addresses.filter(|address| address.ip().is_loopback()).map(|address| address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 1, "{listening}");
    ports[0]
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
