//! TLS on both sides: 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.

use std::{io, sync::Arc};

use rustls::{
    AlertDescription, ClientConfig, RootCertStore, ServerConfig,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, ResolvesServerCert},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;

use crate::{buffered::Buffered, config::Timeouts, silence::Monitored};

/// ALPN of HTTP/2 (RFC 9113, 3.2).
pub(crate) const H2: &[u8] = b"h2";
/// ALPN of HTTP/1.1 (RFC 7301, 6).
pub(crate) const HTTP11: &[u8] = b"http/1.1";

/// Both of rustls' protocol versions, stated so that a default that changes changes nothing here.
static VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Sessions with API servers that are remembered for resumption. One cluster has a handful of them.
const CLIENT_SESSIONS: usize = 64;

/// A TCP socket that is read in large pieces: rustls asks for 4 KiB at a time, a quarter of a record.
pub(crate) type Socket = Buffered<Monitored>;

/// # Errors
/// If the socket can't be set up: it is closed already.
pub(crate) fn socket(tcp: TcpStream, timeouts: &Timeouts) -> io::Result<Socket> {
    // Without it small messages wait for acknowledgements.
    tcp.set_nodelay(true)?;
    Ok(Buffered::new(Monitored::new(tcp, timeouts)?))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What is shown to agents. Resumption is by tickets, so that an agent's sessions take no memory here.
///
/// # Errors
/// If the random generator fails.
pub(crate) fn server(serving: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// What the API server must prove, and which protocols it is offered.
///
/// # Errors
/// If the crypto provider lacks a protocol version: a defect of the build.
pub(crate) fn client(
    roots: Arc<RootCertStore>,
    certificate: Option<Arc<dyn ResolvesClientCert>>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)?
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS);
    Ok(Arc::new(config))
}

/// Why a handshake with a client failed: its name for metrics, and whether the client sent it as an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// The client refused, with this alert (RFC 8446, 6.2).
    Alert(&'static str),
    /// The client went away.
    Eof,
    /// It took too long.
    Timeout,
    /// It does not speak TLS as we do.
    Protocol,
}

impl HandshakeFailure {
    /// Those that are ordinary: what a client that doesn't trust the guard's CA says, and what isn't said.
    pub(crate) const ORDINARY: [Self; 6] = [
        Self::Alert("unknown_ca"),
        Self::Alert("bad_certificate"),
        Self::Alert("certificate_unknown"),
        Self::Eof,
        Self::Timeout,
        Self::Protocol,
    ];

    pub(crate) fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(alert_name(*alert)),
            Some(_) => Self::Protocol,
            None => Self::Eof,
        }
    }

    /// A label of a bounded set.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Alert(name) => name,
            Self::Eof => "eof",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
        }
    }
}

/// The name in RFC 8446, 6.
fn alert_name(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CloseNotify => "close_notify",
        AlertDescription::UnexpectedMessage => "unexpected_message",
        AlertDescription::BadRecordMac => "bad_record_mac",
        AlertDescription::HandshakeFailure => "handshake_failure",
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::CertificateRevoked => "certificate_revoked",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::IllegalParameter => "illegal_parameter",
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::AccessDenied => "access_denied",
        AlertDescription::DecodeError => "decode_error",
        AlertDescription::DecryptError => "decrypt_error",
        AlertDescription::ProtocolVersion => "protocol_version",
        AlertDescription::InsufficientSecurity => "insufficient_security",
        AlertDescription::InternalError => "internal_error",
        AlertDescription::UserCanceled => "user_canceled",
        AlertDescription::NoApplicationProtocol => "no_application_protocol",
        _ => "other_alert",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_from_a_client_that_went_away() {
        let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let error = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert_eq!(HandshakeFailure::of(&error), HandshakeFailure::Alert("unknown_ca"));
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(HandshakeFailure::of(&eof), HandshakeFailure::Eof);
        let junk = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(HandshakeFailure::of(&junk), HandshakeFailure::Protocol);
    }
}
