//! A pod of the lab behind the kernel programs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guard_common::{Hook, Reason};
use guard_kernel::kernel::{ControlPlaneSet, Entry, Kernel, Options, Service, WorkloadId};
use guard_kernel::packet;

use crate::lab::{Cgroup, End, Lab, eventually};

pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);
pub(crate) const POD6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);
pub(crate) const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd09, 1, 0, 0, 0, 0, 0, 2);
pub(crate) const API_PORT: u16 = 6443;
pub(crate) const OTHER_PORT: u16 = 5000;

/// A pod behind the veth program, and pins of the test's own.
pub(crate) struct Guarded {
    pub(crate) lab: Lab,
    pub(crate) cgroup: Cgroup,
    pub(crate) pins: PathBuf,
    pub(crate) kernel: Option<Kernel>,
    pub(crate) workload: WorkloadId,
}

impl Guarded {
    pub(crate) fn new(name: &str) -> Self {
        Self::in_lab(name, Lab::new())
    }

    pub(crate) fn in_lab(name: &str, lab: Lab) -> Self {
        let cgroup = Cgroup::new(name);
        let pins = PathBuf::from(format!("/sys/fs/bpf/guard-test-{}-{name}", std::process::id()));
        // Here the veth's program marks.
        lab.host.nft("delete chain inet lab set_mark");
        lab.host.nft(
            "table inet seen {
                counter marked {}
                chain prerouting {
                    type filter hook prerouting priority -450
                    meta l4proto != ipv6-icmp meta mark and 0x2000 == 0x2000 counter name marked
                }
            }",
        );
        let workload = cgroup.id();
        let mut guarded = Self { lab, cgroup, pins, kernel: None, workload };
        let mut kernel = guarded.open();
        kernel.set_control_plane(&control_plane()).unwrap();
        assert_eq!(kernel.attach_pod("pod-uid", guarded.cgroup.path()).unwrap(), workload);
        guarded.attach_veth(&mut kernel);
        guarded.kernel = Some(kernel);
        guarded
    }

    pub(crate) fn open(&self) -> Kernel {
        self.lab.host.netns.run(|| Kernel::open(&Options::pinned_in(&self.pins))).unwrap().unwrap()
    }

    pub(crate) fn attach_veth(&self, kernel: &mut Kernel) {
        let index = self.lab.host.index("to_pod");
        let interfaces = guard_kernel::interfaces::list(&self.lab.pod.netns).unwrap();
        let addresses = interfaces.into_iter().find(|interface| interface.name == "eth0").unwrap().addresses;
        assert!(addresses.contains(&POD.into()) && addresses.contains(&POD6.into()));
        self.lab.host.netns.run(|| kernel.attach_veth(self.workload, index, &addresses)).unwrap().unwrap();
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        self.kernel.as_ref().unwrap()
    }

    pub(crate) fn refused(&self) -> BTreeMap<(Hook, Reason), u64> {
        refused(self.kernel(), self.workload)
    }

    /// Sends to the API server all the while that the rounds last, some packets in each; how many they were. What a round gives lives as
    /// long as it.
    pub(crate) fn under_flood<T>(
        &mut self,
        rounds: u32,
        packets_in_each: u64,
        mut round: impl FnMut(&mut Self) -> T,
    ) -> u64 {
        let flood = self.lab.pod.udp("10.9.0.2:0");
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    flood.send_to(b"x", (SERVER, API_PORT)).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
            let _end = End(&stop);
            for _ in 0..rounds {
                let before = sent.load(Ordering::Relaxed);
                let _held = round(self);
                let enough = || (sent.load(Ordering::Relaxed) > before + packets_in_each).then_some(());
                eventually("packets are sent meanwhile", enough);
            }
        });
        sent.load(Ordering::Relaxed)
    }

    pub(crate) fn inject(&self, frame: &[u8]) {
        packet::inject(&self.lab.pod.netns, self.lab.pod.index("eth0"), frame).unwrap();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(kernel) = self.kernel.take() {
            kernel.uninstall().unwrap();
        }
    }
}

pub(crate) fn refused(kernel: &Kernel, workload: WorkloadId) -> BTreeMap<(Hook, Reason), u64> {
    let all = kernel.refusals().unwrap();
    all.into_iter().filter(|r| r.workload == workload).map(|r| ((r.hook, r.reason), r.count)).collect()
}

/// The server is the API server on one port; the rest of it is not in the set.
pub(crate) fn control_plane() -> ControlPlaneSet {
    let service = Service::ApiServer { port: API_PORT };
    let entries = [IpAddr::V4(SERVER), IpAddr::V6(SERVER6)].map(|address| Entry { address, service });
    ControlPlaneSet { entries: entries.into(), ..ControlPlaneSet::default() }
}
