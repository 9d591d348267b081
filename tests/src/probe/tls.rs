//! Who answers? A TLS handshake that trusts everybody and remembers whom it met.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Bytes of an answer that are kept.
const MOST: u64 = 64 << 10;

/// Whatever bytes travel on.
pub(super) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Who finished a handshake.
pub(super) struct Peer {
    pub(super) certificate_sha256: String,
    pub(super) issuer: String,
}

/// A session, with whoever is at the other end.
pub(super) struct Session<S: Stream> {
    connection: ClientConnection,
    stream: S,
}

impl<S: Stream> Session<S> {
    /// Shakes hands. The peer proves that it holds its certificate's key; whose certificate it is, is the question.
    pub(super) fn open(mut stream: S) -> io::Result<(Self, Peer)> {
        let name = ServerName::try_from("kubernetes.default.svc").expect("a DNS name");
        let mut connection = ClientConnection::new(config(), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            let (read, written) = connection.complete_io(&mut stream)?;
            if read == 0 && written == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let certificate =
            connection.peer_certificates().and_then(<[_]>::first).expect("a handshake shows a certificate");
        let peer = describe(certificate)?;
        Ok((Self { connection, stream }, peer))
    }

    /// Asks for `/version`, with these further header lines, and returns the status line.
    pub(super) fn ask(&mut self, headers: &str) -> io::Result<String> {
        let mut stream = rustls::Stream::new(&mut self.connection, &mut self.stream);
        let head =
            format!("GET /version HTTP/1.1\r\nHost: kubernetes.default.svc\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes())?;
        stream.flush()?;
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < 100 && !line.ends_with(b"\n") {
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Sends these bytes and returns all that comes, however it ends.
    pub(super) fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = rustls::Stream::new(&mut self.connection, &mut self.stream);
        let mut answer = Vec::new();
        // The other side may close before it has read everything, or reset: what came is the answer.
        if stream.write_all(bytes).and_then(|()| stream.flush()).is_ok() {
            let _ = stream.take(MOST).read_to_end(&mut answer);
        }
        answer
    }
}

/// A session over TCP with this protocol, with whoever is there.
pub(super) fn connect(tcp: TcpStream, alpn: &[u8]) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut config = ClientConfig::clone(&config());
    config.alpn_protocols = vec![alpn.to_vec()];
    // Every handshake a whole one.
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from("kubernetes.default.svc").expect("a DNS name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, tcp);
    while stream.conn.is_handshaking() {
        let (read, written) = stream.conn.complete_io(&mut stream.sock)?;
        if read == 0 && written == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(stream)
}

fn describe(certificate: &CertificateDer<'_>) -> io::Result<Peer> {
    let digest = fingerprint(certificate);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(io::Error::other)?;
    Ok(Peer { certificate_sha256: digest, issuer: parsed.issuer().to_string() })
}

/// SHA-256 in hexadecimal.
pub(super) fn fingerprint(certificate: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, certificate);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn config() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
