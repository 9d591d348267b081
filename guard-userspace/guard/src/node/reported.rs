//! The addresses that other nodes tell of themselves in their `GuardNode` objects.
//!
//! Every node needs those of all others, and each object changes about once a minute: a watch would cost the square of the number of nodes. So
//! they are listed, from the API server's cache, the less often the more there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::{Stream, stream};
use guard_api::{GuardNode, MAX_ADDRESSES};
use kube::api::ListParams;
use kube::{Api, Client};

/// Between two lists, at least.
const INTERVAL: Duration = Duration::from_secs(20);

/// And for each node: a thousand are listed every five minutes.
const INTERVAL_PER_NODE: Duration = Duration::from_millis(300);

/// By the node's name, each time when they were listed. The last known ones where they can't be.
pub(super) fn addresses(client: Client) -> impl Stream<Item = BTreeMap<String, BTreeSet<IpAddr>>> + Send {
    stream::unfold((client, BTreeMap::new(), Duration::ZERO, false), |(client, known, pause, failing)| async move {
        tokio::time::sleep(pause).await;
        let listed = Api::<GuardNode>::all(client.clone()).list(&ListParams::default().match_any()).await;
        let (known, failing) = match listed {
            Ok(nodes) => (nodes.items.iter().filter_map(told).collect(), false),
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "GuardNodes can't be listed: further addresses of other nodes are not known; are the CRDs installed?");
                }
                (known, true)
            }
        };
        let nodes = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let pause = INTERVAL.max(INTERVAL_PER_NODE.saturating_mul(nodes)).mul_f64(0.9 + 0.2 * rand::random::<f64>());
        Some((known.clone(), (client, known, pause, failing)))
    })
}

fn told(node: &GuardNode) -> Option<(String, BTreeSet<IpAddr>)> {
    let addresses = node.spec.addresses.iter().filter_map(|address| address.parse().ok());
    let usable = addresses.filter(|address: &IpAddr| !address.is_loopback() && !address.is_unspecified());
    Some((node.metadata.name.clone()?, usable.take(MAX_ADDRESSES).collect()))
}

#[cfg(test)]
mod tests {
    use guard_api::GuardNodeSpec;

    use super::*;

    #[test]
    fn what_is_no_address_of_a_node_is_left_out() {
        let spec = GuardNodeSpec {
            addresses: ["198.51.100.7", "x", "127.0.0.1", "::", "fd00::7"].map(str::to_owned).to_vec(),
        };
        let (name, addresses) = told(&GuardNode::new("n2", spec)).unwrap();
        assert_eq!((name.as_str(), addresses.len()), ("n2", 2));
    }
}
