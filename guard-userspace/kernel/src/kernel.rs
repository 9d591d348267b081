//! Enforcement, as the rest of the guard sees it: programs loaded and pinned, the control-plane set, the workloads.
//!
//! Links and maps are pinned, so enforcement outlives the process. A new process takes over by updating each link in place.

mod address_book;
mod bpffs;
mod clsact;
mod control_plane;
mod counters;
mod link;
mod log;
mod maps;
mod pins;
mod programs;
mod raw;
mod reports;
mod requirements;
mod tcx;

use std::{
    collections::HashMap,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use control_plane::{ControlPlaneSet, Entry, Service};
pub use counters::Refusals;
use guard_common::{NAT64_WELL_KNOWN_PREFIX, Nat64Prefix, NetnsEntry, VethAddressKey, VethEntry};
pub use pins::Pinned;
pub use reports::{AsyncReports, Reports, boot_time};

use crate::{
    Error, interfaces,
    netfilter::{self, Netfilter},
    netns::Netns,
};
use address_book::AddressBook;
use maps::Maps;
use pins::Pins;
use programs::Programs;

/// How enforcement is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where links and maps are pinned: a directory of this guard's own on a bpffs, such as `/sys/fs/bpf/egress-guard`.
    pub pin_directory: PathBuf,
    /// The bit, or bits, of a packet's mark that say that it is an agent's. Away from kube-proxy's (0x4000, 0x8000) and the CNI's.
    pub mark: u32,
    /// The cluster's NAT64 prefix.
    pub nat64_prefix: Nat64Prefix,
    /// The nft table behind the veths: its name, the mark being [`Self::mark`], and the NFLOG group of its reports.
    pub table: String,
    /// See [`Self::table`]. A group has one reader in a network namespace.
    pub log_group: u16,
    /// Whether the programs log each refusal through aya-log, at debug level.
    pub log_programs: bool,
}

impl Options {
    /// The mark bit unless configured: bit 13, beside kube-proxy's 14 and 15 and below Calico's default 0xffff0000. Cilium uses it
    /// with IPsec alone: configure another there.
    pub const DEFAULT_MARK: u32 = 1 << 13;

    /// The defaults, pinned in `pin_directory`.
    pub fn pinned_in(pin_directory: impl Into<PathBuf>) -> Self {
        Self {
            pin_directory: pin_directory.into(),
            mark: Self::DEFAULT_MARK,
            nat64_prefix: NAT64_WELL_KNOWN_PREFIX,
            table: "egress_guard".to_owned(),
            log_group: 0x4547,
            log_programs: false,
        }
    }
}

/// A workload in the kernel: the id of its cgroup, which this kernel gives to no other until it is booted again.
pub type WorkloadId = u64;

/// The listener of a workload, as the kernel programs need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerAddress {
    /// Port on 127.0.0.1, and on `::1` if there is IPv6.
    pub port: u16,
    /// Whether it listens on `::1` too.
    pub ipv6: bool,
}

/// Loaded and pinned enforcement.
pub struct Kernel {
    programs: Programs,
    maps: Maps,
    pins: Pins,
    netfilter: Arc<Netfilter>,
    addresses: AddressBook,
    pods: HashMap<String, WorkloadId>,
    /// The host sides of veths that this process has attached the program to, or found it on.
    veths: HashMap<u32, Pinned>,
    reports: Option<Reports>,
}

impl Kernel {
    /// Loads the programs and takes over what an earlier process pinned: from here on every link runs this process's programs.
    /// What it left enrolled is in [`Self::enrolled`].
    ///
    /// Call it in the node's own network namespace: the nft table is made there, and interfaces are looked up there.
    pub fn open(options: &Options) -> Result<Self, Error> {
        requirements::check()?;
        for missing in Self::missing_features() {
            tracing::warn!("this kernel has {missing}");
        }
        let pins = Pins::open(&options.pin_directory)?;
        let host = Netns::current()?;
        let table =
            netfilter::Options { table: options.table.clone(), mark: options.mark, log_group: options.log_group };
        let netfilter = Arc::new(Netfilter::open(&host, table)?);
        let (mut programs, maps, ring) = programs::load(options, &pins)?;
        let mut pods = HashMap::new();
        for pinned in pins.pods()? {
            for link in pins.links(&pinned)? {
                programs.take_over(&link)?;
            }
            pods.insert(pinned.pod, pinned.workload);
        }
        for interface in maps.veths()? {
            programs.take_over_veth(interface)?;
        }
        let addresses = AddressBook::new(maps.addresses()?);
        let reports = Some(Reports::new(ring, netfilter.clone(), host, addresses.clone()));
        Ok(Self { programs, maps, pins, netfilter, addresses, pods, veths: HashMap::new(), reports })
    }

    /// What this kernel lacks, and what that means. [`Self::open`] warns of each; without what it can't do without, it fails.
    pub fn missing_features() -> Vec<&'static str> {
        requirements::missing()
    }

    /// The pods that are enrolled, those of an earlier process included.
    pub fn enrolled(&self) -> impl Iterator<Item = Pinned> + '_ {
        self.pods.iter().map(|(pod, workload)| Pinned { pod: pod.clone(), workload: *workload })
    }

    /// Replaces the control-plane set: what is new is in force before what is old is gone.
    pub fn set_control_plane(&mut self, set: &ControlPlaneSet) -> Result<(), Error> {
        self.netfilter.set_endpoints(&set.endpoints())?;
        self.netfilter.set_local_ports(&set.local_ports.iter().copied().collect::<Vec<_>>())?;
        control_plane::replace(&mut self.maps.control_plane, set)
    }

    /// Attaches the cgroup hooks to a pod's own cgroup: from here on the control-plane set is closed to it.
    ///
    /// What an earlier attempt attached stays, what is missing is added.
    pub fn attach_pod(&mut self, pod: &str, cgroup: &Path) -> Result<WorkloadId, Error> {
        let directory = std::fs::File::open(cgroup).map_err(|error| {
            Error::syscall("open", format!("opening the cgroup {}", cgroup.display()), "is the pod gone?", error)
        })?;
        let workload = directory
            .metadata()
            .map_err(|error| Error::syscall("fstat", format!("reading the id of {}", cgroup.display()), "", error))?
            .ino();
        self.maps.add_cgroup(workload)?;
        let pinned = Pinned { pod: pod.to_owned(), workload };
        self.pins.add_pod(&pinned)?;
        self.programs.attach_cgroup(&directory, cgroup, &pinned, &self.pins)?;
        self.pods.insert(pod.to_owned(), workload);
        Ok(workload)
    }

    /// Says where the listener of a workload is; its sockets are told by their network namespace's cookie.
    ///
    /// Replaces an earlier listener at once: a connect reaches the one or the other. Returns the port of the earlier one, which need not be
    /// reserved any more ([`crate::listener::release_port`]).
    pub fn set_listener(
        &mut self,
        workload: WorkloadId,
        netns_cookie: u64,
        listener: ListenerAddress,
    ) -> Result<Option<u16>, Error> {
        let entry = NetnsEntry { workload, port: listener.port, ipv6: listener.ipv6.into(), reserved: [0; 5] };
        let before = self.maps.set_netns(netns_cookie, entry)?;
        Ok(before.map(|before| before.port).filter(|port| *port != 0 && *port != listener.port))
    }

    /// Attaches the backstop to the host side of a pod's veth. `addresses` are the pod's own: nothing else passes as a source.
    ///
    /// `interface` is the host side's index in the calling thread's network namespace.
    pub fn attach_veth(&mut self, workload: WorkloadId, interface: u32, addresses: &[IpAddr]) -> Result<(), Error> {
        let wanted: Vec<_> = addresses
            .iter()
            .map(|address| VethAddressKey { interface, address: control_plane::to_address(*address) })
            .collect();
        self.maps.set_veth(interface, VethEntry { workload }, &wanted)?;
        self.addresses.add(workload, addresses);
        let pod = self.pods.iter().find(|(_, id)| **id == workload).map(|(pod, _)| pod.clone());
        let pinned = Pinned { pod: pod.ok_or(Error::UnknownWorkload { workload })?, workload };
        // The error of one that is gone is that of attaching to it.
        let name = interfaces::name(interface)?.unwrap_or_else(|| "?".to_owned());
        self.programs.put_first(interface, &name, &pinned, &self.pins)?;
        self.veths.insert(interface, pinned);
        Ok(())
    }

    /// The veths that the program is attached to: the interface's index, and whose it is.
    pub fn veths(&self) -> Vec<(u32, Pinned)> {
        self.veths.iter().map(|(interface, pinned)| (*interface, pinned.clone())).collect()
    }

    /// Puts the program of one of these [`veths`](Self::veths) back where somebody removed it, or put another before it; the
    /// interface's name if that was needed.
    ///
    /// Call it in the network namespace that [`Self::attach_veth`] was called in. An interface that is gone needs nothing.
    pub fn ensure_veth(&mut self, interface: u32) -> Result<Option<String>, Error> {
        let Some((pinned, name)) = self.veths.get(&interface).zip(interfaces::name(interface)?) else {
            return Ok(None);
        };
        let was_needed = self.programs.put_first(interface, &name, pinned, &self.pins)?;
        Ok(was_needed.then_some(name))
    }

    /// Ends enforcement on a pod that is gone, and forgets all that was kept of it.
    pub fn release(&mut self, pod: &str) -> Result<(), Error> {
        let Some(workload) = self.pods.get(pod).copied() else {
            return Ok(());
        };
        for interface in self.maps.veths_of(workload)? {
            self.programs.detach_veth(interface)?;
        }
        self.pins.remove_pod(&Pinned { pod: pod.to_owned(), workload })?;
        self.maps.forget(workload)?;
        for address in self.addresses.remove(workload) {
            self.netfilter.forget(address)?;
        }
        self.veths.retain(|_, pinned| pinned.workload != workload);
        self.pods.remove(pod);
        Ok(())
    }

    /// Ends enforcement on every pod and removes all pins.
    pub fn uninstall(mut self) -> Result<(), Error> {
        let pods: Vec<_> = self.pods.keys().cloned().collect();
        for pod in pods {
            self.release(&pod)?;
        }
        self.netfilter.remove()?;
        self.pins.remove_all()
    }

    /// Puts the nft rules back where somebody removed or altered them; whether that was needed. Set the control-plane set anew if so.
    pub fn ensure_netfilter(&self) -> Result<bool, Error> {
        self.netfilter.ensure()
    }

    /// How often each workload was refused, by hook and reason. Exact, whether or not anybody reads the reports.
    pub fn refusals(&self) -> Result<Vec<Refusals>, Error> {
        let mut refusals = counters::read(&self.maps.refusals)?;
        refusals.extend(counters::of_netfilter(&self.netfilter.refused()?, &self.addresses));
        Ok(refusals)
    }

    /// Reports of the programs that were lost since they were loaded, because nobody took them out of the full ring buffer.
    pub fn lost_reports(&self) -> Result<u64, Error> {
        counters::lost(&self.maps.lost)
    }

    /// The reports of refusals, one by one; `None` from the second call on.
    pub fn take_reports(&mut self) -> Option<Reports> {
        self.reports.take()
    }
}
