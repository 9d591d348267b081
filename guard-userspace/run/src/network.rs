//! The command's network: a veth with masquerading, closed towards the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use guard_kernel::netfilter::Masquerade;
use guard_kernel::netns::Netns;
use guard_kernel::veth::{self, Plan, Subnet};
use rand::Rng as _;

use crate::state::way_out_table;
use crate::{Error, Run, forwarding};

/// How the names of all our interfaces on the host begin.
pub const KIN: &str = "egr";
/// How often a free address is looked for.
const ATTEMPTS: usize = 32;
/// Addresses between two runs' networks.
const STEP: u32 = 4;
/// 100.64.0.0/10, of providers' own networks (RFC 6598): seldom used where commands run.
const POOL: (u32, u32) = (u32::from_be_bytes([100, 64, 0, 0]), 1 << 22);

/// A network that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The host's end: the command's way out.
    pub gateway: Ipv4Addr,
    /// The command's own addresses.
    pub addresses: Vec<IpAddr>,
    /// Index of the host's end.
    pub interface: u32,
}

impl Network {
    /// Makes it between the host's namespace, in which the caller is, and the command's.
    pub(crate) fn make(run: &Run, host: &Netns, inside: &Netns) -> Result<Self, Error> {
        let plan = Plan {
            name: interface(&run.id),
            v4: free(host)?,
            v6: forwarding::has_ipv6().then(|| unique(&mut rand::rng())),
        };
        let forward_nothing_else = run.forward(plan.v6.is_some())?;
        let way_out = Masquerade {
            table: way_out_table(&run.id),
            interface: plan.name.clone(),
            kin: KIN.to_owned(),
            v4: plan.v4.inner,
            v6: plan.v6.map(|v6| v6.inner),
            forward_nothing_else,
        };
        // Before there is an interface: at no time is it open.
        way_out.install(host)?;
        let interface = plan.make(host, inside)?;
        Ok(Self { gateway: plan.v4.outer, addresses: plan.inner(), interface })
    }
}

/// The name of a run's interface on the host.
pub(crate) fn interface(id: &str) -> String {
    format!("{KIN}{id}")
}

/// Two addresses that the machine has no way to.
fn free(host: &Netns) -> Result<Subnet<Ipv4Addr>, Error> {
    for _ in 0..ATTEMPTS {
        let (first, length) = POOL;
        let network = first + rand::rng().random_range(0..length / STEP) * STEP;
        let subnet = Subnet { outer: Ipv4Addr::from(network + 1), inner: Ipv4Addr::from(network + 2), prefix: 30 };
        if !veth::is_routed(host, subnet.inner)? {
            return Ok(subnet);
        }
    }
    Err(Error::NoAddress)
}

/// A unique local prefix (RFC 4193): 40 random bits meet nobody's.
fn unique(random: &mut impl rand::Rng) -> Subnet<Ipv6Addr> {
    let bits: u64 = random.random();
    let word = |shift: u32| u16::try_from(bits >> shift & 0xffff).expect("16 bits");
    let at = |last| Ipv6Addr::new(0xfd00 | (word(0) & 0xff), word(16), word(32), 0, 0, 0, 0, last);
    Subnet { outer: at(1), inner: at(2), prefix: 126 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_prefix_is_local_and_both_ends_are_in_it() {
        let subnet = unique(&mut rand::rng());
        assert!(subnet.outer.is_unique_local() && subnet.outer.octets()[0] == 0xfd);
        assert_eq!(subnet.outer.octets()[..15], subnet.inner.octets()[..15]);
    }
}
