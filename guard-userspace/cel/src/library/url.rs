//! URLs, as Go's `net/url` reads them (of the Go version that the API server is built with).

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::Implementation;
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::value::{Key, Value};

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// What follows the scheme where that is no path.
    opaque: String,
    user: Option<String>,
    /// With the port.
    host: String,
    /// Escaped.
    path: String,
    /// Whether there is one, empty or not.
    query: Option<String>,
    fragment: String,
}

impl Url {
    /// Reads what may stand in a request line; with `#fragment`, which only then is one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_part(text, true).map_err(|reason| format!("parse {text:?}: {reason}"))?;
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        check_escapes(fragment)
            .and_then(|()| Self::parse_part(text, false))
            .map(|url| Self { fragment: fragment.to_owned(), ..url })
            .map_err(|reason| format!("parse {text:?}: {reason}"))
    }

    /// As Go's `ParseRequestURI`.
    pub(super) fn check_request_uri(text: &str) -> Result<(), String> {
        Self::parse_part(text, true).map(drop).map_err(|reason| format!("parse {text:?}: {reason}"))
    }

    fn parse_part(text: &str, in_request: bool) -> Result<Self, String> {
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if text.is_empty() && in_request {
            return Err("empty url".to_owned());
        }
        let mut url = Self {
            scheme: String::new(),
            opaque: String::new(),
            user: None,
            host: String::new(),
            path: String::new(),
            query: None,
            fragment: String::new(),
        };
        if text == "*" {
            "*".clone_into(&mut url.path);
            return Ok(url);
        }
        let (scheme, rest) = split_scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (mut rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        url.query = query.map(str::to_owned);
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                rest.clone_into(&mut url.opaque);
                return Ok(url);
            }
            if in_request {
                return Err("invalid URI for request".to_owned());
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        let may_have_host = !url.scheme.is_empty() || (!in_request && !rest.starts_with("///"));
        if let (true, Some(after)) = (may_have_host, rest.strip_prefix("//")) {
            let end = after.find('/').unwrap_or(after.len());
            (url.user, url.host) = authority(&after[..end])?;
            rest = &after[end..];
        }
        check_escapes(rest)?;
        url.path = escaped_path(rest);
        Ok(url)
    }

    fn hostname(&self) -> &str {
        let (host, _) = split_port(&self.host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    fn port(&self) -> &str {
        split_port(&self.host).1
    }

    fn query(&self) -> BTreeMap<String, Vec<String>> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in self.query.iter().flat_map(|query| query.split('&')) {
            if pair.is_empty() || pair.contains(';') {
                continue;
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if check_escapes(key).is_err() || check_escapes(value).is_err() {
                continue;
            }
            let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
            values.entry(decoded(key)).or_default().push(decoded(value));
        }
        values
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(out, "{}:", self.scheme)?;
        }
        if self.opaque.is_empty() {
            if (!self.scheme.is_empty() || !self.host.is_empty() || self.user.is_some())
                && (!self.host.is_empty() || !self.path.is_empty() || self.user.is_some())
            {
                write!(out, "//")?;
                if let Some(user) = &self.user {
                    write!(out, "{user}@")?;
                }
                write!(out, "{}", self.host)?;
            }
            write!(out, "{}", self.path)?;
        } else {
            write!(out, "{}", self.opaque)?;
        }
        if let Some(query) = &self.query {
            write!(out, "?{query}")?;
        }
        if self.fragment.is_empty() { Ok(()) } else { write!(out, "#{}", self.fragment) }
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..index], &text[index + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn authority(text: &str) -> Result<(Option<String>, String), String> {
    let (user, host) = text.rsplit_once('@').map_or((None, text), |(user, host)| (Some(user), host));
    if let Some(user) = user {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
        if !user.bytes().all(valid) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        check_escapes(user)?;
    }
    if let Some(bracketed) = host.strip_prefix('[') {
        let (address, port) = bracketed.rsplit_once(']').ok_or("missing ']' in host")?;
        check_port(port)?;
        let address = address.split_once("%25").map_or(address, |(address, _)| address);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err("invalid host: not an IPv6 address".to_owned());
        }
    } else if let Some((name, _)) = host.rsplit_once(':') {
        check_port(&host[name.len()..])?;
        if name.contains(':') {
            return Err("invalid port after host".to_owned());
        }
    }
    Ok((user.map(str::to_owned), unescaped_host(host)?))
}

fn check_port(text: &str) -> Result<(), String> {
    let is_port =
        text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if is_port { Ok(()) } else { Err(format!("invalid port {text:?} after host")) }
}

/// In a host only what is no ASCII may be escaped, and not every character may occur.
fn unescaped_host(host: &str) -> Result<String, String> {
    check_escapes(host)?;
    for (index, byte) in host.bytes().enumerate() {
        let allowed = byte >= 0x80 || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte);
        if !allowed {
            return Err(format!("invalid character {:?} in host name", char::from(byte).to_string()));
        }
        let escapes_ascii = byte == b'%' && host.as_bytes().get(index + 1).is_some_and(|digit| *digit < b'8');
        if escapes_ascii && !host.starts_with('[') {
            return Err(format!("invalid URL escape {:?}", &host[index..index + 3]));
        }
    }
    Ok(percent_decode_str(host).decode_utf8_lossy().into_owned())
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

/// Each `%` is followed by two hexadecimal digits.
fn check_escapes(text: &str) -> Result<(), String> {
    for (index, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(index + 1..index + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let shown: String = text[index..].chars().take(3).collect();
            return Err(format!("invalid URL escape {shown:?}"));
        }
    }
    Ok(())
}

/// The path as it is if all its characters may stand in one, else escaped anew.
fn escaped_path(path: &str) -> String {
    let stays = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte);
    if path.bytes().all(|byte| stays(byte) || b"!'()*[]%".contains(&byte)) {
        return path.to_owned();
    }
    let mut escaped = String::new();
    for byte in percent_decode_str(path) {
        if stays(byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a String takes everything that is written to it");
        }
    }
    escaped
}

pub(super) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "url" => |meter, arguments| {
            let [Value::String(text)] = arguments else { return Err(EvaluationError::no_such_overload()) };
            meter.allocate(text.len())?;
            let url = Url::parse(text).map_err(|reason| {
                EvaluationError::failed(format!("URL parse error during conversion from string: {reason}"))
            })?;
            Ok(Value::Url(Arc::new(url)))
        },
        "isURL" => |meter, arguments| {
            let [Value::String(text)] = arguments else { return Err(EvaluationError::no_such_overload()) };
            meter.allocate(text.len())?;
            Ok(Value::Bool(Url::check_request_uri(text).is_ok()))
        },
        "getScheme" => |_, arguments| Ok(Value::from(one(arguments)?.scheme.clone())),
        "getHost" => |_, arguments| Ok(Value::from(one(arguments)?.host.clone())),
        "getHostname" => |_, arguments| Ok(Value::from(one(arguments)?.hostname().to_owned())),
        "getPort" => |_, arguments| Ok(Value::from(one(arguments)?.port().to_owned())),
        "getEscapedPath" => |_, arguments| Ok(Value::from(one(arguments)?.path.clone())),
        "getQuery" => |meter, arguments| {
            let url = one(arguments)?;
            let query = url.query();
            meter.allocate(url.query.as_ref().map_or(0, String::len))?;
            meter.allocate_items(3 * query.values().map(Vec::len).sum::<usize>())?;
            let entries = query.into_iter().map(|(key, values)| {
                let values: Vec<Value<'_>> = values.into_iter().map(Value::from).collect();
                (Key::String(crate::value::Text::Owned(key.into())), Value::from(values))
            });
            Ok(entries.collect())
        },
        _ => return None,
    })
}

fn one<'v>(arguments: &'v [Value<'_>]) -> Outcome<&'v Url> {
    match arguments {
        [Value::Url(url)] => Ok(url),
        _ => Err(EvaluationError::no_such_overload()),
    }
}
