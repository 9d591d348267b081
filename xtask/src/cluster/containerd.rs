//! containerd of one node, and its CNI configuration.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::images::PAUSE;
use crate::process::{Place, Recorded};

/// Where one node's containerd keeps things.
pub(super) struct Containerd {
    /// Layers and snapshots.
    pub(super) root: PathBuf,
    /// Sockets, running containers, CNI namespaces: under `/run`, since a socket's path is short.
    pub(super) state: PathBuf,
    /// Configuration, in the cluster's state folder.
    pub(super) config: PathBuf,
    pub(super) binaries: PathBuf,
    pub(super) pod_cidrs: Vec<String>,
}

/// Every pull is refused at once. One that waits for a name server, which a cluster does not have, keeps the kubelet from ending the pod for a minute.
const NO_REGISTRY: &str = "server = 'http://127.0.0.1:1'\n";

impl Containerd {
    pub(super) fn socket(&self) -> PathBuf {
        self.state.join("containerd.sock")
    }

    /// Writes the configuration and starts it.
    pub(super) fn start(&self, node: &str, place: &Place<'_>) -> Result<Recorded> {
        let cni = self.config.join("cni");
        for folder in [&self.root, &self.state, &cni] {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        write(&cni.join("10-bridge.conflist"), &self.cni().to_string())?;
        let registries = self.config.join("registries");
        let every = registries.join("_default");
        fs::create_dir_all(&every).with_context(|| format!("making {}", every.display()))?;
        write(&every.join("hosts.toml"), NO_REGISTRY)?;
        let file = self.config.join("containerd.toml");
        write(&file, &self.toml(&cni, &registries))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let environment = [("PATH", format!("{}:{path}", self.binaries.display()))];
        let arguments = ["--config".into(), file.display().to_string()];
        place.start(&format!("{node}/containerd"), &self.binaries.join("containerd"), &arguments, &environment)
    }

    /// Strings are written as JSON strings, which TOML's basic strings can read.
    fn toml(&self, cni: &Path, registries: &Path) -> String {
        let text = |path: &Path| json!(path).to_string();
        format!(
            r"version = 3
root = {root}
state = {state}

[grpc]
  address = {socket}

[plugins.'io.containerd.internal.v1.opt']
  path = {opt}

[plugins.'io.containerd.shim.v1.manager']
  socket_dir = {state}

[plugins.'io.containerd.nri.v1.nri']
  disable = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = {pause}

[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = {registries}

[plugins.'io.containerd.cri.v1.runtime']
  # Lowering a score needs CAP_SYS_RESOURCE, which a virtual machine's root need not have.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [{binaries}]
    conf_dir = {cni}

  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'

    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = {runc}
      Root = {runc_state}
      SystemdCgroup = false
",
            root = text(&self.root),
            state = text(&self.state),
            socket = text(&self.socket()),
            opt = text(&self.config.join("opt")),
            pause = json!(PAUSE),
            registries = text(registries),
            binaries = text(&self.binaries),
            cni = text(cni),
            runc = text(&self.binaries.join("runc")),
            runc_state = text(&self.state.join("runc")),
        )
    }

    /// A bridge with an address of each family for every pod. Pods keep their own address on the fabric: nodes have routes,
    /// so nothing is masqueraded and the audit log names the pod.
    fn cni(&self) -> serde_json::Value {
        let ranges: Vec<_> = self.pod_cidrs.iter().map(|cidr| json!([{"subnet": cidr}])).collect();
        json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": true,
                    "hairpinMode": true,
                    "ipMasq": false,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": self.state.join("cni-addresses"),
                        "ranges": ranges,
                        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                    },
                },
                {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}},
            ],
        })
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
