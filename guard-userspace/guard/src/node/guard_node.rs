//! This node's `GuardNode`: what the guard tells of itself, and where else the node can be reached.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use guard_api::{Condition, GuardNode, GuardNodeSpec, GuardNodeStatus, MAX_ADDRESSES};
use guard_certificates::Serving;
use guard_kernel::interfaces::{self, Interface, Kind};
use guard_kernel::netns::Netns;
use guard_telemetry::{Metrics, Readiness};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::clients::Clients;
use super::policies::PolicyStatus;
use super::registry::Registry;

/// How often the node is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How old `lastSeen` gets.
pub(crate) const HEARTBEAT: Duration = Duration::from_mins(1);

/// Between two writes for the sake of numbers alone.
const NUMBERS: Duration = Duration::from_secs(20);

/// In IPVS mode kube-proxy puts every Service's address on it.
const KUBE_IPVS: &str = "kube-ipvs0";

const MANAGER: &str = "egress-guard-node";

/// Writes the object.
pub(super) struct Telling {
    pub(super) client: Client,
    pub(super) node: String,
    pub(super) host: Arc<Netns>,
    pub(super) serving: Arc<Serving>,
    pub(super) policies: Arc<ArcSwap<PolicyStatus>>,
    pub(super) registry: Arc<Registry>,
    pub(super) clients: Clients,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    pub(super) enforcement: &'static str,
}

/// What was written last.
#[derive(Default)]
struct Written {
    addresses: Option<BTreeSet<IpAddr>>,
    status: GuardNodeStatus,
    at: Option<Instant>,
}

impl Telling {
    /// Until dropped.
    pub(super) async fn run(self) {
        let mut written = Written::default();
        let mut failing = false;
        loop {
            match self.tell(&mut written).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    tracing::warn!(error = format!("{error:#}"), "the node's GuardNode can't be written; tried again");
                    failing = true;
                }
                Err(error) => tracing::debug!(error = format!("{error:#}"), "the node's GuardNode can't be written"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn tell(&self, written: &mut Written) -> Result<()> {
        let nodes: Api<GuardNode> = Api::all(self.client.clone());
        let addresses = tokio::task::block_in_place(|| interfaces::list(&self.host))
            .map(|interfaces| reachable(&interfaces))
            .context("listing the node's interfaces")?;
        if written.addresses.as_ref() != Some(&addresses) {
            let known = nodes
                .patch(&self.node, &PatchParams::apply(MANAGER).force(), &Patch::Apply(self.object(&addresses).await?))
                .await
                .context("applying the node's GuardNode")?;
            if written.at.is_none() {
                written.status = known.status.unwrap_or_default();
            }
            written.addresses = Some(addresses);
        }
        let status = self.status(&written.status);
        if is_due(&status, written, Instant::now()) {
            let status = GuardNodeStatus { last_seen: Some(Time(Timestamp::now())), ..status };
            let patch = Patch::Merge(json!({"status": status}));
            nodes.patch_status(&self.node, &PatchParams::default(), &patch).await.context("patching its status")?;
            (written.status, written.at) = (status, Some(Instant::now()));
        }
        Ok(())
    }

    async fn object(&self, addresses: &BTreeSet<IpAddr>) -> Result<GuardNode> {
        let node = Api::<Node>::all(self.client.clone()).get(&self.node).await.context("reading the Node")?;
        let mut object = GuardNode::new(
            &self.node,
            GuardNodeSpec { addresses: addresses.iter().map(ToString::to_string).collect() },
        );
        object.metadata = ObjectMeta {
            name: Some(self.node.clone()),
            // It goes with the node.
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: self.node.clone(),
                uid: node.metadata.uid.context("every Node has a uid")?,
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        };
        Ok(object)
    }

    fn status(&self, before: &GuardNodeStatus) -> GuardNodeStatus {
        let policies = self.policies.load();
        let validity = self.serving.validity();
        let served = i32::try_from(self.metrics.agents.get()).unwrap_or(i32::MAX);
        let enrolled = i32::try_from(self.registry.len()).unwrap_or(i32::MAX);
        let ready = match self.readiness.waits_for() {
            None => condition("Ready", Ok(("Guarding", "Agent pods of this node are guarded."))),
            Some(reason) => condition("Ready", Err(("Waiting", &*reason))),
        };
        let certificate = if self.serving.is_valid(SystemTime::now()) {
            condition("CertificateValid", Ok(("Valid", "Agents are shown a certificate that is valid.")))
        } else {
            let message = "There is no certificate that agents could accept; does `guard control` run?";
            condition("CertificateValid", Err(("NoCertificate", message)))
        };
        let accepted = match &policies.error {
            None => condition("PolicyAccepted", Ok(("Compiled", "The policies that are configured decide."))),
            Some(error) => condition("PolicyAccepted", Err(("NotCompiled", error))),
        };
        GuardNodeStatus {
            last_seen: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            agents: served,
            cut_off: enrolled.saturating_sub(served).max(0),
            enforcement: self.enforcement.to_owned(),
            policies: policies.digest.clone(),
            certificate_not_after: validity.and_then(|(_, until)| Timestamp::try_from(until).ok()).map(Time),
            conditions: [ready, certificate, accepted].map(|new| since(new, before)).to_vec(),
            agent_pods: self.registry.agent_pods(),
            clients: self.clients.list(),
        }
    }
}

fn is_due(status: &GuardNodeStatus, written: &Written, now: Instant) -> bool {
    let Some(at) = written.at else { return true };
    let age = now.saturating_duration_since(at);
    let without_numbers = |status: &GuardNodeStatus| GuardNodeStatus {
        last_seen: None,
        agents: 0,
        cut_off: 0,
        agent_pods: Vec::new(),
        clients: Vec::new(),
        ..status.clone()
    };
    // Who talks to the API server, not how much: that changes with every look.
    let clients = |status: &GuardNodeStatus| status.clients.iter().map(|client| client.uid.clone()).collect::<Vec<_>>();
    let numbers =
        |status: &GuardNodeStatus| (status.agents, status.cut_off, status.agent_pods.clone(), clients(status));
    age >= HEARTBEAT
        || without_numbers(status) != without_numbers(&written.status)
        || (numbers(status) != numbers(&written.status) && age >= NUMBERS)
}

fn condition(kind: &str, state: Result<(&str, &str), (&str, &str)>) -> Condition {
    let (status, (reason, message)) = match state {
        Ok(said) => ("True", said),
        Err(said) => ("False", said),
    };
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(Timestamp::now()),
    }
}

/// It keeps the time of its last change of status.
fn since(new: Condition, before: &GuardNodeStatus) -> Condition {
    match before.condition(&new.kind) {
        Some(old) if old.status == new.status => {
            Condition { last_transition_time: old.last_transition_time.clone(), ..new }
        }
        _ => new,
    }
}

/// Addresses of the node that a packet from elsewhere may be for.
fn reachable(interfaces: &[Interface]) -> BTreeSet<IpAddr> {
    let all = interfaces
        .iter()
        .filter(|interface| interface.up && interface.kind != Kind::Loopback && interface.name != KUBE_IPVS)
        .flat_map(|interface| interface.addresses.iter().copied());
    all.filter(|address| !is_local(*address)).take(MAX_ADDRESSES).collect()
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, kind: Kind, addresses: &[&str]) -> Interface {
        Interface {
            name: name.to_owned(),
            index: 1,
            kind,
            peer_index: None,
            peer_netns: None,
            mac: None,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            up: true,
        }
    }

    #[test]
    fn addresses_that_pods_elsewhere_can_reach_are_told() {
        let device = || Kind::Other("device".to_owned());
        let told = reachable(&[
            interface("lo", Kind::Loopback, &["127.0.0.1", "10.9.9.9"]),
            interface("eth0", device(), &["192.0.2.1", "fe80::1", "2001:db8::1"]),
            interface("eth1", device(), &["198.51.100.1", "169.254.7.7"]),
            interface("kube-ipvs0", Kind::Other("dummy".to_owned()), &["10.96.0.1"]),
            interface("cni0", Kind::Other("bridge".to_owned()), &["10.244.1.1"]),
        ]);
        let expected = ["10.244.1.1", "192.0.2.1", "198.51.100.1", "2001:db8::1"];
        assert_eq!(told, expected.map(|address| address.parse().unwrap()).into());
    }

    #[test]
    fn no_number_of_addresses_is_told_without_bound() {
        let many: Vec<String> = (0..1000).map(|number| format!("10.1.{}.{}", number / 250, number % 250)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(reachable(&[interface("eth0", Kind::Other("device".to_owned()), &many)]).len(), MAX_ADDRESSES);
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let old = Condition {
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            ..condition("Ready", Ok(("Guarding", "yes")))
        };
        let before = GuardNodeStatus { conditions: vec![old], ..GuardNodeStatus::default() };
        let same = since(condition("Ready", Ok(("Guarding", "still"))), &before);
        assert_eq!((same.last_transition_time.0, same.message.as_str()), (Timestamp::UNIX_EPOCH, "still"));
        let other = since(condition("Ready", Err(("Waiting", "no"))), &before);
        assert_ne!(other.last_transition_time.0, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn numbers_alone_are_written_now_and_then_and_a_condition_at_once() {
        let now = Instant::now();
        let status = GuardNodeStatus { version: "1".to_owned(), ..GuardNodeStatus::default() };
        let written = Written { status: status.clone(), at: Some(now), addresses: None };
        assert!(!is_due(&status, &written, now + LOOK));
        let more = GuardNodeStatus { agents: 3, ..status.clone() };
        assert!(!is_due(&more, &written, now + LOOK) && is_due(&more, &written, now + NUMBERS));
        let other = GuardNodeStatus { conditions: vec![condition("Ready", Err(("Waiting", "x")))], ..status.clone() };
        assert!(is_due(&other, &written, now + LOOK));
        assert!(is_due(&status, &written, now + HEARTBEAT));
        assert!(is_due(&status, &Written::default(), now));
    }
}
