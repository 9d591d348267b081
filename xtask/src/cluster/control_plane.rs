//! etcd, API server, controller-manager and scheduler, in the control plane's namespace.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::feature::{self, Feature};
use super::kubeconfig;
use super::network::{self, CLUSTER_IPS, SERVICE_CIDRS};
use super::pki::{Authority, Files, Subject, service_account_key};
use crate::process::{Place, Recorded};

/// The issuer that kubeadm gives a cluster as well.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// All that the control plane's programs are started with.
pub(super) struct ControlPlane {
    pub(super) binaries: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) url: String,
    pub(super) ca: Authority,
    pub(super) admin: PathBuf,
    pub(super) audit_log: PathBuf,
    server: Files,
    kubelet_client: Files,
    front_proxy_ca: PathBuf,
    front_proxy_client: Files,
    service_account_key: PathBuf,
    manager: PathBuf,
    scheduler: PathBuf,
}

impl ControlPlane {
    /// Makes keys, certificates and kubeconfigs.
    pub(super) fn prepare(dir: &Path, binaries: &Path) -> Result<Self> {
        let pki = dir.join("pki");
        fs::create_dir_all(&pki).with_context(|| format!("making {}", pki.display()))?;
        let ca = Authority::new(&pki, "kubernetes")?;
        let front_proxy = Authority::new(&pki, "front-proxy")?;
        let [v4, v6] = network::control_plane_addresses();
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
        ];
        let loopback = ["127.0.0.1".parse()?, "::1".parse()?];
        let second = network::second_api_server_addresses();
        let addresses = [&[v4, v6], &second, CLUSTER_IPS.as_slice(), &loopback].concat();
        let url = format!("https://{v4}:6443");
        let config = |name: &str, user, group| -> Result<PathBuf> {
            let client = ca.client(name, &Subject { user, group })?;
            kubeconfig::write(dir, name, &url, &ca.certificate(), &client)
        };
        Ok(Self {
            binaries: binaries.to_owned(),
            dir: dir.to_owned(),
            server: ca.server("apiserver", "kube-apiserver", &names, &addresses)?,
            kubelet_client: ca.client(
                "apiserver-kubelet",
                &Subject { user: "kube-apiserver-kubelet-client", group: Some("system:masters") },
            )?,
            front_proxy_client: front_proxy
                .client("front-proxy-client", &Subject { user: "front-proxy-client", group: None })?,
            front_proxy_ca: front_proxy.certificate(),
            service_account_key: service_account_key(&pki)?,
            admin: config("admin", "admin", Some("system:masters"))?,
            manager: config("controller-manager", "system:kube-controller-manager", None)?,
            scheduler: config("scheduler", "system:kube-scheduler", None)?,
            audit_log: dir.join("audit.log"),
            url,
            ca,
        })
    }

    /// etcd: plain on loopback for the API server, TLS with client certificates on the fabric, as other machines would meet it.
    pub(super) fn start_etcd(&self, place: &Place<'_>) -> Result<Recorded> {
        let [v4, v6] = network::control_plane_addresses();
        let tls = |prefix: &str| {
            [
                flag(&format!("{prefix}cert-file"), &self.server.certificate),
                flag(&format!("{prefix}key-file"), &self.server.key),
                flag(&format!("{prefix}trusted-ca-file"), self.ca.certificate()),
                format!("--{prefix}client-cert-auth=true"),
            ]
        };
        let mut arguments = vec![
            flag("data-dir", self.dir.join("etcd")),
            format!("--listen-client-urls=http://127.0.0.1:2379,https://{v4}:2379,https://[{v6}]:2379"),
            "--advertise-client-urls=http://127.0.0.1:2379".into(),
            format!("--listen-peer-urls=http://127.0.0.1:2380,https://{v4}:2380,https://[{v6}]:2380"),
            "--initial-advertise-peer-urls=http://127.0.0.1:2380".into(),
            "--initial-cluster=default=http://127.0.0.1:2380".into(),
            // A test cluster does not outlive its machine.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ];
        arguments.extend(tls(""));
        arguments.extend(tls("peer-"));
        place.start("cp/etcd", &self.binaries.join("etcd"), &arguments, &[])
    }

    /// The API server, on both families, with its audit log on, as one that lacks these features.
    pub(super) fn start_api_server(&self, place: &Place<'_>, without: &[Feature]) -> Result<Recorded> {
        let address = network::control_plane_addresses()[0];
        let mut own = vec!["--etcd-servers=http://127.0.0.1:2379".to_owned(), flag("audit-log-path", &self.audit_log)];
        own.extend(feature::flags_without(without));
        self.start_one_api_server(place, "cp/kube-apiserver", address, own)
    }

    /// Another one beside it, which comes to etcd as from another machine, and has an audit log of its own.
    pub(super) fn start_second_api_server(&self, place: &Place<'_>, without: &[Feature]) -> Result<Recorded> {
        let mut own = vec![
            format!("--etcd-servers=https://{}:2379", network::control_plane_addresses()[0]),
            flag("etcd-cafile", self.ca.certificate()),
            flag("etcd-certfile", &self.server.certificate),
            flag("etcd-keyfile", &self.server.key),
            flag("audit-log-path", self.dir.join("audit-2.log")),
        ];
        own.extend(feature::flags_without(without));
        let address = network::second_api_server_addresses()[0];
        self.start_one_api_server(place, "cp/kube-apiserver-2", address, own)
    }

    fn start_one_api_server(
        &self,
        place: &Place<'_>,
        name: &str,
        address: IpAddr,
        own: Vec<String>,
    ) -> Result<Recorded> {
        let policy = self.dir.join("audit-policy.json");
        fs::write(&policy, audit_policy().to_string()).with_context(|| format!("writing {}", policy.display()))?;
        let mut arguments = vec![
            "--bind-address=::".into(),
            "--secure-port=6443".into(),
            format!("--advertise-address={address}"),
            format!("--service-cluster-ip-range={}", SERVICE_CIDRS.join(",")),
            flag("tls-cert-file", &self.server.certificate),
            flag("tls-private-key-file", &self.server.key),
            flag("client-ca-file", self.ca.certificate()),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--allow-privileged=true".into(),
            flag("kubelet-client-certificate", &self.kubelet_client.certificate),
            flag("kubelet-client-key", &self.kubelet_client.key),
            flag("kubelet-certificate-authority", self.ca.certificate()),
            // There is no DNS for node names: without this, exec and logs hang.
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--service-account-issuer={ISSUER}"),
            flag("service-account-key-file", &self.service_account_key),
            flag("service-account-signing-key-file", &self.service_account_key),
            flag("requestheader-client-ca-file", &self.front_proxy_ca),
            "--requestheader-allowed-names=front-proxy-client".into(),
            "--requestheader-username-headers=X-Remote-User".into(),
            "--requestheader-group-headers=X-Remote-Group".into(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
            flag("proxy-client-cert-file", &self.front_proxy_client.certificate),
            flag("proxy-client-key-file", &self.front_proxy_client.key),
            flag("audit-policy-file", &policy),
            // One file, unless a test writes gigabytes: what is compared with it must not rotate away.
            "--audit-log-maxsize=4000".into(),
        ];
        arguments.extend(own);
        place.start(name, &self.binaries.join("kube-apiserver"), &arguments, &[])
    }

    pub(super) fn start_controller_manager(&self, place: &Place<'_>) -> Result<Recorded> {
        let arguments = [
            flag("kubeconfig", &self.manager),
            "--bind-address=127.0.0.1".into(),
            "--leader-elect=false".into(),
            "--use-service-account-credentials=true".into(),
            "--allocate-node-cidrs=false".into(),
            flag("flex-volume-plugin-dir", self.dir.join("volume-plugins")),
            flag("root-ca-file", self.ca.certificate()),
            flag("cluster-signing-cert-file", self.ca.certificate()),
            flag("cluster-signing-key-file", self.ca.key()),
            flag("service-account-private-key-file", &self.service_account_key),
        ];
        place.start("cp/kube-controller-manager", &self.binaries.join("kube-controller-manager"), &arguments, &[])
    }

    pub(super) fn start_scheduler(&self, place: &Place<'_>) -> Result<Recorded> {
        let arguments =
            [flag("kubeconfig", &self.scheduler), "--bind-address=127.0.0.1".into(), "--leader-elect=false".into()];
        place.start("cp/kube-scheduler", &self.binaries.join("kube-scheduler"), &arguments, &[])
    }
}

/// `--name=value`.
pub(super) fn flag(name: &str, value: impl AsRef<Path>) -> String {
    format!("--{name}={}", value.as_ref().display())
}

/// Who asked what, with the audit id and the answer's status, and no bodies; not the beginnings, which say nothing more.
fn audit_policy() -> serde_json::Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    })
}
