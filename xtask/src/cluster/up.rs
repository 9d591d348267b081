//! `cluster up`: what is made before the parts start, and the order in which they do.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use nix::unistd::Uid;

use super::control_plane::ControlPlane;
use super::network::{self, CLUSTER_IPS, Namespaces, POD_CIDRS, SERVICE_CIDRS};
use super::node::{self, Folders, Prepared};
use super::starter::Starter;
use super::{ApiServer, Cluster, Feature, Name, Node, cleanup, status};
use crate::cgroup::Hierarchies;
use crate::golang;
use crate::images::{self, Archive};
use crate::mounts;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::sysctl;

/// What cluster to bring up.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Its name.
    pub name: Name,
    /// How many nodes: 1 to 9.
    pub nodes: usize,
    /// What its API server lacks.
    pub without: Vec<Feature>,
    /// How many API servers: 1 or 2.
    pub api_servers: usize,
}

/// Brings the cluster up, or finds that it is. What a crashed run of the same name left is cleaned up first.
pub fn up(paths: &Paths, options: &UpOptions, progress: &Progress) -> Result<Cluster> {
    if !Uid::effective().is_root() {
        bail!("a cluster needs root: namespaces, mounts and cgroups");
    }
    if !(1..=network::MOST_NODES).contains(&options.nodes) {
        bail!("a cluster has 1 to {} nodes, not {}", network::MOST_NODES, options.nodes);
    }
    if !(1..=2).contains(&options.api_servers) {
        bail!("a cluster has 1 or 2 API servers, not {}", options.api_servers);
    }
    let _lock = super::hold(paths, &options.name)?;
    if let Some(cluster) = running(paths, options)? {
        progress.note(&format!("cluster {} is up already", options.name));
        return Ok(cluster);
    }
    cleanup::down(paths, &options.name)?;
    let binaries = golang::ensure(paths, progress)?;
    let archives = images::ensure(paths, &binaries, progress)?;
    let start = Instant::now();
    let cluster = start_all(paths, options, &binaries, &archives, progress).inspect_err(|_| {
        // The logs stay where the error says; all else goes. The first error is the one to tell.
        let _ = cleanup::stop(paths, &options.name);
    })?;
    progress.note(&format!("cluster {} is ready after {:.1} s", options.name, start.elapsed().as_secs_f32()));
    Ok(cluster)
}

fn running(paths: &Paths, options: &UpOptions) -> Result<Option<Cluster>> {
    let parts = status(paths, &options.name);
    if parts.is_empty() || parts.iter().any(|part| !part.alive) {
        return Ok(None);
    }
    let Ok(cluster) = Cluster::load_from(paths, &options.name) else { return Ok(None) };
    if cluster.nodes.len() != options.nodes {
        bail!("cluster {} is up with {} nodes: `cluster down` first", options.name, cluster.nodes.len());
    }
    if cluster.second_api_server.is_some() != (options.api_servers > 1) {
        bail!("cluster {} is up with another number of API servers: `cluster down` first", options.name);
    }
    Ok(Some(cluster))
}

fn start_all(
    paths: &Paths,
    options: &UpOptions,
    binaries: &Path,
    archives: &[Archive],
    progress: &Progress,
) -> Result<Cluster> {
    let dir = Cluster::dir_of(paths, &options.name);
    fs::create_dir_all(dir.join("logs")).with_context(|| format!("making {}", dir.display()))?;
    fs::create_dir_all(options.name.run_dir()).context("making the folder for sockets in /run/egress-guard")?;
    // The kubelets mount pods' tokens in it.
    mounts::share(&dir)?;
    mounts::ensure_bpffs()?;
    sysctl::remember(Path::new(mounts::OURS))?;
    let control_plane = ControlPlane::prepare(&dir, binaries)?;
    let hierarchies = Hierarchies::find()?;
    let namespaces = network::create(&options.name, options.nodes, options.api_servers)?;
    let cluster = describe(&options.name, &control_plane, namespaces, &hierarchies);
    images::list(&cluster, archives)?;
    let prepared = prepare_nodes(&cluster, &control_plane, &hierarchies)?;
    let starter = Starter::new(&cluster, archives, progress);
    thread::scope(|scope| {
        let containerds: Vec<_> = cluster.nodes.iter().map(|node| scope.spawn(|| starter.containerd(node))).collect();
        starter.control_plane(&control_plane, &options.without)?;
        for (node, prepared) in cluster.nodes.iter().zip(&prepared) {
            starter.containerd_answers(node)?;
            starter.node(node, prepared)?;
        }
        starter.ready()?;
        containerds
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("the thread of a node panicked"))?)
    })?;
    cluster.save()?;
    Ok(cluster)
}

fn describe(name: &Name, control_plane: &ControlPlane, namespaces: Namespaces, hierarchies: &Hierarchies) -> Cluster {
    let cgroup = name.cgroup();
    let cgroup2 = hierarchies.v2.join(&cgroup);
    let run = name.run_dir();
    let folders = Folders { dir: &control_plane.dir, run: &run, cgroup: &cgroup, cgroup2: &cgroup2 };
    let nodes =
        namespaces.nodes.into_iter().enumerate().map(|(index, path)| node::describe(index, path, &folders)).collect();
    let addresses = network::control_plane_addresses();
    Cluster {
        name: name.clone(),
        dir: control_plane.dir.clone(),
        binaries: control_plane.binaries.clone(),
        api_server: ApiServer {
            url: control_plane.url.clone(),
            endpoints: addresses.map(|address| SocketAddr::new(address, 6443)).to_vec(),
            cluster_ips: CLUSTER_IPS.to_vec(),
            ca: control_plane.ca.certificate(),
            etcd: SocketAddr::new(addresses[0], 2379),
        },
        audit_log: control_plane.audit_log.clone(),
        kubeconfig: control_plane.admin.clone(),
        control_plane_netns: namespaces.control_plane,
        second_api_server: namespaces
            .second_api_server
            .map(|path| (path, SocketAddr::new(network::second_api_server_addresses()[0], 6443))),
        nodes,
        service_cidrs: SERVICE_CIDRS.map(str::to_owned).to_vec(),
        pod_cidrs: POD_CIDRS.map(str::to_owned).to_vec(),
        bpf_pin_prefix: Path::new("/sys/fs/bpf").join(&cgroup),
        cgroup: cgroup2,
    }
}

fn prepare_nodes(cluster: &Cluster, control_plane: &ControlPlane, hierarchies: &Hierarchies) -> Result<Vec<Prepared>> {
    let cgroup = cluster.name.cgroup();
    hierarchies.create(&format!("{cgroup}/cp-daemons"))?;
    let prepare = |node: &Node| {
        let dir = cluster.dir.join(&node.name);
        fs::create_dir_all(&node.logs).with_context(|| format!("making {}", node.logs.display()))?;
        hierarchies.create(node.cgroup_root.trim_start_matches('/'))?;
        fs::create_dir_all(&node.daemons_cgroup)
            .with_context(|| format!("making {}", node.daemons_cgroup.display()))?;
        node::prepare(node, &dir, control_plane)
    };
    cluster.nodes.iter().map(prepare).collect()
}
