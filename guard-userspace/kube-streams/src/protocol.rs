//! Which protocol a 101 has switched to.

use thiserror::Error;

/// What the two sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Messages that begin with the number of a channel.
    Channels {
        /// Which channels there are.
        layout: Layout,
        /// Whether what follows the number is base64.
        base64: bool,
        /// Version 5: 255 and a number end a channel.
        close: bool,
    },
    /// Messages without channels.
    Messages {
        /// Whether they are base64.
        base64: bool,
    },
    /// SPDY in binary messages.
    Tunnel(Purpose),
    /// SPDY, bare.
    Spdy(Purpose),
}

/// The channels of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Standard input, output, error, how it ended, sizes: 0 to 4.
    Command,
    /// Data and error of each port in turn.
    Ports(Vec<u16>),
}

/// What the upgrade was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// exec, attach.
    Command,
    /// port-forward; `ports` of the request's query, in its order. SPDY names them for each stream.
    PortForward(Vec<u16>),
    /// log. Alone among what has no channels it sends base64 to who asks for that (`wsstream.Reader`).
    Log,
    /// Anything else: a watch, an application behind `proxy`. Whatever name they agree on, only they know what it means: a watch answers
    /// with `base64.binary.k8s.io`, and then sends JSON.
    Other,
}

/// The value of `Upgrade`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

/// A subprotocol that this crate does not know.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the WebSocket subprotocol {0:?} is not known for this request")]
pub struct UnknownProtocol(pub String);

/// What `wsstream` adds to the name of the protocol that it tunnels (KEP-4006).
const TUNNEL: &str = "SPDY/3.1+";

impl Protocol {
    /// By the `Upgrade` and the `Sec-WebSocket-Protocol` of the answer.
    ///
    /// # Errors
    /// A subprotocol of exec, attach or port-forward that is not known. Applications may have any.
    pub fn of(upgrade: Upgrade, subprotocol: Option<&str>, purpose: Purpose) -> Result<Self, UnknownProtocol> {
        if upgrade == Upgrade::Spdy {
            return Ok(Self::Spdy(purpose));
        }
        let name = subprotocol.unwrap_or_default();
        if name.strip_prefix(TUNNEL).is_some_and(|tunnelled| tunnelled.ends_with(".k8s.io")) {
            return Ok(Self::Tunnel(purpose));
        }
        let layout = match purpose {
            Purpose::Command => Layout::Command,
            Purpose::PortForward(ports) => Layout::Ports(ports),
            Purpose::Log => return Ok(Self::Messages { base64: name == "base64.binary.k8s.io" }),
            Purpose::Other => return Ok(Self::Messages { base64: false }),
        };
        let (version, encoding) = match name.split_once('.') {
            Some((version @ ("v2" | "v3" | "v4" | "v5"), rest)) => (version, rest),
            _ => ("v1", name),
        };
        let base64 = match encoding {
            "channel.k8s.io" => false,
            "" if name.is_empty() => false,
            "base64.channel.k8s.io" => true,
            _ => return Err(UnknownProtocol(name.to_owned())),
        };
        Ok(Self::Channels { layout, base64, close: version == "v5" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, purpose: Purpose) -> Result<Protocol, UnknownProtocol> {
        Protocol::of(Upgrade::WebSocket, Some(name), purpose)
    }

    #[test]
    fn each_subprotocol_of_exec_is_known() {
        for (name, base64, close) in [
            ("v5.channel.k8s.io", false, true),
            ("v4.channel.k8s.io", false, false),
            ("v3.channel.k8s.io", false, false),
            ("v2.channel.k8s.io", false, false),
            ("channel.k8s.io", false, false),
            ("", false, false),
            ("v4.base64.channel.k8s.io", true, false),
            ("base64.channel.k8s.io", true, false),
        ] {
            let expected = Protocol::Channels { layout: Layout::Command, base64, close };
            assert_eq!(of(name, Purpose::Command), Ok(expected), "{name}");
        }
    }

    #[test]
    fn port_forward_is_channels_or_a_tunnel() {
        let ports = || Purpose::PortForward(vec![80]);
        assert_eq!(of("SPDY/3.1+portforward.k8s.io", ports()), Ok(Protocol::Tunnel(ports())));
        let channels = Protocol::Channels { layout: Layout::Ports(vec![80]), base64: false, close: false };
        assert_eq!(of("v4.channel.k8s.io", ports()), Ok(channels));
        assert_eq!(Protocol::of(Upgrade::Spdy, None, ports()), Ok(Protocol::Spdy(ports())));
    }

    #[test]
    fn what_nobody_knows_is_refused_where_channels_are_expected_and_opaque_elsewhere() {
        for name in ["v6.channel.k8s.io", "graphql-ws", "v4.", "v4.v4.channel.k8s.io", "SPDY/3.1+"] {
            assert_eq!(of(name, Purpose::Command), Err(UnknownProtocol(name.into())));
        }
        assert_eq!(of("graphql-ws", Purpose::Other), Ok(Protocol::Messages { base64: false }));
    }

    #[test]
    fn a_log_is_base64_where_that_was_agreed_and_a_watch_never() {
        assert_eq!(of("base64.binary.k8s.io", Purpose::Log), Ok(Protocol::Messages { base64: true }));
        assert_eq!(of("binary.k8s.io", Purpose::Log), Ok(Protocol::Messages { base64: false }));
        assert_eq!(of("base64.binary.k8s.io", Purpose::Other), Ok(Protocol::Messages { base64: false }));
    }
}
