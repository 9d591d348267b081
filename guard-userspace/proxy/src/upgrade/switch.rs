//! What a 101 switches to: only what was asked for.

use guard_kube_request::{RequestInfo, forwarded_ports};
use guard_kube_streams::{Protocol, Purpose, Upgrade};
use http::{HeaderMap, Request, header};

use crate::headers::{self, UpgradeProtocol};

/// Both sides' agreement.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(super) protocol: Protocol,
    /// Its name, for people.
    pub(super) name: String,
    /// Whether a command runs behind it.
    pub(super) is_command: bool,
}

impl Switch {
    /// By the request as the client sent it and the answer's headers. What the API server was not asked for is an error, with a
    /// sentence that says what it did.
    pub(crate) fn of(
        asked: Option<UpgradeProtocol>,
        head: &Request<()>,
        described: Option<&RequestInfo>,
        answer: &HeaderMap,
    ) -> Result<Self, String> {
        let Some(asked) = asked else { return Err("the request asked for no upgrade".into()) };
        let granted = UpgradeProtocol::requested(answer);
        if granted != Some(asked) {
            let upgrade = answer.get(header::UPGRADE);
            return Err(format!("Upgrade is {upgrade:?} where {asked:?} was asked for"));
        }
        if answer.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err("a WebSocket extension, where none was offered".into());
        }
        let purpose = purpose(head, described);
        let is_command = purpose == Purpose::Command;
        let (protocol, name) = match asked {
            UpgradeProtocol::Spdy => {
                let version = answer.get("x-stream-protocol-version").and_then(|version| version.to_str().ok());
                let name = version.map_or_else(|| "SPDY/3.1".to_owned(), |version| format!("SPDY/3.1 {version}"));
                (Protocol::of(Upgrade::Spdy, None, purpose), name)
            }
            UpgradeProtocol::WebSocket => {
                let mut granted = headers::tokens(answer, &header::SEC_WEBSOCKET_PROTOCOL);
                let subprotocol = granted.next();
                if granted.next().is_some() {
                    return Err("more than one WebSocket subprotocol".into());
                }
                let offered = |name: &str| headers::offered_subprotocols(head.headers()).any(|offered| offered == name);
                if let Some(name) = subprotocol.filter(|name| !offered(name)) {
                    return Err(format!("the WebSocket subprotocol {name:?}, which was not offered"));
                }
                (Protocol::of(Upgrade::WebSocket, subprotocol, purpose), subprotocol.unwrap_or("websocket").to_owned())
            }
        };
        let protocol = protocol.map_err(|error| error.to_string())?;
        Ok(Self { protocol, name, is_command })
    }
}

fn purpose(head: &Request<()>, described: Option<&RequestInfo>) -> Purpose {
    let Some(request) = described else { return Purpose::Other };
    if request.api_group.is_empty() && request.resource == "pods" {
        match request.subresource.as_str() {
            "exec" | "attach" => return Purpose::Command,
            "log" => return Purpose::Log,
            "portforward" => {
                let target = head.uri().path_and_query().map_or("", |target| target.as_str());
                return Purpose::PortForward(forwarded_ports(target));
            }
            _ => {}
        }
    }
    Purpose::Other
}

#[cfg(test)]
mod tests {
    use guard_kube_request::describe;

    use super::*;

    const EXEC: &str = "/api/v1/namespaces/a/pods/p/exec?command=sh";
    const WEBSOCKET: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "websocket")];

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn switch(path: &str, offered: &'static str, answer: &[(&'static str, &'static str)]) -> Result<Switch, String> {
        let mut head = Request::get(path).body(()).unwrap();
        *head.headers_mut() = map(&[("sec-websocket-protocol", offered)]);
        let described = describe("GET", path).unwrap();
        let answer = map(&[&WEBSOCKET, answer].concat());
        Switch::of(Some(UpgradeProtocol::WebSocket), &head, Some(&described), &answer)
    }

    #[test]
    fn what_was_offered_may_be_chosen() {
        let chosen = [("sec-websocket-protocol", "v4.channel.k8s.io")];
        let switch = switch(EXEC, "v5.channel.k8s.io, v4.channel.k8s.io", &chosen).unwrap();
        assert!(switch.is_command);
        assert_eq!(switch.name, "v4.channel.k8s.io");
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let refused = |answer: &[(&'static str, &'static str)]| switch(EXEC, "v5.channel.k8s.io", answer).unwrap_err();
        assert!(refused(&[("sec-websocket-protocol", "v4.channel.k8s.io")]).contains("not offered"));
        assert!(
            refused(&[("sec-websocket-protocol", "v5.channel.k8s.io, v5.channel.k8s.io")]).contains("more than one")
        );
        assert!(refused(&[("sec-websocket-extensions", "permessage-deflate")]).contains("extension"));
        let head = Request::get(EXEC).body(()).unwrap();
        let spdy = map(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]);
        assert!(Switch::of(Some(UpgradeProtocol::WebSocket), &head, None, &spdy).is_err());
        assert!(Switch::of(None, &head, None, &spdy).is_err());
        assert!(Switch::of(Some(UpgradeProtocol::Spdy), &head, None, &spdy).is_ok());
    }

    #[test]
    fn a_token_among_the_protocols_is_not_one_that_can_be_chosen() {
        let token = "base64url.bearer.authorization.k8s.io.dG9rZW4";
        assert!(switch(EXEC, token, &[("sec-websocket-protocol", token)]).unwrap_err().contains("not offered"));
    }
}
