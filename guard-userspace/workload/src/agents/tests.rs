use std::io;
use std::path::Path;
use std::sync::Mutex;

use guard_identity::{PodIdentity, Workload, WorkloadId};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::lifecycle::Notice;
use crate::network::Network;
use crate::pod_cgroup::PodCgroup;

const WAIT: Duration = Duration::from_secs(20);

/// Writes down which pods were attached and released.
#[derive(Default)]
struct Fake(Mutex<Vec<String>>);

impl Enforcement for Fake {
    type Door = ();
    type Error = io::Error;

    fn attach_cgroup(&self, pod: &PodRecord, cgroup: &PodCgroup) -> io::Result<WorkloadId> {
        self.0.lock().unwrap().push(format!("attach {} as {}", pod.node_uid, pod.identity.name));
        Ok(WorkloadId(cgroup.id))
    }

    fn attach_network(&self, _: WorkloadId, _: &Arc<Network>) -> io::Result<()> {
        Ok(())
    }

    fn open_door(&self, _: Arc<Workload>, _: &PodCgroup, _: &Arc<Network>) -> io::Result<()> {
        Ok(())
    }

    fn release(&self, pod: &PodUid) -> io::Result<()> {
        self.0.lock().unwrap().push(format!("release {pod}"));
        Ok(())
    }
}

/// A namespace's label is a class.
impl Judge for Fake {
    fn class(&self, _: &Pod, namespace: &BTreeMap<String, String>) -> Option<guard_identity::AgentClass> {
        namespace.get(AGENT_LABEL)?.parse().ok()
    }

    fn violation(&self, _: &Pod, _: &BTreeMap<String, String>) -> Option<crate::pod::Violation> {
        None
    }
}

impl Announce for Fake {
    fn announce(&self, _: &PodIdentity, _: &Notice) {}
}

/// Agents of a node whose cgroups are directories in a temporary one.
struct Node {
    root: tempfile::TempDir,
    fake: Arc<Fake>,
    events: mpsc::UnboundedSender<watcher::Event<Pod>>,
    namespaces: mpsc::UnboundedSender<watcher::Event<PartialObjectMeta<Namespace>>>,
}

impl Node {
    fn start(enrolled: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("kubepods")).unwrap();
        let fake = Arc::new(Fake::default());
        let agents = Agents::new(
            CgroupTree::new(root.path().to_owned()),
            Arc::new(Netns::current().unwrap()),
            Arc::clone(&fake),
            Arc::clone(&fake) as Arc<dyn Announce>,
            Arc::clone(&fake) as Arc<dyn Judge>,
            enrolled.iter().map(|uid| uid.parse().unwrap()),
        )
        .unwrap();
        let (events, mut receiver) = mpsc::unbounded_channel();
        let stream = futures::stream::poll_fn(move |context| receiver.poll_recv(context).map(|event| event.map(Ok)));
        let (namespaces, mut labelled) = mpsc::unbounded_channel();
        let known = futures::stream::poll_fn(move |context| labelled.poll_recv(context).map(|event| event.map(Ok)));
        tokio::spawn(agents.follow(known, stream, || {}));
        namespaces.send(watcher::Event::InitDone).expect("the agents listen");
        Self { root, fake, events, namespaces }
    }

    fn send(&self, event: watcher::Event<Pod>) {
        self.events.send(event).unwrap();
    }

    fn make_cgroup(&self, uid: &str, populated: bool) {
        let path = self.cgroup(uid);
        std::fs::create_dir_all(&path).unwrap();
        populate(&path, populated);
    }

    fn cgroup(&self, uid: &str) -> std::path::PathBuf {
        self.root.path().join(format!("kubepods/pod{uid}"))
    }

    fn steps(&self) -> Vec<String> {
        self.fake.0.lock().unwrap().clone()
    }

    async fn wait_for(&self, steps: &[&str]) {
        let reached = tokio::time::timeout(WAIT, async {
            while self.steps() != steps {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(reached.await.is_ok(), "expected {steps:?}, saw {:?}", self.steps());
    }
}

fn populate(cgroup: &Path, populated: bool) {
    std::fs::write(cgroup.join("cgroup.events"), format!("populated {}\n", u8::from(populated))).unwrap();
}

fn pod(uid: &str, label: bool) -> Pod {
    let labels = if label { json!({"egressguard.io/agent": "ci"}) } else { json!({}) };
    serde_json::from_value(json!({
        "metadata": {"namespace": "a", "name": uid, "uid": uid, "labels": labels},
        "spec": {"nodeName": "n1", "containers": []},
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_attached_when_its_cgroup_appears_and_an_ordinary_pod_never() {
    let node = Node::start(&[]);
    node.send(watcher::Event::Apply(pod("agent", true)));
    node.send(watcher::Event::Apply(pod("web", false)));
    node.make_cgroup("web", true);
    node.make_cgroup("agent", false);
    node.wait_for(&["attach agent as agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_is_released_only_after_its_last_process() {
    let node = Node::start(&[]);
    node.make_cgroup("agent", true);
    node.send(watcher::Event::Apply(pod("agent", true)));
    node.wait_for(&["attach agent as agent"]).await;
    node.send(watcher::Event::Delete(pod("agent", true)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(node.steps(), ["attach agent as agent"]);
    // No process: the kubelet may be about to start one.
    populate(&node.cgroup("agent"), false);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(node.steps(), ["attach agent as agent"]);
    std::fs::remove_dir_all(node.cgroup("agent")).unwrap();
    node.wait_for(&["attach agent as agent", "release agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_said_to_have_ended_stays_closed_while_its_processes_run() {
    let node = Node::start(&[]);
    node.make_cgroup("agent", true);
    node.send(watcher::Event::Apply(pod("agent", true)));
    node.wait_for(&["attach agent as agent"]).await;
    let mut ended = pod("agent", true);
    ended.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    node.send(watcher::Event::Apply(ended));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(node.steps(), ["attach agent as agent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_left_is_adopted_or_released() {
    let node = Node::start(&["living", "gone", "dying"]);
    node.make_cgroup("living", true);
    node.make_cgroup("dying", true);
    node.send(watcher::Event::Init);
    node.send(watcher::Event::InitApply(pod("living", false)));
    node.wait_for(&["attach living as living"]).await;
    node.send(watcher::Event::InitDone);
    node.wait_for(&["attach living as living", "release gone"]).await;
    std::fs::remove_dir_all(node.cgroup("dying")).unwrap();
    node.wait_for(&["attach living as living", "release gone", "release dying"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_vanished_while_the_watch_was_broken_is_released() {
    let node = Node::start(&[]);
    node.make_cgroup("agent", false);
    node.send(watcher::Event::Apply(pod("agent", true)));
    node.wait_for(&["attach agent as agent"]).await;
    node.send(watcher::Event::Init);
    node.send(watcher::Event::InitDone);
    std::fs::remove_dir_all(node.cgroup("agent")).unwrap();
    node.wait_for(&["attach agent as agent", "release agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_claims_the_place_of_another_is_ignored() {
    let node = Node::start(&[]);
    node.make_cgroup("web", true);
    node.send(watcher::Event::Apply(pod("web", false)));
    node.send(watcher::Event::Apply(thief("web", true)));
    node.make_cgroup("agent", true);
    node.send(watcher::Event::Apply(pod("agent", true)));
    node.wait_for(&["attach agent as agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_guarded_though_another_object_claimed_its_place_before_it_came_to_the_node() {
    let node = Node::start(&[]);
    node.send(watcher::Event::Apply(thief("agent", false)));
    node.send(watcher::Event::Apply(pod("agent", true)));
    node.make_cgroup("agent", true);
    node.wait_for(&["attach agent as agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_its_own_name_again_after_another_object_had_claimed_its_place() {
    let node = Node::start(&[]);
    node.make_cgroup("agent", true);
    node.send(watcher::Event::Apply(thief("agent", true)));
    node.wait_for(&["attach agent as thief"]).await;
    node.send(watcher::Event::Apply(pod("agent", true)));
    node.wait_for(&["attach agent as thief", "attach agent as agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_pod_whose_place_an_agent_claimed_is_let_go() {
    let node = Node::start(&[]);
    node.make_cgroup("web", true);
    node.send(watcher::Event::Apply(thief("web", true)));
    node.wait_for(&["attach web as thief"]).await;
    node.send(watcher::Event::Apply(pod("web", false)));
    node.wait_for(&["attach web as thief", "release web"]).await;
    node.send(watcher::Event::Apply(pod("web", true)));
    node.wait_for(&["attach web as thief", "release web", "attach web as web"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_names_the_thief_first_gives_it_nothing() {
    let node = Node::start(&["agent"]);
    node.make_cgroup("web", true);
    node.make_cgroup("agent", true);
    node.send(watcher::Event::Init);
    node.send(watcher::Event::InitApply(thief("web", true)));
    node.send(watcher::Event::InitApply(thief("agent", false)));
    node.send(watcher::Event::InitApply(pod("web", false)));
    node.send(watcher::Event::InitApply(pod("agent", true)));
    node.send(watcher::Event::InitDone);
    node.wait_for(&["attach agent as agent"]).await;
}

/// An object that calls itself the mirror of another pod.
fn thief(of: &str, label: bool) -> Pod {
    let mut thief = pod("thief", label);
    thief.metadata.annotations = Some([("kubernetes.io/config.mirror".to_owned(), of.to_owned())].into());
    thief
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_never_closes_itself() {
    let node = Node::start(&[]);
    node.make_cgroup("guard", true);
    std::fs::write(node.cgroup("guard").join("cgroup.procs"), format!("{}\n", std::process::id())).unwrap();
    node.send(watcher::Event::Apply(pod("guard", true)));
    node.make_cgroup("agent", true);
    node.send(watcher::Event::Apply(pod("agent", true)));
    node.wait_for(&["attach agent as agent"]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(node.steps(), ["attach agent as agent"]);
}

fn namespace(labels: &serde_json::Value) -> PartialObjectMeta<Namespace> {
    serde_json::from_value(json!({"metadata": {"name": "a", "labels": labels}})).expect("a namespace's metadata")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespaces_label_makes_agents_of_the_pods_that_are_there_and_of_those_that_come() {
    let node = Node::start(&[]);
    node.make_cgroup("early", true);
    node.make_cgroup("late", true);
    node.send(watcher::Event::Apply(pod("early", false)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(node.steps(), [] as [&str; 0]);
    node.namespaces.send(watcher::Event::Apply(namespace(&json!({"egressguard.io/agent": "ci"})))).unwrap();
    node.wait_for(&["attach early as early"]).await;
    node.send(watcher::Event::Apply(pod("late", false)));
    node.wait_for(&["attach early as early", "attach late as late"]).await;
    // Without the label, who was guarded stays so.
    node.namespaces.send(watcher::Event::Delete(namespace(&json!({})))).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    node.make_cgroup("after", true);
    node.send(watcher::Event::Apply(pod("after", false)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(node.steps(), ["attach early as early", "attach late as late"]);
}

#[test]
fn the_class_of_its_namespace_shows_among_a_pods_labels() {
    let record =
        PodRecord::judged(&pod("x", false), &[(AGENT_LABEL.to_owned(), "ci".to_owned())].into(), &Fake::default());
    let record = record.unwrap();
    assert_eq!(record.class.map(|class| class.as_str().to_owned()).as_deref(), Some("ci"));
    assert_eq!(record.labels.get(AGENT_LABEL).map(String::as_str), Some("ci"), "policies select by labels");
}
