use std::io;
use std::sync::Mutex;

use guard_kernel::netns::Netns;

use super::*;
use crate::pod::Violation;

/// Writes down what it was asked for; fails the steps that it is told to fail.
#[derive(Default)]
struct Fake {
    steps: Arc<Mutex<Vec<String>>>,
    failing: Mutex<Option<&'static str>>,
}

/// Says in the same list when it is dropped.
struct FakeDoor(Arc<Mutex<Vec<String>>>);

impl Drop for FakeDoor {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("close door".to_owned());
    }
}

impl Fake {
    fn step(&self, step: &'static str) -> io::Result<()> {
        self.steps.lock().unwrap().push(step.to_owned());
        if *self.failing.lock().unwrap() == Some(step) { Err(io::Error::other(step)) } else { Ok(()) }
    }

    fn steps(&self) -> Vec<String> {
        std::mem::take(&mut *self.steps.lock().unwrap())
    }
}

impl Enforcement for Fake {
    type Door = FakeDoor;
    type Error = io::Error;

    fn attach_cgroup(&self, _: &PodRecord, cgroup: &PodCgroup) -> io::Result<WorkloadId> {
        self.step("attach cgroup").map(|()| WorkloadId(cgroup.id))
    }

    fn attach_network(&self, _: WorkloadId, _: &Arc<Network>) -> io::Result<()> {
        self.step("attach network")
    }

    fn open_door(&self, _: Arc<Workload>, _: &PodCgroup, _: &Arc<Network>) -> io::Result<FakeDoor> {
        self.step("open door").map(|()| FakeDoor(Arc::clone(&self.steps)))
    }

    fn release(&self, _: &PodUid) -> io::Result<()> {
        self.step("release")
    }
}

fn record() -> PodRecord {
    let pod = serde_json::from_value(serde_json::json!({
        "metadata": {"namespace": "a", "name": "bot", "uid": "4c0f-1", "labels": {"egressguard.io/agent": "ci-bot"}},
        "spec": {"nodeName": "n1", "containers": [], "volumes": [{"name": "egress-guard-upstream"}]},
    }));
    PodRecord::from_object(&pod.unwrap()).unwrap()
}

fn cgroup() -> PodCgroup {
    PodCgroup { path: "/kubepods/pod4c0f-1".into(), id: 42 }
}

/// A namespace that passes for the pod's, with a number of its own.
fn network(ino: u64) -> Arc<Network> {
    Arc::new(Network { netns: Netns::current().unwrap(), id: NetnsId { dev: 4, ino }, sides: Vec::new() })
}

fn start(pod: PodRecord) -> (Arc<Fake>, Lifecycle<Fake>) {
    let fake = Arc::new(Fake::default());
    (Arc::clone(&fake), Lifecycle::new(fake, pod))
}

#[test]
fn a_pod_is_closed_before_its_door_opens() {
    let (fake, mut pod) = start(record());
    assert_eq!(pod.cgroup_found(&cgroup()).unwrap(), None);
    assert_eq!(pod.network_found(&cgroup(), &network(7)).unwrap(), Some(Notice::Guarded));
    assert_eq!(fake.steps(), ["attach cgroup", "attach network", "open door"]);
    assert!(pod.is_settled(network(7).id));
    assert!(!pod.is_settled(network(8).id));
}

#[test]
fn a_pod_is_released_after_its_door_has_closed() {
    let (fake, mut pod) = start(record());
    pod.cgroup_found(&cgroup()).unwrap();
    pod.network_found(&cgroup(), &network(7)).unwrap();
    fake.steps();
    pod.release().unwrap();
    assert_eq!(fake.steps(), ["close door", "release"]);
    assert!(matches!(pod.stage(), Stage::Released));
}

#[test]
fn a_sandbox_made_anew_gets_a_door_of_its_own() {
    let (fake, mut pod) = start(record());
    pod.cgroup_found(&cgroup()).unwrap();
    pod.network_found(&cgroup(), &network(7)).unwrap();
    fake.steps();
    assert_eq!(pod.network_found(&cgroup(), &network(8)).unwrap(), Some(Notice::Guarded));
    assert_eq!(fake.steps(), ["close door", "attach network", "open door"]);
}

#[test]
fn a_pod_whose_packets_cannot_be_filtered_gets_no_door() {
    let (fake, mut pod) = start(record());
    pod.cgroup_found(&cgroup()).unwrap();
    *fake.failing.lock().unwrap() = Some("attach network");
    assert!(pod.network_found(&cgroup(), &network(7)).is_err());
    assert_eq!(fake.steps(), ["attach cgroup", "attach network"]);
    assert!(!pod.is_settled(network(7).id), "it is tried again");
}

#[test]
fn a_pod_on_the_nodes_network_is_closed_and_refused() {
    let (fake, mut pod) = start(PodRecord { host_network: true, ..record() });
    assert_eq!(pod.cgroup_found(&cgroup()).unwrap(), Some(Notice::Refused(Refusal::HostNetwork)));
    assert_eq!(fake.steps(), ["attach cgroup"]);
    assert!(pod.is_settled(network(7).id));
}

#[test]
fn a_late_label_closes_the_pod_and_opens_nothing() {
    let (fake, mut pod) = start(PodRecord { has_upstream_volume: false, ..record() });
    pod.cgroup_found(&cgroup()).unwrap();
    let notice = pod.network_found(&cgroup(), &network(7)).unwrap().unwrap();
    assert_eq!(notice.reason(), "AgentCutOff");
    assert!(notice.message().contains("recreate the pod"));
    assert_eq!(fake.steps(), ["attach cgroup", "attach network"]);
}

#[test]
fn a_pod_that_loses_its_label_keeps_its_guard_until_deleted() {
    let (fake, mut pod) = start(record());
    pod.cgroup_found(&cgroup()).unwrap();
    pod.network_found(&cgroup(), &network(7)).unwrap();
    fake.steps();
    pod.update(PodRecord { class: None, ..record() });
    assert_eq!(pod.pod().class, record().class);
    assert!(pod.is_settled(network(7).id));
    assert_eq!(fake.steps(), [] as [&str; 0]);
}

#[test]
fn a_pod_that_lost_its_label_unseen_stays_closed_until_it_has_one_again() {
    let (fake, mut pod) = start(PodRecord { class: None, ..record() });
    pod.cgroup_found(&cgroup()).unwrap();
    assert_eq!(pod.network_found(&cgroup(), &network(7)).unwrap(), Some(Notice::Refused(Refusal::LabelRemoved)));
    assert_eq!(fake.steps(), ["attach cgroup", "attach network"]);
    pod.update(record());
    assert!(!pod.is_settled(network(7).id));
    assert_eq!(pod.network_found(&cgroup(), &network(7)).unwrap(), Some(Notice::Guarded));
}

#[test]
fn a_refused_network_closes_the_door_that_was_open() {
    let (fake, mut pod) = start(record());
    pod.cgroup_found(&cgroup()).unwrap();
    pod.network_found(&cgroup(), &network(7)).unwrap();
    fake.steps();
    let refusal = Refusal::SharedNetwork { other: "1".parse().unwrap() };
    assert_eq!(pod.network_refused(network(8).id, refusal.clone()), Some(Notice::Refused(refusal)));
    assert_eq!(fake.steps(), ["close door"]);
}

#[test]
fn a_release_that_failed_is_tried_again() {
    let (fake, mut pod) = start(record());
    pod.cgroup_found(&cgroup()).unwrap();
    *fake.failing.lock().unwrap() = Some("release");
    assert!(pod.release().is_err());
    *fake.failing.lock().unwrap() = None;
    pod.release().unwrap();
    assert_eq!(fake.steps(), ["attach cgroup", "release", "release"]);
}

#[test]
fn nothing_is_opened_for_a_pod_that_is_not_attached() {
    let (fake, mut pod) = start(record());
    assert_eq!(pod.network_found(&cgroup(), &network(7)).unwrap(), None);
    assert_eq!(fake.steps(), [] as [&str; 0]);
}

fn unsafe_record() -> PodRecord {
    let violation = Violation { rule: "host-pid".to_owned(), message: "hostPID shows the node's processes".to_owned() };
    PodRecord { violation: Some(violation), ..record() }
}

#[test]
fn a_pod_that_admission_would_have_refused_is_closed_and_the_rule_is_named() {
    let (fake, mut pod) = start(unsafe_record());
    pod.cgroup_found(&cgroup()).unwrap();
    let notice = pod.network_found(&cgroup(), &network(7)).unwrap().unwrap();
    assert_eq!(notice.reason(), "AgentUnsafe");
    assert!(notice.message().contains("host-pid") && notice.message().contains("the node's processes"));
    assert_eq!(fake.steps(), ["attach cgroup", "attach network"]);
    assert!(pod.is_settled(network(7).id));
}

#[test]
fn a_pod_that_becomes_unsafe_loses_its_door_and_gets_it_back_when_that_is_gone() {
    let (fake, mut pod) = start(record());
    pod.cgroup_found(&cgroup()).unwrap();
    pod.network_found(&cgroup(), &network(7)).unwrap();
    fake.steps();
    pod.update(unsafe_record());
    assert_eq!(fake.steps(), ["close door"]);
    assert!(!pod.is_settled(network(7).id));
    assert_eq!(pod.network_found(&cgroup(), &network(7)).unwrap().unwrap().reason(), "AgentUnsafe");
    pod.update(PodRecord { class: None, violation: None, ..record() });
    assert!(pod.is_settled(network(7).id), "taking the label off makes nothing right");
    pod.update(record());
    assert_eq!(pod.network_found(&cgroup(), &network(7)).unwrap(), Some(Notice::Guarded));
}
