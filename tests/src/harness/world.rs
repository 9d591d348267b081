//! The cluster with all that the tests of an area share, set up once.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use guard_certificates::{Authority, SanName};
use serde_json::json;
use xtask::cluster::{Cluster, Node};

use super::guard::{Certificate, Guard, GuardFiles};
use super::kubectl::run;
use super::pod::finding;
use super::{Agent, Arena, AuditLog, Kubectl, NodeNetns, Pod, PodPlan, Ring};
use crate::finding::Finding;

/// Further addresses of the API server, as a load balancer would be.
const ALIASES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(172, 30, 0, 200)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, 0x200))];
/// The API server's IPv4 address behind the well-known NAT64 prefix.
const NAT64: IpAddr = IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xac1e, 0x000a));
/// What the deny list says of deleting namespaces.
pub const NO_DELETION: &str = "Namespaces are deleted by people.";
const DENY_LIST: &str = "
apiVersion: egressguard.io/v1alpha1
kind: GuardPolicy
metadata: {name: e2e}
spec:
  rules:
    - name: no-namespace-deletion
      match: {verbs: [delete, deletecollection], resources: [namespaces]}
      action: Deny
      message: Namespaces are deleted by people.
    - name: no-exec-into-the-vault
      match: {verbs: [create, get], resources: [pods/exec], names: ['vault*']}
      action: Deny
      message: The vault is closed.
";
const ARENAS: usize = 3;

/// See the module.
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// Of this run alone.
    pub namespace: String,
    /// An administrator past the guard.
    pub kubectl: Kubectl,
    /// One on each node. Those of the first node run throughout; tests that end a guard use the second's.
    pub guards: Vec<Guard>,
    /// The guard's CA, PEM.
    pub guard_ca: String,
    /// SHA-256 of the guard's certificate.
    pub guard_certificate: String,
    /// SHA-256 of the API server's.
    pub api_server_certificate: String,
    /// Pairs of armed pods on the first node.
    pub ring: Ring,
    probe: PathBuf,
}

impl World {
    /// With pods for tries that must be refused.
    #[track_caller]
    pub fn set_up() -> Self {
        let world = Self::guarded();
        let ring = Ring::new(arenas(&world.kubectl, &world.cluster.nodes));
        Self { ring, ..world }
    }

    /// Against the cluster that `EGRESS_GUARD_CLUSTER` names, with the guard that `EGRESS_GUARD_BINARY` names; no pods yet.
    #[track_caller]
    pub fn guarded() -> Self {
        Self::guarded_by(DENY_LIST)
    }

    /// The same with other policies: the text of a file of `GuardPolicy` documents.
    #[track_caller]
    pub fn guarded_by(policies: &str) -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `cargo xtask e2e` runs these tests"))
        };
        let cluster = Cluster::load(&variable("EGRESS_GUARD_CLUSTER")).expect("the cluster's description");
        let binary = PathBuf::from(variable("EGRESS_GUARD_BINARY"));
        let probe = binary.with_file_name("probe");
        let namespace = format!("e2e-{}", std::process::id());
        let kubectl = Kubectl::new(&cluster, &namespace);
        tidy(&cluster);
        let authority = Authority::new_in_memory().expect("a certificate authority");
        let folder = cluster.dir.join("e2e");
        fs::create_dir_all(&folder).expect("a folder in the cluster's");
        let certificate = issue(&authority, &cluster, &folder);
        accounts(&kubectl, &namespace, &authority.certificate_pem());
        network(&cluster);
        let files = GuardFiles {
            kubeconfig: kubeconfig(&kubectl, &cluster, &folder),
            deny_list: write(&folder, "deny.yaml", policies),
            certificate: Certificate::Files {
                certificate: folder.join("serving.crt"),
                key: folder.join("serving.key"),
            },
            config: write(&folder, "config.yaml", &config()),
            admission: None,
        };
        let guards: Vec<Guard> = cluster.nodes.iter().map(|node| Guard::new(&cluster, node, &binary, &files)).collect();
        for guard in &guards {
            guard.end_leftover();
            guard.start();
        }
        let control_plane = NodeNetns::new(&cluster.control_plane_netns);
        let real = probe_in(&control_plane, &probe, "connect --to 127.0.0.1:6443");
        Self {
            namespace,
            kubectl,
            guards,
            guard_ca: authority.certificate_pem(),
            guard_certificate: certificate,
            api_server_certificate: real.peer_certificate_sha256.expect("the API server speaks TLS"),
            ring: Ring::new(Vec::new()),
            probe,
            cluster,
        }
    }

    /// Creates pods and waits until all are ready.
    #[track_caller]
    pub fn pods<const N: usize>(&self, plans: &[PodPlan; N]) -> [Pod; N] {
        let pods = Pod::create_all(&self.kubectl, &self.cluster.nodes, plans);
        pods.try_into().expect("as many pods as plans")
    }

    /// Creates one.
    #[track_caller]
    pub fn pod(&self, plan: PodPlan) -> Pod {
        let [pod] = self.pods(&[plan]);
        pod
    }

    /// The guard of the first node, which no test ends.
    pub fn guard(&self) -> &Guard {
        &self.guards[0]
    }

    /// The guard of a pod's node.
    #[track_caller]
    pub fn guard_of(&self, pod: &Pod) -> &Guard {
        self.guards.iter().find(|guard| guard.node.name == pod.node.name).expect("every node has a guard")
    }

    /// The namespace of API server and etcd.
    pub fn control_plane(&self) -> NodeNetns {
        NodeNetns::new(&self.cluster.control_plane_netns)
    }

    /// What the API server is asked from now on.
    #[track_caller]
    pub fn audit(&self) -> AuditLog {
        AuditLog::from_now(&self.cluster.audit_log)
    }

    /// Whether it was the API server itself whom a try has met.
    pub fn is_api_server(&self, finding: &Finding) -> bool {
        finding.peer_certificate_sha256.as_ref() == Some(&self.api_server_certificate)
    }

    /// Whether it was the guard.
    pub fn is_guard(&self, finding: &Finding) -> bool {
        finding.peer_certificate_sha256.as_ref() == Some(&self.guard_certificate)
    }

    /// The probe in a namespace, run by the machine: outside every pod's cgroup.
    #[track_caller]
    pub fn probe_in(&self, netns: &NodeNetns, arguments: &str) -> Finding {
        probe_in(netns, &self.probe, arguments)
    }

    /// The same, not started.
    pub fn probe_command(&self, netns: &NodeNetns, arguments: &str) -> Command {
        let mut command = netns.command(&self.probe);
        command.args(arguments.split_whitespace());
        command
    }
}

#[track_caller]
fn probe_in(netns: &NodeNetns, probe: &Path, arguments: &str) -> Finding {
    let mut command = netns.command(probe);
    command.args(arguments.split_whitespace());
    finding(&run(command, "").ok())
}

/// Namespaces of earlier runs on this cluster.
fn tidy(cluster: &Cluster) {
    run(cluster.kubectl(["delete", "namespace", "--selector=egressguard.io/e2e", "--wait=false"]), "").ok();
}

/// The guard's leaf and key in files; returns the leaf's SHA-256.
fn issue(authority: &Authority, cluster: &Cluster, folder: &Path) -> String {
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let mut sans: Vec<SanName> = names.iter().map(|name| SanName::Dns((*name).to_owned())).collect();
    let endpoints = cluster.api_server.endpoints.iter().map(SocketAddr::ip);
    sans.extend(endpoints.chain(cluster.api_server.cluster_ips.iter().copied()).chain(ALIASES).map(SanName::Ip));
    let leaf = authority.issue_leaf(&sans, Duration::from_hours(24)).expect("a leaf");
    write(folder, "serving.crt", leaf.certificate_pem());
    write(folder, "serving.key", leaf.key_pem());
    let (_, pem) = x509_parser::pem::parse_x509_pem(leaf.certificate_pem().as_bytes()).expect("PEM");
    crate::probe::fingerprint(&pem.contents)
}

/// The agents' account, which may do everything: what is refused here is refused by the guard. The guard's own may do little.
#[track_caller]
fn accounts(kubectl: &Kubectl, namespace: &str, ca: &str) {
    let account = |name: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}});
    let binding = |name: &str, role: &str, account: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{namespace}-{name}"), "labels": {"egressguard.io/e2e": "true"}},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        })
    };
    let watched = json!(["get", "list", "watch"]);
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"egressguard.io/e2e": "true"}}},
        account("agent"),
        account("guard"),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "egress-guard-ca", "namespace": namespace}, "data": {"ca.crt": ca}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "e2e-guard"}, "rules": [
            {"apiGroups": [""], "resources": ["pods", "namespaces", "nodes", "services"], "verbs": watched},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watched},
            {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        ]},
        binding("agent", "cluster-admin", "agent"),
        binding("guard", "e2e-guard", "guard"),
        binding("issuer", "system:service-account-issuer-discovery", "guard"),
    ]}));
}

#[track_caller]
fn kubeconfig(kubectl: &Kubectl, cluster: &Cluster, folder: &Path) -> PathBuf {
    let token = kubectl.run(["create", "token", "guard", "--duration=24h"]).ok();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "guard",
        "clusters": [{"name": "guard", "cluster": {"server": cluster.api_server.url, "certificate-authority": cluster.api_server.ca}}],
        "users": [{"name": "guard", "user": {"token": token.trim()}}],
        "contexts": [{"name": "guard", "context": {"cluster": "guard", "user": "guard"}}],
    });
    write(folder, "guard.kubeconfig", &config.to_string())
}

/// The endpoint of IPv6 is in a Service that is not called `kubernetes`: an administrator has to name it.
fn config() -> String {
    let [v4, v6] = ALIASES;
    let service = "[fd00:10:96::1]:443";
    format!(
        "controlPlane:\n  aliases: ['{v4}:6443', '[{v6}]:6443', '[fd00:30::10]:6443', '{service}']\n  localPorts: [{{protocol: TCP, port: 6443}}]\n"
    )
}

/// What makes the ways round possible at all: further addresses, source routing, an overlay.
fn network(cluster: &Cluster) {
    let [v4, v6] = ALIASES;
    let permissive = "for f in /proc/sys/net/ipv4/conf/*/accept_source_route /proc/sys/net/ipv6/conf/*/accept_source_route \
                      /proc/sys/net/ipv6/conf/*/seg6_enabled; do echo 1 > $f; done; \
                      for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done";
    let control_plane = NodeNetns::new(&cluster.control_plane_netns);
    control_plane.sh(&format!(
        "ip addr replace {v4}/24 dev fabric; ip addr replace {v6}/64 dev fabric nodad; ip addr replace {NAT64}/128 dev fabric nodad; {permissive}"
    ));
    for node in &cluster.nodes {
        let address = node.addresses[0];
        let overlay = |name: &str, port: u16| {
            format!(
                "ip link show {name} >/dev/null 2>&1 || ip link add {name} address 02:00:00:00:00:99 type vxlan id 99 dstport {port} local {address}; ip link set {name} up; "
            )
        };
        NodeNetns::new(&node.netns).sh(&format!(
            "{}{}ip addr replace 169.254.169.254/32 dev lo; ip addr replace fd00:ec2::254/128 dev lo; {permissive}",
            overlay("overlay", 4789),
            overlay("unlisted", 9999)
        ));
    }
}

fn arenas(kubectl: &Kubectl, nodes: &[Node]) -> Vec<Arena> {
    let plans: Vec<PodPlan> = (0..ARENAS)
        .flat_map(|number| {
            let agent = PodPlan::agent(format!("arena-{number}-agent"), Agent("attacker")).armed();
            [agent, PodPlan::ordinary(format!("arena-{number}-ordinary")).armed()]
        })
        .collect();
    let mut pods = Pod::create_all(kubectl, nodes, &plans).into_iter();
    std::iter::from_fn(|| Some(Arena { agent: pods.next()?, ordinary: pods.next()? })).collect()
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
    file
}
