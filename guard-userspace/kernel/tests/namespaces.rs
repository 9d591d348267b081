//! The crate against a real kernel, in network namespaces of the test's own. Needs root, `ip` and `nft`.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

#[path = "namespaces/cgroups.rs"]
mod cgroups;
#[path = "namespaces/enforcement.rs"]
mod enforcement;
#[path = "namespaces/genetlink.rs"]
mod genetlink;
#[path = "namespaces/guarded.rs"]
mod guarded;
#[path = "namespaces/interfaces.rs"]
mod interfaces;
#[path = "namespaces/intruders.rs"]
mod intruders;
#[path = "namespaces/lab.rs"]
mod lab;
#[path = "namespaces/listener.rs"]
mod listener;
#[path = "namespaces/netfilter.rs"]
mod netfilter;
#[path = "namespaces/netns.rs"]
mod netns;
#[path = "namespaces/pod_hooks.rs"]
mod pod_hooks;
#[path = "namespaces/sent_on.rs"]
mod sent_on;
#[path = "namespaces/sockets.rs"]
mod sockets;
#[path = "namespaces/tcx.rs"]
mod tcx;
#[path = "namespaces/veth.rs"]
mod veth;
#[path = "namespaces/wireguard.rs"]
mod wireguard;
