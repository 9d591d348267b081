//! One key for an address of either family.

/// An address in the form that every map uses: IPv6 as it is, IPv4 as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Address(pub [u8; 16]);

/// The first 96 bits of addresses that a NAT64 translator turns into IPv4 (RFC 6052 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Nat64Prefix(pub [u8; 12]);

/// `64:ff9b::/96` (RFC 6052 section 2.1).
pub const NAT64_WELL_KNOWN_PREFIX: Nat64Prefix = Nat64Prefix([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]);

const MAPPED_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

const _: () = assert!(size_of::<Address>() == 16 && size_of::<Nat64Prefix>() == 12);

impl Address {
    /// An IPv4 address, its octets in network order.
    #[inline(always)]
    pub const fn from_ipv4(octets: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, octets[0], octets[1], octets[2], octets[3]])
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub fn is_ipv4(&self) -> bool {
        self.starts_with(&MAPPED_PREFIX)
    }

    /// The IPv4 address that a NAT64 translator makes of this one.
    #[inline(always)]
    pub fn translated(self, prefix: &Nat64Prefix) -> Self {
        if self.starts_with(&prefix.0) {
            Self::from_ipv4([self.0[12], self.0[13], self.0[14], self.0[15]])
        } else {
            self
        }
    }

    /// Compares word by word: a byte loop costs the verifier twelve branches.
    #[inline(always)]
    fn starts_with(&self, prefix: &[u8; 12]) -> bool {
        word(&self.0, 0) == word(prefix, 0)
            && word(&self.0, 4) == word(prefix, 4)
            && word(&self.0, 8) == word(prefix, 8)
    }
}

#[inline(always)]
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_itself_behind_a_translator() {
        let service = Address::from_ipv4([10, 96, 0, 1]);
        let mut behind = service;
        behind.0[..12].copy_from_slice(&NAT64_WELL_KNOWN_PREFIX.0);
        assert!(!behind.is_ipv4());
        assert_eq!(behind.translated(&NAT64_WELL_KNOWN_PREFIX), service);
        assert!(service.is_ipv4());
        assert_eq!(service.translated(&NAT64_WELL_KNOWN_PREFIX), service);
    }
}
