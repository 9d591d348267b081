//! Is this service in the control-plane set, and what becomes of traffic to it?

use guard_common::{ANY_PROTOCOL, Action, Address, Nat64Prefix, ServiceKey};

use crate::maps::{CONTROL_PLANE, NAT64_PREFIX};

/// What the set says of one address.
pub struct Listed {
    address: Address,
    rest: u32,
}

/// Looks an address up; `None`: it is not in the set.
#[inline(always)]
pub fn listed(address: Address) -> Option<Listed> {
    let [a, b, c] = NAT64_PREFIX.load().map(u32::to_ne_bytes);
    let prefix = Nat64Prefix([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3]]);
    let address = address.translated(&prefix);
    let rest = action(&ServiceKey::rest_of(address))?;
    Some(Listed { address, rest })
}

impl Listed {
    /// What becomes of traffic to a port of this address.
    #[inline(always)]
    pub fn service(&self, port: u16, protocol: u8) -> u32 {
        if let Some(action) = action(&ServiceKey::new(self.address, port, protocol)) {
            return action;
        }
        if let Some(action) = action(&ServiceKey::new(self.address, port, ANY_PROTOCOL)) {
            return action;
        }
        self.rest
    }

    /// Whether the set holds only some services of this address.
    #[inline(always)]
    pub fn is_partial(&self) -> bool {
        self.rest == Action::Pass as u32
    }
}

#[inline(always)]
fn action(key: &ServiceKey) -> Option<u32> {
    // SAFETY: the value is one aligned word; a concurrent update shows the old or the new one.
    unsafe { CONTROL_PLANE.get(key) }.map(|entry| entry.action)
}
