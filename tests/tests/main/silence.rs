//! An API server, and a client, that die without a word.

use std::time::{Duration, Instant};

use guard_e2e::harness::{Agent, Guard, NodeNetns, Pod, PodPlan, Running, SOON, eventually, unique};

use crate::WORLD;
use crate::life::turn;

/// The longest until a dead peer is noticed.
const DEAD: Duration = Duration::from_secs(30);
/// What two busy cores may add to that.
const MARGIN: Duration = Duration::from_secs(5);

/// kubectl's older protocol; its newer one is WebSocket.
const SPDY: &str = "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false KUBECTL_PORT_FORWARD_WEBSOCKETS=false";

/// What curl says of an end that is none, see EXIT CODES in curl(1).
const PARTIAL_FILE: u8 = 18;
const RECEIVE: u8 = 56;
const HTTP2_STREAM: u8 = 92;

#[test]
fn whoever_falls_silent_is_noticed_and_the_other_side_sees_a_reset() {
    // All of the guard's connections fall silent, its own watches too.
    let (_turn, guard) = turn();
    let [agent, vanishing, workpiece] = WORLD.pods(&[
        PodPlan::agent(unique("listener"), Agent("chatgpt")).on(1),
        PodPlan::agent(unique("vanishing"), Agent("chatgpt")).on(1),
        PodPlan::ordinary(unique("workpiece")).on(1),
    ]);
    let name = unique("watched");
    WORLD.kubectl.run(["create", "configmap", &name, "--from-literal=v=0"]).ok();
    let exec = format!("kubectl exec --stdin {} -- sh -c 'echo open; cat'", workpiece.name);
    let forward = |port: u16| format!("kubectl port-forward pod/{} {port}:8080", workpiece.name);
    let mut silent = [
        Stream::open(&agent, &watch("--http2", &name), &name).broken_as(&[HTTP2_STREAM]),
        Stream::open(&agent, &watch("--http1.1", &name), &name).broken_as(&[PARTIAL_FILE, RECEIVE]),
        Stream::open(&agent, &idle_exec(&workpiece), "open").broken_as(&[RECEIVE]),
        Stream::open(&agent, &exec, "open").broken_as(&[1]),
        // client-go takes any end of a SPDY connection for the command's.
        Stream::open(&agent, &format!("{SPDY} {exec}"), "open").broken_as(&[0, 1]),
        Stream::open(&agent, &forward(18081), "127.0.0.1:18081").broken_as(&[1]),
        Stream::open(&agent, &format!("{SPDY} {}", forward(18082)), "127.0.0.1:18082").broken_as(&[1]),
    ];
    let log = guard.log_length();
    let ended = |pod: &Pod, outcome: &str| {
        let lines = guard.log_since(log).into_iter();
        lines.filter(|line| line["uid"] == pod.uid.as_str() && line["outcome"] == outcome).count()
    };
    let broken_off = || guard.metrics().sum("guard_upstream_failures_total", &[("reason", "broken_off")]);
    let before = broken_off();

    let fallen = Instant::now();
    let silence = Silence::of_the_api_server(guard);
    for stream in &mut silent[3..5] {
        stream.running.write("into the silence\n");
    }
    // These have connections to the API server that are well: it is the client that goes.
    let abandoned = [
        Stream::open(&vanishing, &watch("--http2", &name), &name),
        Stream::open(&vanishing, &watch("--http1.1", &name), &name),
        Stream::open(&vanishing, &idle_exec(&workpiece), "open"),
    ];
    let vanished = Instant::now();
    let _silence_of_clients = Silence::of_clients(&vanishing);

    for stream in &mut silent {
        stream.breaks_off((DEAD + MARGIN).saturating_sub(fallen.elapsed()));
    }
    eventually("the guard to say who was lost, and to let go of what was asked for", DEAD + MARGIN, || {
        let (lost, gone) = (ended(&agent, "upstream_broken"), ended(&vanishing, "client_gone"));
        let all = lost == silent.len() && gone == abandoned.len();
        if all { Ok(()) } else { Err(format!("{lost} and {gone} after {:?}", vanished.elapsed())) }
    });
    assert!(broken_off() - before > 6.5, "{} before, now {}", before, broken_off());
    drop(silence);
    eventually("the agent's next request to be answered", SOON, || {
        let answer = agent.exec(["kubectl", "get", "configmap", &name]);
        if answer.status.success() { Ok(()) } else { Err(answer.err) }
    });
}

#[test]
fn an_exec_lives_on_while_its_program_takes_no_input() {
    const BYTES: u32 = 30_000_000;
    let [agent, workpiece] =
        WORLD.pods(&[PodPlan::agent(unique("feeder"), Agent("chatgpt")), PodPlan::ordinary(unique("late-eater"))]);
    // All that the buffers on the way don't hold waits in the agent, and the API server reads nothing.
    let feed = |protocol: &str| {
        let program = format!("echo open; sleep {}; wc -c", (DEAD + MARGIN).as_secs());
        let command = format!(
            "head -c {BYTES} /dev/zero | {protocol} kubectl exec --stdin {} -- sh -c '{program}'",
            workpiece.name
        );
        Stream::open(&agent, &command, "open")
    };
    for mut fed in [feed(""), feed(SPDY)] {
        assert_eq!(fed.running.line(DEAD + MARGIN + SOON), BYTES.to_string(), "{}", fed.command);
    }
}

/// A long answer, or an upgraded stream, of a client in a pod.
struct Stream {
    command: String,
    running: Running,
    broken: &'static [u8],
}

impl Stream {
    /// Opened when the first thing has come.
    #[track_caller]
    fn open(pod: &Pod, command: &str, first: &str) -> Self {
        let mut running = pod.start(["sh", "-c", &format!("{command}; echo ended with $?")]);
        running.line_with(first, SOON);
        Self { command: command.to_owned(), running, broken: &[] }
    }

    /// What the client exits with when it breaks off.
    fn broken_as(self, broken: &'static [u8]) -> Self {
        Self { broken, ..self }
    }

    #[track_caller]
    fn breaks_off(&mut self, limit: Duration) {
        let end = self.running.line_with("ended with", limit);
        let broken = self.broken.iter().any(|code| end == format!("ended with {code}"));
        assert!(broken, "{} {end}", self.command);
    }
}

fn curl(options: &str, path: &str) -> String {
    let credentials = "/var/run/secrets/kubernetes.io/serviceaccount";
    format!(
        "curl -sSN --max-time 120 {options} --cacert {credentials}/ca.crt -H \"Authorization: Bearer $(cat {credentials}/token)\" \
         'https://10.96.0.1/api/v1/namespaces/{}/{path}'",
        WORLD.namespace
    )
}

fn watch(options: &str, configmap: &str) -> String {
    curl(options, &format!("configmaps?watch=1&fieldSelector=metadata.name={configmap}"))
}

/// kubectl's own keeps itself busy with pings.
fn idle_exec(workpiece: &Pod) -> String {
    let upgrade = "--http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
                   -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' -H 'Sec-WebSocket-Protocol: v5.channel.k8s.io'";
    let command = "stdout=true&command=sh&command=-c&command=echo%20open%3Bexec%20sleep%20300";
    curl(upgrade, &format!("pods/{}/exec?{command}", workpiece.name))
}

/// Packets of connections that are there now are sent and never arrive; new connections work.
struct Silence {
    places: Vec<NodeNetns>,
}

impl Silence {
    /// Between a guard and the API server, both ways.
    #[track_caller]
    fn of_the_api_server(guard: &Guard) -> Self {
        let node = NodeNetns::new(&guard.node.netns);
        let owner = format!("pid={},", guard.process_id());
        let connections = node.sh("ss -Htnp state established dport = :6443");
        let own = connections.lines().filter(|line| line.contains(&owner));
        let own: Vec<(&str, &str)> = own.filter_map(|line| line.split_whitespace().nth(2)?.rsplit_once(':')).collect();
        assert!(!own.is_empty(), "the guard has connections to the API server: {connections}");
        let rules = |of: fn(&str, &str) -> String| -> String {
            own.iter().map(|(address, port)| of(address.trim_matches(['[', ']']), port)).collect()
        };
        let sent =
            rules(|address, port| format!("{} saddr {address} tcp sport {port} tcp dport 6443 drop; ", ip(address)));
        let answered =
            rules(|address, port| format!("{} daddr {address} tcp sport 6443 tcp dport {port} drop; ", ip(address)));
        Self { places: vec![] }.and(WORLD.control_plane(), &sent).and(node, &answered)
    }

    /// Between the clients in a pod and the guard, both ways.
    #[track_caller]
    fn of_clients(pod: &Pod) -> Self {
        Self { places: vec![] }.and(pod.netns(), "iif lo meta l4proto tcp drop; ")
    }

    #[track_caller]
    fn and(mut self, place: NodeNetns, rules: &str) -> Self {
        place.sh(&format!(
            "nft 'table inet silence {{ chain arriving {{ type filter hook input priority 0; {rules} }}; }}'"
        ));
        self.places.push(place);
        self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        for place in &self.places {
            // A test that fails for another reason fails for that one.
            let _ = place.try_sh("nft delete table inet silence");
        }
    }
}

/// nft's word for an address's family.
fn ip(address: &str) -> &'static str {
    if address.contains(':') { "ip6" } else { "ip" }
}
