//! The node guard's optional configuration file: what the cluster can't tell by itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use guard_certificates::SanName;
use guard_common::{Nat64Prefix, PROTOCOL_TCP, PROTOCOL_UDP};
use guard_kernel::kernel::{Entry, Service};
use guard_proxy::Limits;
use serde::Deserialize;

/// The file. Every field has a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Config {
    /// What belongs to the control-plane set beside what the cluster shows.
    pub(crate) control_plane: ControlPlane,
    /// The mark bits for agents' packets, in decimal or as `0x2000` in quotes.
    mark: Option<Mark>,
    /// The cluster's NAT64 prefix, of 96 bits: `64:ff9b::`.
    nat64_prefix: Option<Ipv6Addr>,
    /// What one agent pod may hold and do.
    pub(super) limits: Limits,
}

/// Additions to the control-plane set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ControlPlane {
    /// Further addresses of the API server (load balancers, public ones): connections there reach the guard.
    pub(super) aliases: BTreeSet<SocketAddr>,
    /// Further names that agents know the API server by (`kubernetes.default.svc.` and the cluster's domain, where it isn't `cluster.local`): the
    /// guard's certificate is for them, too.
    pub(super) names: BTreeSet<String>,
    /// Further services that are refused.
    refused: Vec<Refused>,
    /// Further ports that are refused on whatever address of the node.
    local_ports: Vec<LocalPort>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refused {
    address: IpAddr,
    /// All ports without it.
    port: Option<u16>,
    /// All protocols without it.
    protocol: Option<Protocol>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LocalPort {
    protocol: Protocol,
    port: u16,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Protocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "SCTP")]
    Sctp,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Mark {
    Number(u32),
    Text(String),
}

impl Config {
    /// Reads the file; the defaults where there is none.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text)?;
        for refused in &config.control_plane.refused {
            ensure!(
                refused.port.is_some() || refused.protocol.is_none(),
                "controlPlane.refused: {} has a protocol and no port; name both, or neither for all",
                refused.address
            );
        }
        for name in &config.control_plane.names {
            ensure!(
                matches!(name.parse(), Ok(SanName::Dns(_))),
                "controlPlane.names: {name:?} is no DNS name; addresses belong to aliases"
            );
        }
        config.mark()?;
        config.limits.check()?;
        Ok(config)
    }

    /// The configured mark.
    pub(super) fn mark(&self) -> Result<Option<u32>> {
        let mark = match &self.mark {
            None => return Ok(None),
            Some(Mark::Number(number)) => *number,
            Some(Mark::Text(text)) => match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => text.parse(),
            }
            .with_context(|| format!("mark: {text:?} is no number of 32 bits"))?,
        };
        ensure!(mark != 0, "mark: 0 marks nothing");
        Ok(Some(mark))
    }

    /// The configured NAT64 prefix.
    pub(super) fn nat64_prefix(&self) -> Option<Nat64Prefix> {
        self.nat64_prefix.map(|prefix| Nat64Prefix(*prefix.octets().first_chunk().expect("16 octets have a first 12")))
    }
}

impl ControlPlane {
    /// The entries of aliases and refused services.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let aliases = self
            .aliases
            .iter()
            .map(|alias| Entry { address: alias.ip(), service: Service::ApiServer { port: alias.port() } });
        let refused = self.refused.iter().map(|refused| Entry {
            address: refused.address,
            service: match refused.port {
                Some(port) => Service::Refused { protocol: refused.protocol.map(Protocol::number), port },
                None => Service::All,
            },
        });
        aliases.chain(refused)
    }

    /// Protocol number and port of the node's own services.
    pub(super) fn local_ports(&self) -> impl Iterator<Item = (u8, u16)> + '_ {
        self.local_ports.iter().map(|local| (local.protocol.number(), local.port))
    }
}

impl Protocol {
    fn number(self) -> u8 {
        const PROTOCOL_SCTP: u8 = 132;
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
            Self::Sctp => PROTOCOL_SCTP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_said() {
        let config = Config::parse(
            "controlPlane:\n  aliases: ['203.0.113.7:6443', '[2001:db8::7]:443']\n  refused:\n  - {address: 10.0.0.9}\n  - {address: 10.0.0.9, port: 10257, protocol: TCP}\n  localPorts:\n  - {protocol: TCP, port: 10257}\nmark: '0x10000'\nnat64Prefix: '2001:db8:64::'\n",
        )
        .unwrap();
        assert_eq!(config.mark().unwrap(), Some(0x10000));
        assert_eq!(config.nat64_prefix().unwrap().0[..6], [0x20, 0x01, 0x0d, 0xb8, 0, 0x64]);
        let services: Vec<_> = config.control_plane.entries().map(|entry| entry.service).collect();
        assert_eq!(
            services,
            [
                Service::ApiServer { port: 6443 },
                Service::ApiServer { port: 443 },
                Service::All,
                Service::Refused { protocol: Some(PROTOCOL_TCP), port: 10257 }
            ]
        );
        assert_eq!(config.control_plane.local_ports().collect::<Vec<_>>(), [(PROTOCOL_TCP, 10257)]);
    }

    #[test]
    fn a_limit_that_is_not_known_is_told_with_its_line() {
        let config = Config::parse("limits:\n  connections: 10\n  heldBytes: 1048576\n").unwrap();
        assert_eq!((config.limits.connections, config.limits.exchanges), (10, Limits::default().exchanges));
        let error = Config::parse("limits:\n  connections: 10\n  conections: 10\n").unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("conections") && error.contains("line 3"), "{error}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "controlplane: {}",
            "mark: 0",
            "mark: '0xzz'",
            "controlPlane: {refused: [{address: 10.0.0.9, protocol: UDP}]}",
            "limits: {connections: 0}",
            "limits: {connections: -1}",
            "limits: {connections: many}",
            "controlPlane: {names: ['https://api.example.com']}",
            "controlPlane: {names: ['10.0.0.9']}",
        ] {
            assert!(Config::parse(text).is_err(), "{text} was accepted");
        }
        assert!(Config::parse("").unwrap().mark().unwrap().is_none());
    }
}
