//! Objects that every cluster has from the start.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::network::{CLUSTER_IPS, control_plane_addresses};

/// A second way to the API server, over IPv6: the Service `kubernetes` has the family of the advertised address alone.
pub(super) fn api_server_over_ipv6() -> Value {
    let [_, cluster_ip] = CLUSTER_IPS;
    let [_, endpoint]: [IpAddr; 2] = control_plane_addresses();
    let port = json!({"name": "https", "port": 6443, "protocol": "TCP"});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kubernetes-ipv6", "namespace": "default"},
            "spec": {
                "clusterIP": cluster_ip,
                "ipFamilies": ["IPv6"],
                "ports": [{"name": "https", "port": 443, "targetPort": 6443, "protocol": "TCP"}],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes-ipv6",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes-ipv6", "endpointslice.kubernetes.io/managed-by": "cluster-up"},
            },
            "addressType": "IPv6",
            "endpoints": [{"addresses": [endpoint], "conditions": {"ready": true}}],
            "ports": [port],
        },
    ]})
}
