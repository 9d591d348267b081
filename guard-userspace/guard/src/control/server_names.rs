//! Whom leaves may be for: the names and addresses of the API server, derived from the cluster as the nodes derive them.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use guard_certificates::SanName;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;

use crate::node::certificates::Certificates;
use crate::node::config::ControlPlane;
use crate::node::control_plane::View;
use crate::node::follow::{Objects, objects};

enum Change {
    Services(Objects<Service>),
    Slices(Objects<EndpointSlice>),
    Certified(BTreeSet<std::net::IpAddr>),
}

/// Follows them until dropped. Nothing is told before all of it is known: half of it would refuse what is right.
pub(super) async fn follow(
    client: Client,
    configured: ControlPlane,
    certificates: Certificates,
    names: &watch::Sender<BTreeSet<SanName>>,
) {
    let (servers, asked) = watch::channel(Vec::new());
    let service = watcher::Config::default().fields("metadata.name=kubernetes");
    let slices = watcher::Config::default().labels("kubernetes.io/service-name=kubernetes");
    let mut changes = stream::select_all([
        objects(Api::<Service>::namespaced(client.clone(), "default"), service, |service| {
            Some(Service::clone(service))
        })
        .map(Change::Services)
        .boxed(),
        objects(Api::<EndpointSlice>::namespaced(client, "default"), slices, |slice| Some(EndpointSlice::clone(slice)))
            .map(Change::Slices)
            .boxed(),
        certificates.addresses(asked).map(Change::Certified).boxed(),
    ]);
    let (mut view, mut seen) = (View::default(), [false; 3]);
    while let Some(change) = changes.next().await {
        match change {
            Change::Services(services) => {
                seen[0] = true;
                services.values().for_each(|service| view.set_service(service));
            }
            Change::Slices(slices) => {
                seen[1] = true;
                view.set_slices(slices.values());
                servers.send_replace(view.endpoints());
            }
            Change::Certified(addresses) => {
                seen[2] = true;
                view.set_certified(addresses);
            }
        }
        if seen == [true; 3] {
            let now = view.names(&configured);
            names.send_if_modified(|known| {
                let is_new = *known != now;
                *known = now;
                is_new
            });
        }
    }
}
