//! The main job, shown: each step with the command that it runs, what came back, and whether that is what must come back.

mod screen;

use std::process::ExitCode;

use guard_common::Hook;
use serde_json::{Value, json};

use crate::finding::{Finding, Outcome};
use crate::harness::{Agent, Answer, Counters, Pod, PodPlan, SOON, Statistics, World, eventually};
use screen::Screen;

/// Two pods side by side, the guard between them and the API server.
struct Demo {
    world: World,
    agent: Pod,
    ordinary: Pod,
    screen: Screen,
}

/// Runs the steps; `--keep` leaves everything running and prints how to play with it.
pub fn main() -> ExitCode {
    let keep = std::env::args().any(|argument| argument == "--keep");
    let screen = Screen::new();
    screen.say("Starting a guard on each node, an agent pod and an ordinary pod …");
    let world = World::guarded();
    let plans = [PodPlan::agent("agent", Agent("chatgpt")).armed(), PodPlan::ordinary("ordinary").armed()];
    let [agent, ordinary] = world.pods(&plans);
    world.kubectl.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    let mut demo = Demo { world, agent, ordinary, screen };
    demo.show();
    let failed = demo.screen.failed();
    if keep {
        demo.leave();
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Demo {
    fn show(&mut self) {
        self.agent_works();
        self.deletion_is_refused();
        self.both_records_agree();
        self.ways_round_are_refused();
        self.neighbour_notices_nothing();
        self.screen.close();
    }

    fn agent_works(&mut self) {
        self.screen
            .step("The agent lists pods. Its kubectl is unmodified; it holds no credential that the API server takes.");
        let answer = self.kubectl_in_agent(&["get", "pods", "-o", "wide"]);
        self.screen
            .expect("the list came through the guard", answer.status.success() && answer.out.contains("ordinary"));

        let to = self.cluster_ip();
        self.screen.step("Whom does it talk to? The same address, seen from both pods.");
        let finding = self.probe_agent(&format!("connect --to {to}"));
        self.screen.expect("the agent meets the guard's certificate", self.world.is_guard(&finding));
        let finding = self.probe_ordinary(&format!("connect --to {to}"));
        self.screen.expect("the pod beside it meets the API server's own", self.world.is_api_server(&finding));
    }

    fn deletion_is_refused(&mut self) {
        self.screen.step("It deletes a namespace. RBAC would let it: its ServiceAccount is cluster-admin.");
        let answer = self.kubectl_in_agent(&["delete", "namespace", "shop"]);
        let refused = !answer.status.success() && answer.err.contains(crate::harness::NO_DELETION);
        self.screen.expect("refused, with the reason", refused);
        let there = self.world.kubectl.run(["get", "namespace", "shop"]).status.success();
        self.screen.expect("the namespace is still there", there);
    }

    fn both_records_agree(&mut self) {
        self.screen.step("The guard's record of an exchange, and the API server's, under one id.");
        let (audit, from) = (self.world.audit(), self.world.guard().log_length());
        self.kubectl_in_agent(&["get", "configmaps"]);
        let exchange = eventually("the guard's line", SOON, || {
            let is_it = |line: &Value| line["event"] == "exchange" && line["resource"] == "configmaps";
            self.world.guard().log_since(from).into_iter().find(is_it).ok_or("no line for configmaps yet")
        });
        for name in [
            "namespace",
            "pod",
            "user",
            "verb",
            "resource",
            "decision",
            "status",
            "bytes_out",
            "duration_ms",
            "audit_id",
        ] {
            self.screen.show(&format!("{name}: {}", exchange[name]));
        }
        let id = exchange["audit_id"].as_str().unwrap_or_default().to_owned();
        let event = audit.wait_for("the same id in the API server's audit log", |event| event.audit_id == id);
        self.screen.show(&format!(
            "the API server's audit log: {} {} by {}",
            event.verb, event.request_uri, event.user.username
        ));
        self.screen.expect("the API server saw the pod's own ServiceAccount", event.user.username.ends_with(":agent"));
    }

    fn ways_round_are_refused(&mut self) {
        let endpoint = self.world.cluster.api_server.endpoints[0];
        let kubelet = std::net::SocketAddr::new(self.agent.node.addresses[0], 10250);
        let to = self.cluster_ip();
        self.screen.step("The API server's endpoint, past the Service: the kernel sends it to the guard as well.");
        let finding = self.probe_agent(&format!("connect --to {endpoint}"));
        self.screen.expect("the agent meets the guard", self.world.is_guard(&finding));
        let ways = [
            ("A datagram to the API server's address.", format!("datagram --to {to}"), Hook::Sendmsg4),
            ("The kubelet's port on its node.", format!("connect --to {kubelet}"), Hook::Connect4),
            (
                "A raw packet socket with a TCP stack of its own (it has NET_RAW here, which admission will take).",
                format!("packet --to {endpoint}"),
                Hook::VethIngress,
            ),
        ];
        for (title, arguments, hook) in ways {
            self.screen.step(title);
            let before = self.refusals();
            let finding = self.probe_agent(&arguments);
            self.screen.expect("refused", finding.outcome != Outcome::Met);
            let counted: u64 =
                self.refusals().since(&before).iter().filter(|((by, _), _)| *by == hook).map(|(_, count)| count).sum();
            self.screen.show(&format!("guard_refusals_total{{hook=\"{}\"}} +{counted}", hook.name()));
            self.screen.expect("counted by the kernel", counted > 0);
        }
        let way = format!("packet --to {endpoint}");
        let finding = self.probe_ordinary(&way);
        self.screen.expect(
            "the same raw packets from the pod beside it do reach the API server",
            self.world.is_api_server(&finding),
        );
    }

    fn neighbour_notices_nothing(&mut self) {
        self.screen.step("The pod beside it, without the label: how often did a program of the guard run for it?");
        let statistics = Statistics::on();
        let guard = self.world.guard_of(&self.ordinary);
        let runs = || statistics.runs(guard).values().sum::<u64>();
        let before = runs();
        let answer = self.ordinary.exec(["kubectl", "get", "pods"]);
        self.screen.command("ordinary", "kubectl get pods");
        self.screen.answer(&answer);
        let caused = runs().saturating_sub(before);
        self.screen.show(&format!("programs run meanwhile: {caused}"));
        self.screen
            .expect("it works, and runs not one instruction of the guard's", answer.status.success() && caused == 0);
    }

    fn kubectl_in_agent(&mut self, arguments: &[&str]) -> Answer {
        self.screen.command("agent", &format!("kubectl {}", arguments.join(" ")));
        let answer = self.agent.exec(std::iter::once("kubectl").chain(arguments.iter().copied()));
        self.screen.answer(&answer);
        answer
    }

    fn probe_agent(&mut self, arguments: &str) -> Finding {
        self.screen.command("agent", &format!("probe {arguments}"));
        let finding = self.agent.probe(arguments);
        self.screen.finding(&finding);
        finding
    }

    fn probe_ordinary(&mut self, arguments: &str) -> Finding {
        self.screen.command("ordinary", &format!("probe {arguments}"));
        let finding = self.ordinary.probe(arguments);
        self.screen.finding(&finding);
        finding
    }

    fn refusals(&self) -> Counters {
        self.agent.refusals(&self.world.guard_of(&self.agent).pins)
    }

    fn cluster_ip(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::new(self.world.cluster.api_server.cluster_ips[0], 443)
    }

    /// Guards and pods go on; `cluster down` ends them.
    fn leave(self) {
        let cluster = &self.world.cluster.name;
        let kubectl = format!("cargo xtask cluster kubectl --name {cluster} -- -n {}", self.world.namespace);
        self.screen.say("\nThe cluster stays up. Three commands to play with it:");
        self.screen.say(&format!("  {kubectl} exec -it agent -- bash"));
        self.screen.say(&format!("  {kubectl} get events --field-selector involvedObject.name=agent"));
        self.screen.say(&format!("  cargo xtask cluster down --name {cluster}"));
        std::mem::forget((self.world, self.agent, self.ordinary));
    }
}
