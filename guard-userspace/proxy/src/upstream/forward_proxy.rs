//! A proxy between the guard and the API server, as the kubeconfig's `proxy-url` names it.

use std::io;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::config::{ForwardProxy, ProxyKind};

/// Longest answer to `CONNECT` that is read.
const MAX_HEAD: usize = 8 * 1024;

impl ProxyKind {
    /// HTTP, with user and password if the proxy wants them.
    pub fn http(credentials: Option<(&str, &str)>) -> Result<Self, http::header::InvalidHeaderValue> {
        let value = credentials.map(|(user, password)| {
            let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
            http::HeaderValue::try_from(format!("Basic {encoded}")).map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        Ok(Self::Http(value.transpose()?))
    }
}

/// Asks for the connection. Afterwards what is sent goes to the API server.
pub(super) async fn ask(tcp: &mut (impl AsyncRead + AsyncWrite + Unpin), proxy: &ForwardProxy) -> io::Result<()> {
    match &proxy.kind {
        ProxyKind::Http(authorization) => connect(tcp, proxy, authorization.as_ref()).await,
        ProxyKind::Socks5 => socks(tcp, proxy).await,
    }
}

async fn connect(
    tcp: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &ForwardProxy,
    authorization: Option<&http::HeaderValue>,
) -> io::Result<()> {
    let target = format!("{}:{}", proxy.host, proxy.port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    tcp.write_all(&request).await?;
    // Byte by byte: what follows the head is the API server's.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(refused("its answer does not end"));
        }
        head.push(tcp.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    match line.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(refused(&line)),
    }
}

async fn socks(tcp: &mut (impl AsyncRead + AsyncWrite + Unpin), proxy: &ForwardProxy) -> io::Result<()> {
    let length = u8::try_from(proxy.host.len()).map_err(|_| refused("the host's name is too long"))?;
    // Version 5, one method: no authentication.
    tcp.write_all(&[5, 1, 0]).await?;
    let mut method = [0; 2];
    tcp.read_exact(&mut method).await?;
    if method != [5, 0] {
        return Err(refused("it wants authentication, or is no SOCKS 5 proxy"));
    }
    // CONNECT to a name.
    let mut request = vec![5, 1, 0, 3, length];
    request.extend_from_slice(proxy.host.as_bytes());
    request.extend_from_slice(&proxy.port.to_be_bytes());
    tcp.write_all(&request).await?;
    let mut answer = [0; 4];
    tcp.read_exact(&mut answer).await?;
    if answer[1] != 0 {
        return Err(refused(&format!("SOCKS reply {}", answer[1])));
    }
    let bound = match answer[3] {
        1 => 4,
        4 => 16,
        _ => usize::from(tcp.read_u8().await?),
    };
    let mut rest = vec![0; bound + 2];
    tcp.read_exact(&mut rest).await?;
    Ok(())
}

fn refused(why: &str) -> io::Error {
    io::Error::other(format!("the proxy on the way refused: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(kind: ProxyKind) -> ForwardProxy {
        ForwardProxy { kind, host: "api.example.com".to_owned(), port: 6443 }
    }

    #[tokio::test]
    async fn what_follows_the_proxy_s_head_is_left_for_tls() {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        let kind = ProxyKind::http(Some(("me", "secret"))).unwrap();
        theirs.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nTLS").await.unwrap();
        ask(&mut ours, &proxy(kind)).await.unwrap();
        let mut rest = [0; 3];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"TLS");
        drop(ours);
        let mut asked = String::new();
        theirs.read_to_string(&mut asked).await.unwrap();
        assert!(asked.starts_with("CONNECT api.example.com:6443 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_an_error_with_its_words() {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
        let error = ask(&mut ours, &proxy(ProxyKind::Http(None))).await.unwrap_err();
        assert!(error.to_string().contains("407"), "{error}");
    }

    #[tokio::test]
    async fn socks_resolves_the_name_at_the_proxy() {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(&[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0, b'T']).await.unwrap();
        ask(&mut ours, &proxy(ProxyKind::Socks5)).await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'T');
        drop(ours);
        let mut asked = Vec::new();
        theirs.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked[..8], [5, 1, 0, 5, 1, 0, 3, 15]);
        assert!(asked.ends_with(&6443_u16.to_be_bytes()));
    }
}
