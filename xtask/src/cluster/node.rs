//! Kubelet and kube-proxy of one node.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::control_plane::{ControlPlane, flag};
use super::network::{self, POD_CIDRS};
use super::pki::Subject;
use super::{Node, kubeconfig};
use crate::process::{Place, Recorded};

/// Where a kubelet listens for device plugins, whatever its root directory is (`KubeletSocket` in k8s.io/kubelet).
pub(super) const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";

/// What a node's programs are started with, made before any of them runs.
pub(super) struct Prepared {
    kubelet_config: PathBuf,
    proxy_config: PathBuf,
    certificates: PathBuf,
}

/// Writes a node's certificates and configuration. `node.kubeconfig` is where the kubelet's goes.
pub(super) fn prepare(node: &Node, dir: &Path, control_plane: &ControlPlane) -> Result<Prepared> {
    let ca = &control_plane.ca;
    let user = format!("system:node:{}", node.name);
    let client =
        ca.client(&format!("kubelet-client-{}", node.name), &Subject { user: &user, group: Some("system:nodes") })?;
    kubeconfig::write(dir, "kubelet", &control_plane.url, &ca.certificate(), &client)?;
    let serving = ca.server(&format!("kubelet-{}", node.name), &user, &[&node.name], &node.addresses)?;
    let proxy = ca.client(&format!("kube-proxy-{}", node.name), &Subject { user: "system:kube-proxy", group: None })?;
    let proxy = kubeconfig::write(dir, "kube-proxy", &control_plane.url, &ca.certificate(), &proxy)?;
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{}", node.containerd_socket.display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup_root,
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": ["none"],
        "oomScoreAdj": 0,
        "resolvConf": "/dev/null",
        "podLogsDir": node.pod_logs,
        "volumePluginDir": dir.join("volume-plugins"),
        "tlsCertFile": serving.certificate,
        "tlsPrivateKeyFile": serving.key,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": ca.certificate()},
        },
        "authorization": {"mode": "Webhook"},
        // The disk is shared with everything else on this machine: it is never the pods' fault.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
    });
    let proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node.name,
        "clientConnection": {"kubeconfig": proxy},
        "clusterCIDR": POD_CIDRS.join(","),
        "detectLocalMode": "ClusterCIDR",
        "oomScoreAdj": 0,
        // These settings are the machine's: no namespace may write them.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    let prepared = Prepared {
        kubelet_config: dir.join("kubelet.json"),
        proxy_config: dir.join("kube-proxy.json"),
        certificates: dir.join("certificates"),
    };
    for (file, text) in [(&prepared.kubelet_config, kubelet), (&prepared.proxy_config, proxy)] {
        fs::write(file, text.to_string()).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(prepared)
}

impl Prepared {
    pub(super) fn start_kubelet(&self, node: &Node, binaries: &Path, place: &Place<'_>) -> Result<Recorded> {
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        let arguments = [
            flag("config", &self.kubelet_config),
            flag("kubeconfig", &node.kubeconfig),
            flag("root-dir", &node.kubelet_root),
            flag("cert-dir", &self.certificates),
            format!("--hostname-override={}", node.name),
            format!("--node-ip={}", addresses.join(",")),
        ];
        place.start(&format!("{}/kubelet", node.name), &binaries.join("kubelet"), &arguments, &[])
    }

    pub(super) fn start_proxy(&self, node: &Node, binaries: &Path, place: &Place<'_>) -> Result<Recorded> {
        let arguments = [flag("config", &self.proxy_config)];
        place.start(&format!("{}/kube-proxy", node.name), &binaries.join("kube-proxy"), &arguments, &[])
    }
}

/// What a node of this position is, before it runs.
pub(super) fn describe(index: usize, netns: PathBuf, place: &Folders<'_>) -> Node {
    let name = format!("n{}", index + 1);
    let dir = place.dir.join(&name);
    Node {
        netns,
        addresses: network::node_addresses(index).to_vec(),
        pod_cidrs: network::pod_cidrs(index).to_vec(),
        kubelet_root: dir.join("kubelet"),
        kubeconfig: dir.join("kubelet.kubeconfig"),
        containerd_socket: place.run.join(&name).join("containerd.sock"),
        cgroup_root: format!("/{}/{name}", place.cgroup),
        cgroup2: place.cgroup2.join(&name),
        daemons_cgroup: place.cgroup2.join(format!("{name}-daemons")),
        logs: dir.join("logs"),
        pod_logs: dir.join("pod-logs"),
        name,
    }
}

/// The cluster's folders that a node's lie in.
pub(super) struct Folders<'a> {
    pub(super) dir: &'a Path,
    pub(super) run: &'a Path,
    /// The cluster's cgroup, relative to a hierarchy's mount.
    pub(super) cgroup: &'a str,
    /// The same in cgroup2.
    pub(super) cgroup2: &'a Path,
}
