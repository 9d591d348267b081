//! What addresses the API servers' certificates are for: an API server has more than its `EndpointSlice` lists.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use futures::{Stream, stream};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// How often the certificates are looked at where nothing else has changed.
const INTERVAL: Duration = Duration::from_mins(10);

/// How soon again where an API server did not answer.
const RETRY: Duration = Duration::from_secs(15);

/// Connect and handshake together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at the API servers' certificates.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) roots: Arc<ArcSwap<RootCertStore>>,
    pub(crate) server_name: ServerName<'static>,
}

impl Certificates {
    /// The addresses of all certificates, each time when they were looked at. `servers` says whom to ask.
    pub(crate) fn addresses(
        &self,
        servers: watch::Receiver<Vec<SocketAddr>>,
    ) -> impl Stream<Item = BTreeSet<IpAddr>> + use<> {
        let start = (self.clone(), servers, BTreeSet::new(), Duration::ZERO);
        stream::unfold(start, |(this, mut servers, mut known, pause)| async move {
            tokio::select! {
                changed = servers.changed() => changed.ok()?,
                () = tokio::time::sleep(pause) => {}
            }
            let current = servers.wait_for(|servers| !servers.is_empty()).await.ok()?.clone();
            servers.mark_unchanged();
            let (mut found, mut pause) = (BTreeSet::new(), INTERVAL);
            for server in current {
                match this.ask(server).await {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => {
                        tracing::debug!(%server, error = format!("{error:#}"), "an API server's certificate can't be looked at");
                        // What it was for stays in the set until it says otherwise.
                        found.append(&mut known);
                        pause = RETRY;
                    }
                }
            }
            Some((found.clone(), (this, servers, found, pause)))
        })
    }

    async fn ask(&self, server: SocketAddr) -> Result<BTreeSet<IpAddr>> {
        let config = ClientConfig::builder().with_root_certificates(self.roots.load_full()).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let handshake = async { connector.connect(self.server_name.clone(), TcpStream::connect(server).await?).await };
        let tls = tokio::time::timeout(TIMEOUT, handshake).await.context("no handshake in time")??;
        let certificates = tls.get_ref().1.peer_certificates().context("no certificate was shown")?;
        addresses(certificates.first().context("no certificate was shown")?)
    }
}

fn addresses(certificate: &[u8]) -> Result<BTreeSet<IpAddr>> {
    let (_, certificate) = X509Certificate::from_der(certificate).context("reading the certificate")?;
    let names = certificate.subject_alternative_name().context("reading its names")?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::IPAddress(octets) => <[u8; 4]>::try_from(*octets)
                .map(|octets| IpAddr::from(Ipv4Addr::from(octets)))
                .or_else(|_| <[u8; 16]>::try_from(*octets).map(|octets| IpAddr::from(Ipv6Addr::from(octets))))
                .ok(),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use guard_certificates::{Authority, SanName};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn addresses_of_both_families_are_read_and_names_left_out() {
        let expected: BTreeSet<IpAddr> = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap()).into();
        let mut names = vec![SanName::Dns("kubernetes".to_owned())];
        names.extend(expected.iter().map(|address| SanName::Ip(*address)));
        let leaf = Authority::new_in_memory().unwrap().issue_leaf(&names, Duration::from_hours(1)).unwrap();
        let certificate = CertificateDer::from_pem_slice(leaf.certificate_pem().as_bytes()).unwrap();
        assert_eq!(addresses(&certificate).unwrap(), expected);
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        assert!(addresses(b"nonsense").is_err());
    }
}
