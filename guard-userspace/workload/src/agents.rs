//! All agent pods of one node: from the API server's view of the node to one keeper per pod.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use guard_api::AGENT_LABEL;
use guard_identity::PodUid;
use guard_kernel::netns::Netns;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::changes::Watcher;
use crate::keeper::{Announce, Keeper, LINGER, Surroundings, Wanted};
use crate::lifecycle::Enforcement;
use crate::pod::{Judge, PodRecord};
use crate::pod_cgroup::CgroupTree;
use crate::processes;

/// How often is looked whether a pod that no object exists for has ended.
const POLL: Duration = Duration::from_secs(1);

/// The agent pods of one node.
pub struct Agents<E: Enforcement> {
    node: Arc<Surroundings<E>>,
    /// Pods that an earlier run has left in the kernel and whose objects were not seen yet.
    enrolled: HashSet<PodUid>,
    pods: HashMap<PodUid, Known>,
    /// Pods named since the watch began anew.
    listed: HashSet<PodUid>,
    /// What calls itself a mirror is heard last: the pods that it may claim to be have their places by then.
    mirrors: Vec<(Arc<Pod>, PodRecord)>,
    /// The labels of namespaces that have the agent label.
    namespaces: HashMap<String, BTreeMap<String, String>>,
    judge: Arc<dyn Judge>,
    keepers: JoinSet<PodUid>,
}

/// A pod of the node, by the uid that the node knows it by.
struct Known {
    /// The object's own uid. Another object that claims the same place on the node is refused, unless the place is its own.
    object: PodUid,
    /// As it was seen last: its namespace's label may change what it is.
    seen: Arc<Pod>,
    /// An earlier run has left it in the kernel: there was a label once.
    enrolled: bool,
    /// To its keeper, if it is an agent.
    keeper: Option<watch::Sender<Wanted>>,
}

impl<E: Enforcement> Agents<E> {
    /// No pods yet. Called on the runtime that everything about them then runs on, which has several threads.
    ///
    /// `enrolled` names those that an earlier run left in the kernel; `netns` is the node's own namespace, where the veth pairs
    /// of pods end and which is never guarded.
    pub fn new(
        cgroups: CgroupTree,
        netns: Arc<Netns>,
        enforcement: Arc<E>,
        announce: Arc<dyn Announce>,
        judge: Arc<dyn Judge>,
        enrolled: impl IntoIterator<Item = PodUid>,
    ) -> Result<Self, guard_kernel::Error> {
        let netns_id = netns.identity()?;
        Ok(Self {
            node: Arc::new(Surroundings { cgroups, netns, netns_id, watcher: Watcher::new(), enforcement, announce }),
            enrolled: enrolled.into_iter().collect(),
            pods: HashMap::new(),
            listed: HashSet::new(),
            mirrors: Vec::new(),
            namespaces: HashMap::new(),
            judge,
            keepers: JoinSet::new(),
        })
    }

    /// Follows the pods of this node until dropped, which leaves the kernel's part of the guard in place.
    ///
    /// `synced` is called each time the API server has named them all.
    pub async fn run(self, client: Client, node: &str, synced: impl FnMut()) {
        let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        let pods = watcher(Api::<Pod>::all(client.clone()), config).default_backoff();
        let labelled = watcher::Config::default().labels(AGENT_LABEL);
        let namespaces = watcher(Api::<PartialObjectMeta<Namespace>>::all(client), labelled).default_backoff();
        self.follow(namespaces, pods, synced).await;
    }

    async fn follow(
        mut self,
        namespaces: impl Stream<Item = watcher::Result<watcher::Event<PartialObjectMeta<Namespace>>>>,
        pods: impl Stream<Item = watcher::Result<watcher::Event<Pod>>>,
        mut synced: impl FnMut(),
    ) {
        let (mut namespaces, mut pods) = (std::pin::pin!(namespaces), std::pin::pin!(pods));
        let mut listing = HashMap::new();
        // A pod that is an agent by its namespace would otherwise seem to have lost its label while no guard was watching.
        let mut namespaces_known = false;
        loop {
            tokio::select! {
                event = namespaces.next() => match event {
                    Some(Ok(event)) => namespaces_known |= self.apply_namespace(event, &mut listing),
                    Some(Err(error)) => {
                        tracing::warn!(%error, "watching the namespaces with the agent label failed; the watch goes on by itself");
                    }
                    None => return,
                },
                event = pods.next(), if namespaces_known => match event {
                    Some(Ok(event)) => {
                        let done = matches!(event, watcher::Event::InitDone);
                        self.apply(event);
                        if done {
                            synced();
                        }
                    }
                    Some(Err(error)) => tracing::warn!(%error, "watching the pods of this node failed; the watch goes on by itself"),
                    None => return,
                },
                Some(ended) = self.keepers.join_next() => match ended {
                    Ok(uid) => self.ended(&uid),
                    Err(error) => tracing::error!(%error, "the keeper of a pod has failed; the pod stays closed"),
                },
            }
        }
    }

    /// Whether all labelled namespaces are known now.
    fn apply_namespace(
        &mut self,
        event: watcher::Event<PartialObjectMeta<Namespace>>,
        listing: &mut HashMap<String, BTreeMap<String, String>>,
    ) -> bool {
        let read = |namespace: PartialObjectMeta<Namespace>| {
            (namespace.metadata.name.unwrap_or_default(), namespace.metadata.labels.unwrap_or_default())
        };
        match event {
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(namespace) => listing.extend([read(namespace)]),
            watcher::Event::InitDone => {
                let before = std::mem::replace(&mut self.namespaces, std::mem::take(listing));
                let all: HashSet<String> = before.keys().chain(self.namespaces.keys()).cloned().collect();
                for name in
                    all.into_iter().filter(|name| before.get(name) != self.namespaces.get(name)).collect::<Vec<_>>()
                {
                    self.judge_anew(&name);
                }
                return true;
            }
            watcher::Event::Apply(namespace) => {
                let (name, labels) = read(namespace);
                if self.namespaces.get(&name) != Some(&labels) {
                    self.namespaces.insert(name.clone(), labels);
                    self.judge_anew(&name);
                }
            }
            // Its label is gone, too, when the watch says so. Pods keep their guard.
            watcher::Event::Delete(namespace) => {
                let (name, _) = read(namespace);
                self.namespaces.remove(&name);
                self.judge_anew(&name);
            }
        }
        false
    }

    /// The label of their namespace has changed.
    fn judge_anew(&mut self, namespace: &str) {
        let is_in = |known: &&Known| known.seen.metadata.namespace.as_deref() == Some(namespace);
        let pods: Vec<_> = self.pods.values().filter(is_in).map(|known| Arc::clone(&known.seen)).collect();
        for pod in pods {
            if let Some(record) = self.understood(&pod) {
                self.upsert(pod, record);
            }
        }
    }

    fn understood(&self, pod: &Pod) -> Option<PodRecord> {
        let labels = pod.metadata.namespace.as_ref().and_then(|namespace| self.namespaces.get(namespace));
        let none = BTreeMap::new();
        PodRecord::judged(pod, labels.unwrap_or(&none), self.judge.as_ref())
            .inspect_err(|error| {
                tracing::warn!(name = ?pod.metadata.name, %error, "a pod of this node can't be understood");
            })
            .ok()
    }

    fn apply(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => {
                self.listed.clear();
                self.mirrors.clear();
            }
            watcher::Event::InitApply(pod) => match self.understood(&pod) {
                Some(record) if record.is_mirror() => self.mirrors.push((Arc::new(pod), record)),
                Some(record) => self.upsert(Arc::new(pod), record),
                None => {}
            },
            watcher::Event::Apply(pod) => {
                if let Some(record) = self.understood(&pod) {
                    self.upsert(Arc::new(pod), record);
                }
            }
            watcher::Event::Delete(pod) => match PodRecord::from_object(&pod) {
                Ok(record) => self.deleted(&record.node_uid, &record.identity.uid),
                Err(error) => tracing::warn!(name = ?pod.metadata.name, %error, "a deleted pod can't be understood"),
            },
            watcher::Event::InitDone => {
                let mut mirrors = std::mem::take(&mut self.mirrors);
                // The kubelet makes its own before anybody can know the uid.
                mirrors.sort_by(|(_, one), (_, other)| one.created.cmp(&other.created));
                for (object, mirror) in mirrors {
                    self.upsert(object, mirror);
                }
                self.all_listed();
            }
        }
    }

    fn upsert(&mut self, seen: Arc<Pod>, pod: PodRecord) {
        let uid = pod.node_uid.clone();
        let known = self.pods.entry(uid.clone()).or_insert_with(|| Known {
            object: pod.identity.uid.clone(),
            seen: Arc::clone(&seen),
            enrolled: self.enrolled.remove(&uid),
            keeper: None,
        });
        if known.object != pod.identity.uid {
            if pod.is_mirror() {
                tracing::warn!(pod = %pod.identity, other = %known.object, "the pod claims the place of another on this node and is ignored");
                return;
            }
            tracing::warn!(pod = %pod.identity, other = %known.object, "the pod takes its place on this node back from one that claimed it");
            known.object = pod.identity.uid.clone();
        }
        known.seen = seen;
        self.listed.insert(uid.clone());
        match &known.keeper {
            Some(keeper) => {
                // The label was the other's: nothing had to be attached to this pod.
                let withdrawn = pod.class.is_none() && !known.enrolled && keeper.borrow().pod.identity != pod.identity;
                keeper.send_modify(|wanted| {
                    *wanted = Wanted { withdrawn: wanted.withdrawn || withdrawn, ..Wanted::of(pod) }
                });
            }
            None if known.enrolled || (pod.class.is_some() && !pod.ended) => {
                let (sender, receiver) = watch::channel(Wanted::of(pod));
                known.keeper = Some(sender);
                let keeper = Keeper::new(Arc::clone(&self.node), receiver);
                self.keepers.spawn(async move {
                    keeper.run().await;
                    uid
                });
            }
            None => {}
        }
    }

    fn deleted(&mut self, uid: &PodUid, object: &PodUid) {
        let Some(known) = self.pods.get(uid).filter(|known| known.object == *object) else { return };
        match &known.keeper {
            Some(keeper) => keeper.send_modify(|wanted| wanted.deleted = true),
            None => {
                self.pods.remove(uid);
            }
        }
    }

    /// What was not named is gone, and what an earlier run left behind belongs to nobody.
    fn all_listed(&mut self) {
        let gone: Vec<_> = self
            .pods
            .iter()
            .filter(|(uid, _)| !self.listed.contains(*uid))
            .map(|(uid, known)| (uid.clone(), known.object.clone()))
            .collect();
        for (uid, object) in gone {
            self.deleted(&uid, &object);
        }
        for uid in self.enrolled.drain() {
            tracing::info!(%uid, "enrolled by an earlier run, and no such pod any more");
            self.keepers.spawn(release_when_empty(Arc::clone(&self.node), uid));
        }
    }

    /// A keeper has released its pod.
    fn ended(&mut self, uid: &PodUid) {
        let deleted = |known: &Known| known.keeper.as_ref().is_none_or(|keeper| keeper.borrow().deleted);
        if self.pods.get(uid).is_some_and(deleted) {
            self.pods.remove(uid);
        } else if let Some(known) = self.pods.get_mut(uid) {
            // Ended, but the object is still there: were it to come back to life, its next change would find it without a keeper.
            known.enrolled = false;
            let last = known.keeper.take().map(|keeper| keeper.borrow().clone());
            let seen = Arc::clone(&known.seen);
            // It was withdrawn, and was given a label of its own meanwhile.
            if let Some(Wanted { pod, withdrawn: true, .. }) = last {
                self.upsert(seen, pod);
            }
        }
    }
}

/// The object is gone; its last processes may not be, and its first may be about to start.
async fn release_when_empty<E: Enforcement>(node: Arc<Surroundings<E>>, uid: PodUid) -> PodUid {
    let mut leave = Instant::now() + LINGER;
    loop {
        let cgroup = node.cgroups.find(&uid, None);
        if cgroup.as_ref().is_some_and(|cgroup| !processes::is_empty(&cgroup.path)) {
            leave = Instant::now() + LINGER;
        }
        if cgroup.is_none() || leave <= Instant::now() {
            match node.enforcement.release(&uid) {
                Ok(()) => return uid,
                Err(error) => tracing::warn!(%uid, %error, "releasing a pod that is gone failed; tried again"),
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests;
