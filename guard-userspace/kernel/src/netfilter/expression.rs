//! The expressions that rules are made of, as the kernel wants them encoded.
//!
//! A rule runs its expressions in order on a file of registers until one doesn't match. `nft --debug=netlink list
//! ruleset` shows the same names.

use crate::netlink::Request;

// linux/netfilter/nf_tables.h
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFT_META_MARK: u32 = 3;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_OIFNAME: u32 = 7;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFT_CT_STATE: u32 = 0;
/// `NF_CT_STATE_BIT(IP_CT_NEW)` and `NF_CT_STATE_INVALID_BIT`.
const NEW_OR_INVALID: u32 = 1 << 3 | 1;
const NFT_REJECT_ICMPX_UNREACH: u32 = 2;
const NFT_REJECT_ICMPX_ADMIN_PROHIBITED: u8 = 3;
/// Bytes of an interface's name, NUL included.
const IFNAMSIZ: usize = 16;
const NFT_DYNSET_OP_UPDATE: u32 = 1;
const NFT_REG_VERDICT: u32 = 0;
/// The first of the 32-bit registers; a key of several fields lies in consecutive ones.
const NFT_REG32_00: u32 = 8;
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;

/// The address family of a packet, by netfilter's number.
#[derive(Clone, Copy)]
pub(super) enum Family {
    V4 = 2,
    V6 = 10,
}

/// What a rule does with a packet that matched.
pub(super) enum Verdict<'a> {
    Drop,
    /// Nothing more of this base chain.
    Accept,
    /// The other chain, then on with the next rule here.
    Jump(&'a str),
    /// The other chain, then not back here.
    Goto(&'a str),
}

/// The expressions of one rule, in the list attribute that is being built.
pub(super) struct Expressions(Request);

impl Expressions {
    pub(super) fn new(list: Request) -> Self {
        Self(list)
    }

    pub(super) fn done(self) -> Request {
        self.0
    }

    /// Matches packets of which all bits of `mark` are set.
    pub(super) fn marked(self, mark: u32) -> Self {
        // The mark is compared as the number that the machine holds in memory.
        let bits = mark.to_ne_bytes();
        self.meta(NFT_META_MARK, NFT_REG32_00)
            .expression("bitwise", |data| {
                data.number(1, NFT_REG32_00)
                    .number(2, NFT_REG32_00)
                    .number(3, 4)
                    .nest(4, |mask| mask.attribute(NFTA_DATA_VALUE, &bits))
                    .nest(5, |xor| xor.attribute(NFTA_DATA_VALUE, &[0; 4]))
            })
            .equals(&bits)
    }

    /// Matches packets of the family; without it, offsets into the network header mean nothing.
    pub(super) fn family(self, family: Family) -> Self {
        self.meta(NFT_META_NFPROTO, NFT_REG32_00).equals(&[family as u8])
    }

    /// Matches packets of the transport protocol.
    pub(super) fn protocol(self, number: u8) -> Self {
        self.meta(NFT_META_L4PROTO, NFT_REG32_00).equals(&[number])
    }

    /// Matches packets to the port, of a protocol that was matched before.
    pub(super) fn port(self, port: u16) -> Self {
        self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG32_00).equals(&port.to_be_bytes())
    }

    /// Matches packets that came in by this interface.
    pub(super) fn comes_from(self, interface: &str) -> Self {
        self.meta(NFT_META_IIFNAME, NFT_REG32_00).equals(&whole_name(interface))
    }

    /// Matches packets that go out by this interface.
    pub(super) fn goes_to(self, interface: &str) -> Self {
        self.meta(NFT_META_OIFNAME, NFT_REG32_00).equals(&whole_name(interface))
    }

    /// Matches packets that came in by an interface whose name begins so.
    pub(super) fn comes_from_kin(self, beginning: &str) -> Self {
        self.meta(NFT_META_IIFNAME, NFT_REG32_00).equals(beginning.as_bytes())
    }

    /// Matches packets that go out by an interface whose name begins so.
    pub(super) fn goes_to_kin(self, beginning: &str) -> Self {
        self.meta(NFT_META_OIFNAME, NFT_REG32_00).equals(beginning.as_bytes())
    }

    /// Matches packets that begin a connection, or belong to none.
    pub(super) fn begins_connection(self) -> Self {
        let bits = NEW_OR_INVALID.to_ne_bytes();
        self.expression("ct", |data| data.number(1, NFT_REG32_00).number(2, NFT_CT_STATE))
            .expression("bitwise", |data| {
                data.number(1, NFT_REG32_00)
                    .number(2, NFT_REG32_00)
                    .number(3, 4)
                    .nest(4, |mask| mask.attribute(NFTA_DATA_VALUE, &bits))
                    .nest(5, |xor| xor.attribute(NFTA_DATA_VALUE, &[0; 4]))
            })
            .compares(NFT_CMP_NEQ, &[0; 4])
    }

    /// Matches when the key that was loaded is this.
    pub(super) fn equal_to(self, key: &[u8]) -> Self {
        self.equals(key)
    }

    /// Gives the packet, and its connection, the address of the interface that it leaves by.
    pub(super) fn masquerade(self) -> Self {
        self.expression("masq", |data| data)
    }

    /// Drops the packet and says so to its sender.
    pub(super) fn reject(self) -> Self {
        self.expression("reject", |data| {
            data.number(1, NFT_REJECT_ICMPX_UNREACH).attribute(2, &[NFT_REJECT_ICMPX_ADMIN_PROHIBITED])
        })
    }

    /// Loads the source address as the key.
    pub(super) fn source(self, family: Family) -> Self {
        match family {
            Family::V4 => self.payload(NFT_PAYLOAD_NETWORK_HEADER, 12, 4, NFT_REG32_00),
            Family::V6 => self.payload(NFT_PAYLOAD_NETWORK_HEADER, 8, 16, NFT_REG32_00),
        }
    }

    /// Loads the destination address as the key.
    pub(super) fn destination(self, family: Family) -> Self {
        match family {
            Family::V4 => self.payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4, NFT_REG32_00),
            Family::V6 => self.payload(NFT_PAYLOAD_NETWORK_HEADER, 24, 16, NFT_REG32_00),
        }
    }

    /// Loads protocol and destination port, behind `words` 32-bit words of the key.
    pub(super) fn protocol_and_port(self, words: u32) -> Self {
        let register = NFT_REG32_00 + words;
        self.meta(NFT_META_L4PROTO, register).payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, register + 1)
    }

    /// Matches when the key is in the set.
    pub(super) fn found_in(self, set: &str) -> Self {
        self.expression("lookup", |data| data.text(1, set).number(2, NFT_REG32_00))
    }

    /// Counts the packet at the key's element of the set, which is made where there is none. When the set is full the
    /// rule ends, and the packet goes on to the next.
    pub(super) fn count_in(self, set: &str) -> Self {
        self.expression("dynset", |data| {
            data.text(1, set)
                .number(3, NFT_DYNSET_OP_UPDATE)
                .number(4, NFT_REG32_00)
                .nest(7, |counter| counter.text(NFTA_EXPR_NAME, "counter").nest(NFTA_EXPR_DATA, |initial| initial))
        })
    }

    /// Sends the first bytes of the packet to the readers of an NFLOG group.
    pub(super) fn report(self, group: u16, prefix: &str, bytes: u32) -> Self {
        self.expression("log", |data| data.attribute(1, &group.to_be_bytes()).text(2, prefix).number(3, bytes))
    }

    pub(super) fn verdict(self, verdict: &Verdict<'_>) -> Self {
        let (code, chain) = match verdict {
            Verdict::Drop => (NF_DROP, None),
            Verdict::Accept => (NF_ACCEPT, None),
            Verdict::Jump(chain) => (NFT_JUMP, Some(*chain)),
            Verdict::Goto(chain) => (NFT_GOTO, Some(*chain)),
        };
        self.expression("immediate", |data| {
            data.number(1, NFT_REG_VERDICT).nest(2, |value| {
                value.nest(NFTA_DATA_VERDICT, |verdict| {
                    let verdict = verdict.attribute(1, &code.to_be_bytes());
                    match chain {
                        Some(chain) => verdict.text(2, chain),
                        None => verdict,
                    }
                })
            })
        })
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.expression("meta", |data| data.number(1, register).number(2, key))
    }

    fn payload(self, base: u32, offset: u32, length: u32, register: u32) -> Self {
        self.expression("payload", |data| data.number(1, register).number(2, base).number(3, offset).number(4, length))
    }

    fn equals(self, value: &[u8]) -> Self {
        self.compares(NFT_CMP_EQ, value)
    }

    fn compares(self, how: u32, value: &[u8]) -> Self {
        self.expression("cmp", |data| {
            data.number(1, NFT_REG32_00).number(2, how).nest(3, |data| data.attribute(NFTA_DATA_VALUE, value))
        })
    }

    fn expression(self, name: &str, data: impl FnOnce(Request) -> Request) -> Self {
        Self(self.0.nest(NFTA_LIST_ELEM, |element| element.text(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, data)))
    }
}

/// With its NULs, so that no longer name matches.
fn whole_name(interface: &str) -> [u8; IFNAMSIZ] {
    let mut name = [0; IFNAMSIZ];
    let length = interface.len().min(IFNAMSIZ - 1);
    name[..length].copy_from_slice(&interface.as_bytes()[..length]);
    name
}
