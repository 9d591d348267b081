//! `ip` and `cidr`.

use std::fmt;
use std::net::IpAddr;

use super::Implementation;
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::Value;

/// An address and how many of its bits name the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Reads `address/bits`. A zone, a leading zero or a mapped address is refused.
    fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = text.rsplit_once('/').ok_or("no '/'")?;
        if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("bad bits after slash".to_owned());
        }
        if bits.len() > 1 && bits.starts_with('0') {
            return Err("bad bits after slash".to_owned());
        }
        let address = parse_address(address)?;
        let bits: u8 = bits.parse().map_err(|_| "prefix length out of range")?;
        if bits > width(address) { Err("prefix length out of range".to_owned()) } else { Ok(Self { address, bits }) }
    }

    /// Bits of the prefix.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether an address is in it; one of the other family never is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && network(self.address, self.bits) == network(address, self.bits)
    }

    fn contains_all_of(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address as a number with all bits but the first cleared.
fn network(address: IpAddr, bits: u8) -> u128 {
    let (number, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let host = u32::from(width - bits);
    if host == 128 { 0 } else { number >> host << host }
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    let refused = |why: &str| Err(format!("IP Address {text:?} parse error during conversion from string: {why}"));
    match text.parse() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        Ok(address) => Ok(address),
        Err(_) if text.contains('%') => Err(format!("IP address {text:?} with zone value is not allowed")),
        Err(_) => refused("unable to parse IP"),
    }
}

pub(super) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "ip" => ip,
        "cidr" => cidr,
        "isIP" => |_, arguments| Ok(Value::Bool(parse_address(text(arguments)?).is_ok())),
        "isCIDR" => |_, arguments| Ok(Value::Bool(Cidr::parse(text(arguments)?).is_ok())),
        "ip.isCanonical" => |_, arguments| {
            let text = text(arguments)?;
            let address = parse_address(text).map_err(EvaluationError::failed)?;
            Ok(Value::Bool(address.to_string() == text))
        },
        "family" => |_, arguments| Ok(Value::Int(if address(arguments)?.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |_, arguments| Ok(Value::Bool(address(arguments)?.is_unspecified())),
        "isLoopback" => |_, arguments| Ok(Value::Bool(address(arguments)?.is_loopback())),
        "isLinkLocalMulticast" => |_, arguments| Ok(Value::Bool(is_link_local_multicast(address(arguments)?))),
        "isLinkLocalUnicast" => |_, arguments| Ok(Value::Bool(is_link_local_unicast(address(arguments)?))),
        "isGlobalUnicast" => |_, arguments| Ok(Value::Bool(is_global_unicast(address(arguments)?))),
        "containsIP" => contains_ip,
        "containsCIDR" => contains_cidr,
        "prefixLength" => |_, arguments| Ok(Value::Int(i64::from(network_of(arguments)?.bits))),
        "masked" => masked,
        _ => return None,
    })
}

fn text<'v>(arguments: &'v [Value<'_>]) -> Outcome<&'v str> {
    match arguments {
        [Value::String(text)] => Ok(text),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn address(arguments: &[Value<'_>]) -> Outcome<IpAddr> {
    match arguments {
        [Value::Ip(address)] => Ok(*address),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn network_of(arguments: &[Value<'_>]) -> Outcome<Cidr> {
    match arguments {
        [Value::Cidr(cidr), ..] => Ok(*cidr),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn ip<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::Cidr(cidr)] => Ok(Value::Ip(cidr.address)),
        _ => parse_address(text(arguments)?).map(Value::Ip).map_err(EvaluationError::failed),
    }
}

fn read_cidr(text: &str) -> Outcome<Cidr> {
    let context = "network address parse error during conversion from string";
    Cidr::parse(text).map_err(|reason| EvaluationError::failed(format!("{context}: {reason}")))
}

fn cidr<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    read_cidr(text(arguments)?).map(Value::Cidr)
}

fn contains_ip<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let address = match arguments {
        [_, Value::Ip(address)] => *address,
        [_, Value::String(text)] => parse_address(text).map_err(EvaluationError::failed)?,
        _ => return Err(EvaluationError::no_such_overload()),
    };
    Ok(Value::Bool(network_of(arguments)?.contains(address)))
}

fn contains_cidr<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let other = match arguments {
        [_, Value::Cidr(other)] => *other,
        [_, Value::String(text)] => read_cidr(text)?,
        _ => return Err(EvaluationError::no_such_overload()),
    };
    Ok(Value::Bool(network_of(arguments)?.contains_all_of(&other)))
}

fn masked<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let Cidr { address, bits } = network_of(arguments)?;
    let first = network(address, bits);
    let address = match address {
        // The number of an IPv4 address has 32 bits.
        IpAddr::V4(_) => IpAddr::from(u32::try_from(first).unwrap_or_default().to_be_bytes()),
        IpAddr::V6(_) => IpAddr::from(first.to_be_bytes()),
    };
    Ok(Value::Cidr(Cidr { address, bits }))
}

/// 224.0.0.0/24, or a multicast address of link-local scope.
fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Neither unspecified, nor loopback, nor multicast, nor link-local, nor broadcast. Private addresses are.
fn is_global_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !broadcast && !special && !is_link_local_unicast(address)
}
