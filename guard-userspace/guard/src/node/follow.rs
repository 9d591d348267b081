//! Follows the cluster's control plane: every change becomes a new control-plane set in the kernel and new addresses to dial.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt, stream};
use guard_kernel::kernel::{ControlPlaneSet, Entry, Service};
use k8s_openapi::api::core::v1::{Node, Service as ServiceObject};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::watch;

use super::certificates::Certificates;
use super::config::ControlPlane;
use super::control_plane::View;
use super::enforcement::SharedKernel;

/// How often the nft table is looked after: somebody may have flushed it.
const ENSURE: Duration = Duration::from_secs(30);

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
    pub(super) current: Arc<ArcSwap<Current>>,
    pub(super) upstream: watch::Sender<Vec<SocketAddr>>,
}

enum Change {
    Service(Objects<ServiceObject>),
    Slices(Objects<EndpointSlice>),
    Nodes(Objects<Node>),
    Certified(BTreeSet<IpAddr>),
}

/// All objects of one watch, by name.
type Objects<K> = Arc<BTreeMap<String, K>>;

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
            objects(Api::<ServiceObject>::namespaced(client.clone(), "default"), kubernetes)
                .map(Change::Service)
                .boxed(),
            objects(Api::<EndpointSlice>::namespaced(client.clone(), "default"), slices).map(Change::Slices).boxed(),
            objects(Api::<Node>::all(client), watcher::Config::default()).map(Change::Nodes).boxed(),
            self.certificates.addresses(self.upstream.subscribe()).map(Change::Certified).boxed(),
        ]);
        let (mut view, mut seen) = (View::default(), [false; 4]);
        let mut applied = None;
        loop {
            let change = tokio::time::timeout(ENSURE, changes.next()).await;
            match &change {
                Ok(Some(Change::Service(services))) => {
                    seen[0] = true;
                    services.values().for_each(|service| view.set_service(service));
                }
                Ok(Some(Change::Slices(slices))) => {
                    seen[1] = true;
                    view.set_slices(slices.values());
                    self.dial(&view);
                }
                Ok(Some(Change::Nodes(nodes))) => {
                    seen[2] = true;
                    view.set_nodes(nodes.values());
                }
                Ok(Some(Change::Certified(addresses))) => {
                    seen[3] = true;
                    view.set_certified(addresses.clone());
                }
                Ok(None) => return,
                Err(_) => self.look_after_netfilter(&mut applied),
            }
            // Half a view would take entries of an earlier run out of the kernel.
            if seen == [true; 4] && applied.as_ref() != Some(&view) && self.apply(&view) {
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
}

/// All objects that match, each time one has changed. The first time when all are known.
fn objects<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Objects<K>> + Send
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let events = watcher(api, config).default_backoff().boxed();
    stream::unfold((events, Arc::default(), BTreeMap::new()), |(mut events, mut known, mut listing)| async move {
        loop {
            let name = |object: &K| object.meta().name.clone().unwrap_or_default();
            match events.next().await? {
                Ok(watcher::Event::Init) => {
                    listing = BTreeMap::new();
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    listing.insert(name(&object), object);
                    continue;
                }
                Ok(watcher::Event::InitDone) => known = Arc::new(std::mem::take(&mut listing)),
                Ok(watcher::Event::Apply(object)) => {
                    Arc::make_mut(&mut known).insert(name(&object), object);
                }
                Ok(watcher::Event::Delete(object)) => {
                    Arc::make_mut(&mut known).remove(&name(&object));
                }
                Err(error) => {
                    tracing::warn!(kind = std::any::type_name::<K>(), %error, "watching the control plane failed; the watch goes on by itself");
                    continue;
                }
            }
            return Some((known.clone(), (events, known, listing)));
        }
    })
}
