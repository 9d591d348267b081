//! Certificates as a client meets them: in TLS handshakes.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use guard_certificates::{Authority, Files, Leaf, Reload, SanName};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ResolvesServerCert;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_hours(1);

/// The two files of a node.
struct Folder {
    directory: TempDir,
}

impl Folder {
    fn with(leaf: &Leaf) -> Self {
        let files = Self { directory: tempfile::tempdir().expect("a directory") };
        files.write(leaf);
        files
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("tls.key")
    }

    fn write(&self, leaf: &Leaf) {
        fs::write(self.certificate(), leaf.certificate_pem()).expect("written");
        fs::write(self.key(), leaf.key_pem().as_bytes()).expect("written");
    }

    fn load(&self) -> Result<Files, String> {
        Files::load(&self.certificate(), &self.key()).map_err(|error| error.to_string())
    }
}

fn authority() -> Authority {
    Authority::new_in_memory().expect("an authority")
}

fn leaf(authority: &Authority) -> Leaf {
    let names = ["10.96.0.1", "fd00::1", "kubernetes.default.svc"].map(|name| name.parse().expect("a name"));
    authority.issue_leaf(&names, HOUR).expect("a leaf")
}

/// A handshake in memory of a client that trusts `authority` and dials `name`. The certificate that the client met.
fn handshake(
    authority: &Authority,
    resolver: Arc<dyn ResolvesServerCert>,
    name: &str,
) -> Result<CertificateDer<'static>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let pem = authority.certificate_pem();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")).expect("a root");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let server = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory");
        server.read_tls(&mut wire.as_slice()).expect("memory");
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("memory");
        client.read_tls(&mut wire.as_slice()).expect("memory");
        client.process_new_packets()?;
    }
    Ok(client.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").clone().into_owned())
}

#[test]
fn a_client_that_trusts_the_authority_meets_the_leaf_by_address_and_by_name() {
    let authority = authority();
    let serving = Folder::with(&leaf(&authority)).load().unwrap().serving();
    for name in ["10.96.0.1", "fd00::1", "kubernetes.default.svc"] {
        handshake(&authority, Arc::clone(&serving) as _, name).unwrap();
    }
}

#[test]
fn a_name_that_is_not_in_the_leaf_is_refused_by_the_client() {
    let authority = authority();
    let resolver = leaf(&authority).resolver().unwrap();
    for name in ["10.96.0.2", "example.com"] {
        assert!(handshake(&authority, Arc::clone(&resolver), name).is_err(), "{name}");
    }
}

#[test]
fn a_client_of_another_authority_refuses_the_leaf() {
    let resolver = leaf(&authority()).resolver().unwrap();
    assert!(handshake(&authority(), resolver, "10.96.0.1").is_err());
}

#[test]
fn a_leaf_is_no_authority() {
    let authority = authority();
    let pem = leaf(&authority).certificate_pem().to_owned();
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(!parsed.is_ca());
    let authority_key_identifier = x509_parser::oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER;
    assert!(
        parsed.extensions().iter().any(|extension| extension.oid == authority_key_identifier),
        "Python 3.13 asks for it"
    );
}

#[test]
fn a_renewed_certificate_is_served_after_a_reload() {
    let authority = authority();
    let files = Folder::with(&leaf(&authority));
    let loaded = files.load().unwrap();
    let serving = loaded.serving();
    let before = handshake(&authority, Arc::clone(&serving) as _, "10.96.0.1").unwrap();
    assert_eq!(loaded.reload().unwrap(), Reload::Unchanged);

    files.write(&leaf(&authority));
    assert_eq!(handshake(&authority, Arc::clone(&serving) as _, "10.96.0.1").unwrap(), before, "not before the reload");
    assert_eq!(loaded.reload().unwrap(), Reload::Replaced);
    assert_ne!(handshake(&authority, Arc::clone(&serving) as _, "10.96.0.1").unwrap(), before);
    assert_eq!(loaded.reload().unwrap(), Reload::Unchanged);
}

#[test]
fn a_bad_renewal_keeps_the_last_good_certificate() {
    let authority = authority();
    let files = Folder::with(&leaf(&authority));
    let loaded = files.load().unwrap();
    let serving = loaded.serving();
    let before = handshake(&authority, Arc::clone(&serving) as _, "10.96.0.1").unwrap();

    let renewed = leaf(&authority);
    fs::write(files.certificate(), renewed.certificate_pem()).unwrap();
    let half = loaded.reload().unwrap_err().to_string();
    assert!(half.contains("not that of the first certificate") && half.contains("tls.key"), "{half}");
    fs::write(files.certificate(), "nonsense").unwrap();
    assert!(loaded.reload().unwrap_err().to_string().contains("no certificate"));
    fs::remove_file(files.certificate()).unwrap();
    assert!(loaded.reload().unwrap_err().to_string().contains("cannot read"));
    assert_eq!(handshake(&authority, Arc::clone(&serving) as _, "10.96.0.1").unwrap(), before);

    files.write(&renewed);
    assert_eq!(loaded.reload().unwrap(), Reload::Replaced);
}

#[test]
fn an_expired_certificate_is_not_loaded() {
    let authority = authority();
    let short = authority.issue_leaf(&["10.96.0.1".parse().unwrap()], Duration::ZERO).unwrap();
    let files = Folder::with(&short);
    std::thread::sleep(Duration::from_millis(1100));
    let error = files.load().unwrap_err();
    assert!(error.contains("expired") && error.contains("tls.crt"), "{error}");
}

#[test]
fn files_that_are_no_pem_are_told_apart() {
    let files = Folder::with(&leaf(&authority()));
    fs::write(files.key(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(files.load().unwrap_err().contains("key"));
    fs::write(files.key(), "").unwrap();
    assert!(files.load().unwrap_err().contains("no private key"));
    fs::write(files.certificate(), "").unwrap();
    assert!(files.load().unwrap_err().contains("no certificate"));
    fs::write(files.certificate(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(files.load().unwrap_err().contains("no X.509"));
}

#[test]
fn a_leaf_ends_with_its_authority_at_the_latest() {
    let authority = authority();
    let long = authority.issue_leaf(&["10.96.0.1".parse().unwrap()], Duration::from_hours(24 * 10_000)).unwrap();
    let serving = Folder::with(&long).load().unwrap().serving();
    assert!(serving.validity().unwrap().1 <= SystemTime::now() + Duration::from_hours(24 * 366));
    assert!(authority.issue_leaf(&["10.96.0.1".parse().unwrap()], Duration::MAX).is_err());
}

#[test]
fn a_leaf_needs_a_name_that_is_one() {
    assert!(authority().issue_leaf(&[], HOUR).is_err());
    assert!(authority().issue_leaf(&[SanName::Dns("ü.example".to_owned())], HOUR).is_err());
    for text in ["", "a b", "https://x", "10.96.0.1:443"] {
        assert!(text.parse::<SanName>().is_err(), "{text:?}");
    }
    assert_eq!("fd00::1".parse::<SanName>().unwrap(), SanName::Ip("fd00::1".parse().unwrap()));
}

#[test]
fn no_key_shows_in_debug_output() {
    let authority = authority();
    let leaf = leaf(&authority);
    let files = Folder::with(&leaf).load().unwrap();
    for text in [format!("{authority:?}"), format!("{leaf:?}"), format!("{files:?}")] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
}
