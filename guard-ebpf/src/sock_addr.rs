//! What the hooks on socket addresses share: whose socket it is, where it would go.

use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_netns_cookie},
    programs::SockAddrContext,
};
use guard_common::{Action, Address, Hook, NetnsEntry, PROTOCOL_MPTCP, PROTOCOL_TCP, Reason};

use crate::{
    control_plane::listed,
    maps::{MEANT_FOR, MeantFor, NETNS},
    refuse::{Refused, refuse},
    workload::among_ancestors,
};

/// What a hook answers: the system call goes on, perhaps to another address.
pub const PROCEED: i32 = 1;
/// What a hook answers: the system call fails with EPERM.
pub const REFUSE: i32 = 0;

const SOCK_STREAM: u32 = 1;

/// A socket call's context, its words read one by one as the verifier wants.
pub struct Call<'a> {
    pub ctx: &'a SockAddrContext,
    pub hook: Hook,
    pub destination: Address,
}

impl<'a> Call<'a> {
    #[inline(always)]
    pub fn ipv4(ctx: &'a SockAddrContext, hook: Hook) -> Self {
        // SAFETY: the kernel passes a valid context; a volatile read keeps it a single word.
        let octets = unsafe { (&raw const (*ctx.sock_addr).user_ip4).read_volatile() };
        Self { ctx, hook, destination: Address::from_ipv4(octets.to_ne_bytes()) }
    }

    #[inline(always)]
    pub fn ipv6(ctx: &'a SockAddrContext, hook: Hook) -> Self {
        let mut bytes = [0; 16];
        for index in 0..4 {
            // SAFETY: as above; the index is below 4.
            let word = unsafe { (&raw const (*ctx.sock_addr).user_ip6[index]).read_volatile() }.to_ne_bytes();
            bytes[4 * index] = word[0];
            bytes[4 * index + 1] = word[1];
            bytes[4 * index + 2] = word[2];
            bytes[4 * index + 3] = word[3];
        }
        Self { ctx, hook, destination: Address(bytes) }
    }

    #[inline(always)]
    fn sock_addr(&self) -> *mut bpf_sock_addr {
        self.ctx.sock_addr
    }

    /// Host byte order.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        // SAFETY: as above.
        u16::from_be(unsafe { (&raw const (*self.sock_addr()).user_port).read_volatile() } as u16)
    }

    /// The protocol on the wire.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        // SAFETY: as above.
        let protocol = unsafe { (&raw const (*self.sock_addr()).protocol).read_volatile() };
        if protocol == PROTOCOL_MPTCP { PROTOCOL_TCP } else { protocol as u8 }
    }

    #[inline(always)]
    fn is_tcp(&self) -> bool {
        // SAFETY: as above.
        let kind = unsafe { (&raw const (*self.sock_addr()).type_).read_volatile() };
        kind == SOCK_STREAM && self.protocol() == PROTOCOL_TCP
    }

    /// The workload whose network namespace the socket lives in.
    #[inline(always)]
    pub fn netns(&self) -> Option<NetnsEntry> {
        // SAFETY: the context is the one that the helper wants.
        let cookie = unsafe { bpf_get_netns_cookie(self.ctx.as_ptr()) };
        // SAFETY: the entry is copied at once; user space replaces entries whole.
        unsafe { NETNS.get(&cookie) }.copied()
    }

    /// Refuses.
    #[inline(always)]
    pub fn refuse(&self, reason: Reason) -> i32 {
        let workload = match self.netns() {
            Some(netns) => netns.workload,
            None => current_workload(),
        };
        let refused = Refused {
            workload,
            hook: self.hook,
            reason,
            destination: self.destination,
            port: self.port(),
            protocol: self.protocol(),
        };
        refuse(self.ctx, &refused);
        REFUSE
    }

    /// Refuses what goes to the control-plane set.
    #[inline(always)]
    pub fn keep_out(&self) -> i32 {
        match listed(self.destination) {
            Some(listed) if listed.service(self.port(), self.protocol()) != Action::Pass as u32 => {
                self.refuse(Reason::ControlPlane)
            }
            _ => PROCEED,
        }
    }

    /// Where a connect goes: on, to the listener, or nowhere.
    #[inline(always)]
    pub fn route(&self) -> Route {
        let Some(listed) = listed(self.destination) else {
            return Route::Proceed;
        };
        let action = listed.service(self.port(), self.protocol());
        if action == Action::Pass as u32 {
            return Route::Proceed;
        }
        if action != Action::Redirect as u32 || !self.is_tcp() {
            return Route::Refuse(Reason::ControlPlane);
        }
        match self.netns() {
            Some(netns) if netns.port != 0 => Route::Listener(netns),
            _ => Route::Refuse(Reason::NoListener),
        }
    }

    /// Remembers where the socket meant to go. Without memory for that it is refused: a client that asks for its peer
    /// must not be told of the listener.
    #[inline(always)]
    pub fn remember(&self, netns: &NetnsEntry) -> bool {
        let port = to_user_port(self.port());
        let mut meant_for = MeantFor { address: self.destination, port, listener: to_user_port(netns.port) };
        // SAFETY: the context's socket is valid for the run; the storage is this socket's own.
        let stored = unsafe { MEANT_FOR.get_or_insert_ptr_mut(self.ctx, Some(&mut meant_for)) };
        if stored.is_null() {
            return false;
        }
        // A second connect of the same socket finds the storage of the first.
        // SAFETY: not null, so it is a map value.
        unsafe { stored.write(meant_for) };
        true
    }

    /// Where the socket meant to go, if the peer that it has is a listener that it was sent to.
    #[inline(always)]
    pub fn meant_for(&self) -> Option<MeantFor> {
        // SAFETY: as in `remember`.
        let stored = unsafe { MEANT_FOR.get_ptr_mut(self.ctx) };
        if stored.is_null() {
            return None;
        }
        // SAFETY: not null, so it is a map value.
        let meant_for = unsafe { stored.read() };
        // A socket may be disconnected and connected elsewhere.
        if meant_for.listener == to_user_port(self.port()) { Some(meant_for) } else { None }
    }

    /// Writes the port that user space, or the connect, sees: network byte order in the low half.
    #[inline(always)]
    pub fn set_port(&self, port: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.sock_addr()).user_port).write_volatile(port) };
    }

    /// Writes the IPv4 address, in memory order.
    #[inline(always)]
    pub fn set_ipv4(&self, octets: [u8; 4]) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.sock_addr()).user_ip4).write_volatile(u32::from_ne_bytes(octets)) };
    }

    /// Writes the IPv6 address.
    #[inline(always)]
    pub fn set_ipv6(&self, address: Address) {
        let b = address.0;
        for index in 0..4 {
            let at = 4 * index;
            let word = u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            // SAFETY: as above; the index is below 4.
            unsafe { (&raw mut (*self.sock_addr()).user_ip6[index]).write_volatile(word) };
        }
    }
}

/// See [`Call::route`].
pub enum Route {
    Proceed,
    Listener(NetnsEntry),
    Refuse(Reason),
}

/// The port as `user_port` wants it.
#[inline(always)]
pub fn to_user_port(port: u16) -> u32 {
    u32::from(port.to_be())
}

/// The workload in whose cgroup the calling task is: for a socket in a namespace that isn't the workload's own.
#[inline(always)]
fn current_workload() -> u64 {
    // SAFETY: the helper returns 0 for a level that isn't there.
    among_ancestors(|level| unsafe { bpf_get_current_ancestor_cgroup_id(level) })
}
