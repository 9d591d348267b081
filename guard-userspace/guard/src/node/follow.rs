//! Follows the cluster's control plane: every change becomes a new control-plane set in the kernel and new addresses to dial.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt, stream};
use guard_certificates::SanName;
use guard_kernel::kernel::{ControlPlaneSet, Entry, Service};
use k8s_openapi::api::core::v1::{Node, Service as ServiceObject};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::certificates::Certificates;
use super::config::ControlPlane;
use super::control_plane::View;
use super::doors::{Entrances, Targets};
use super::enforcement::SharedKernel;
use super::reported;
use crate::charge::Charge;

/// How often the nft table and the programs on the veths are looked after: somebody may have flushed or removed them.
const ENSURE: Duration = Duration::from_secs(10);

/// What follows from the control plane of now, for the rest of the guard.
pub(super) struct Current {
    /// The set that is in force.
    pub(super) set: ControlPlaneSet,
    /// What a gate must find refused or intercepted.
    pub(super) witnesses: Vec<SocketAddr>,
}

/// Keeps the kernel's set and the addresses of API servers up to date.
pub(super) struct Follower {
    pub(super) node: String,
    pub(super) configured: ControlPlane,
    /// The kubeconfig's own addresses of the API server.
    pub(super) server: Vec<SocketAddr>,
    pub(super) certificates: Certificates,
    pub(super) kernel: SharedKernel,
    pub(super) charge: Charge,
    pub(super) current: Arc<ArcSwap<Current>>,
    pub(super) upstream: watch::Sender<Vec<SocketAddr>>,
    /// Whom the guard's certificate has to be for.
    pub(super) names: watch::Sender<BTreeSet<SanName>>,
}

enum Change {
    Service(Objects<ServiceObject>),
    Slices(Objects<EndpointSlice>),
    Nodes(Objects<Node>),
    Certified(BTreeSet<IpAddr>),
    Entrances(Objects<Entrances>),
    Reported(BTreeMap<String, BTreeSet<IpAddr>>),
    Targets(Objects<Targets>),
    /// In the cluster; it was time to look after the kernel's side.
    Nothing,
}

/// What is kept of all objects of one watch, by namespace and name.
pub(crate) type Objects<V> = Arc<BTreeMap<(String, String), V>>;

impl Current {
    /// Nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self { set: ControlPlaneSet::default(), witnesses: Vec::new() }
    }
}

impl Follower {
    /// Never returns. `first` is told when the first whole set is in force.
    pub(super) async fn run(self, client: Client, first: watch::Sender<bool>) {
        let kubernetes = watcher::Config::default().fields("metadata.name=kubernetes");
        let slices = watcher::Config::default().labels("kubernetes.io/service-name=kubernetes");
        let mut changes = stream::select_all([
            objects(Api::<ServiceObject>::namespaced(client.clone(), "default"), kubernetes, |service| {
                Some(ServiceObject::clone(service))
            })
            .map(Change::Service)
            .boxed(),
            objects(Api::<EndpointSlice>::namespaced(client.clone(), "default"), slices, |slice| {
                Some(EndpointSlice::clone(slice))
            })
            .map(Change::Slices)
            .boxed(),
            objects(Api::<Node>::all(client.clone()), watcher::Config::default(), |node| Some(Node::clone(node)))
                .map(Change::Nodes)
                .boxed(),
            objects(Api::all(client.clone()), watcher::Config::default(), Entrances::of).map(Change::Entrances).boxed(),
            objects(Api::all(client.clone()), watcher::Config::default(), Targets::of).map(Change::Targets).boxed(),
            reported::addresses(client).map(Change::Reported).boxed(),
            self.certificates.addresses(self.upstream.subscribe()).map(Change::Certified).boxed(),
        ]);
        let (mut view, mut seen) = (View::default(), [false; 7]);
        let (mut applied, mut registered) = (None, true);
        // Not a pause without changes: a busy cluster has none.
        let mut ensure = tokio::time::interval(ENSURE);
        ensure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let change = tokio::select! {
                change = changes.next() => change,
                _ = ensure.tick() => {
                    // Another guard's rules and programs are its own to look after.
                    if let Ok(_charge) = self.charge.hold() {
                        self.look_after_netfilter(&mut applied);
                        self.look_after_veths();
                    }
                    Some(Change::Nothing)
                }
            };
            match &change {
                Some(Change::Service(services)) => {
                    seen[0] = true;
                    services.values().for_each(|service| view.set_service(service));
                }
                Some(Change::Slices(slices)) => {
                    seen[1] = true;
                    view.set_slices(slices.values());
                    self.dial(&view);
                }
                Some(Change::Nodes(nodes)) => {
                    seen[2] = true;
                    view.set_nodes(nodes.values());
                    let is_known = nodes.contains_key(&(String::new(), self.node.clone()));
                    if registered && !is_known {
                        tracing::warn!(
                            node = self.node,
                            "no Node has this name, so no pod is guarded here; is --node-name the kubelet's?"
                        );
                    }
                    registered = is_known;
                }
                Some(Change::Certified(addresses)) => {
                    seen[3] = true;
                    view.set_certified(addresses.clone());
                }
                Some(Change::Entrances(entrances)) => {
                    seen[4] = true;
                    view.set_entrances(BTreeMap::clone(entrances));
                }
                Some(Change::Targets(targets)) => {
                    seen[5] = true;
                    view.set_targets(BTreeMap::clone(targets));
                }
                Some(Change::Reported(addresses)) => {
                    seen[6] = true;
                    view.set_reported(addresses.clone());
                }
                Some(Change::Nothing) => {}
                None => return,
            }
            // Half a view would take entries of an earlier run out of the kernel.
            if seen == [true; 7] && applied.as_ref() != Some(&view) && self.apply(&view) {
                applied = Some(view.clone());
                first.send_replace(true);
            }
        }
    }

    /// The guard dials from the node, where the set does not apply: it need not wait for the kernel.
    fn dial(&self, view: &View) {
        let endpoints = view.endpoints();
        let servers = if endpoints.is_empty() { self.server.clone() } else { endpoints };
        self.upstream.send_if_modified(|current| {
            let is_new = *current != servers;
            *current = servers;
            is_new
        });
    }

    fn apply(&self, view: &View) -> bool {
        let names = view.names(&self.configured);
        self.names.send_if_modified(|known| {
            let is_new = *known != names;
            *known = names;
            is_new
        });
        let _charge = match self.charge.hold() {
            Ok(held) => held,
            Err(error) => {
                tracing::info!(%error, "the control-plane set stays as it is");
                return false;
            }
        };
        let mut set = view.control_plane(&self.node, &self.configured);
        set.entries.extend(
            self.server
                .iter()
                .filter(|server| !server.ip().is_loopback())
                .map(|server| Entry { address: server.ip(), service: Service::ApiServer { port: server.port() } }),
        );
        match self.kernel.lock().set_control_plane(&set) {
            Ok(()) => {
                tracing::info!(
                    entries = set.entries.len(),
                    local_ports = set.local_ports.len(),
                    "control-plane set in force"
                );
                self.current.store(Arc::new(Current { set, witnesses: view.witnesses(&self.node) }));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the control-plane set can't be changed; what was in force stays so, and this is tried again");
                false
            }
        }
    }

    /// Rules that came back have empty sets: the next change, or the next look, fills them.
    fn look_after_netfilter(&self, applied: &mut Option<View>) {
        match self.kernel.lock().ensure_netfilter() {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!("somebody had removed or altered the guard's nft table; it is back");
                *applied = None;
            }
            Err(error) => tracing::error!(%error, "the guard's nft table can't be looked after"),
        }
    }

    /// One by one: the kernel is locked for each alone, and one that can't be put right keeps no other from it.
    fn look_after_veths(&self) {
        let veths = self.kernel.lock().veths();
        for (index, pinned) in veths {
            let ensured = self.kernel.lock().ensure_veth(index);
            let (pod, workload) = (pinned.pod, pinned.workload);
            match ensured {
                Ok(None) => {}
                Ok(Some(interface)) => tracing::warn!(
                    uid = pod,
                    workload,
                    interface,
                    "somebody had removed the guard's program from the pod's veth, or put another before it; it is back, and first"
                ),
                Err(error) => {
                    tracing::error!(uid = pod, workload, index, %error, "the guard's program on the pod's veth can't be looked after");
                }
            }
        }
    }
}

/// What `keep` makes of all objects that match, each time one has changed. The first time when all are known.
pub(crate) fn objects<K, V>(
    api: Api<K>,
    config: watcher::Config,
    keep: impl Fn(&K) -> Option<V> + Send + 'static,
) -> impl Stream<Item = Objects<V>> + Send
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let name = |object: &K| {
        let meta = object.meta();
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    };
    let events = watcher(api, config).default_backoff().boxed();
    stream::unfold(
        (events, Arc::default(), BTreeMap::new(), keep),
        move |(mut events, mut known, mut listing, keep)| async move {
            loop {
                match events.next().await? {
                    Ok(watcher::Event::Init) => {
                        listing = BTreeMap::new();
                        continue;
                    }
                    Ok(watcher::Event::InitApply(object)) => {
                        listing.extend(keep(&object).map(|kept| (name(&object), kept)));
                        continue;
                    }
                    Ok(watcher::Event::InitDone) => known = Arc::new(std::mem::take(&mut listing)),
                    Ok(watcher::Event::Apply(object)) => {
                        let known = Arc::make_mut(&mut known);
                        match keep(&object) {
                            Some(kept) => known.insert(name(&object), kept),
                            None => known.remove(&name(&object)),
                        };
                    }
                    Ok(watcher::Event::Delete(object)) => {
                        Arc::make_mut(&mut known).remove(&name(&object));
                    }
                    Err(error) => {
                        tracing::warn!(kind = std::any::type_name::<K>(), %error, "watching the control plane failed; the watch goes on by itself");
                        continue;
                    }
                }
                return Some((known.clone(), (events, known, listing, keep)));
            }
        },
    )
}
