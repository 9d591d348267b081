//! The cluster's keys and certificates, in its state folder: one CA for servers and clients, one for the aggregation layer.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SanType,
};

/// A certificate authority and the folder that its certificates go to.
pub(super) struct Authority {
    folder: PathBuf,
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
}

/// Files of one certificate.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Whom a client certificate names: user and groups, as Kubernetes reads them from CN and O.
pub(super) struct Subject<'a> {
    pub(super) user: &'a str,
    pub(super) group: Option<&'a str>,
}

impl Authority {
    /// Makes a CA and writes `NAME.crt` and `NAME.key`.
    pub(super) fn new(folder: &Path, name: &'static str) -> Result<Self> {
        let key = KeyPair::generate().context("making a CA key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key).context("signing the CA's certificate")?.pem();
        write(&folder.join(format!("{name}.crt")), &pem)?;
        write(&folder.join(format!("{name}.key")), &key.serialize_pem())?;
        Ok(Self { folder: folder.to_owned(), name, issuer: Issuer::new(params, key) })
    }

    /// The CA's certificate file.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.crt", self.name))
    }

    /// The CA's key file: the controller-manager signs with it.
    pub(super) fn key(&self) -> PathBuf {
        self.folder.join(format!("{}.key", self.name))
    }

    /// A certificate for a server with these names and addresses, good as a client certificate too.
    pub(super) fn server(&self, file: &str, user: &str, names: &[&str], addresses: &[IpAddr]) -> Result<Files> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
            .with_context(|| format!("the names of {file}: {names:?}"))?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, params, &Subject { user, group: None })
    }

    /// A client certificate.
    pub(super) fn client(&self, file: &str, subject: &Subject<'_>) -> Result<Files> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, params, subject)
    }

    fn issue(&self, file: &str, mut params: CertificateParams, subject: &Subject<'_>) -> Result<Files> {
        if let Some(group) = subject.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, subject.user);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(|| format!("making the key of {file}"))?;
        let certificate =
            params.signed_by(&key, &self.issuer).with_context(|| format!("signing the certificate of {file}"))?;
        let files = Files {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        write(&files.certificate, &certificate.pem())?;
        write(&files.key, &key.serialize_pem())?;
        Ok(files)
    }
}

/// The key that signs `ServiceAccount` tokens: RSA, as kubeadm makes it, so that tokens are RS256 as in most clusters.
pub(super) fn service_account_key(folder: &Path) -> Result<PathBuf> {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).context("making the ServiceAccount key")?;
    let file = folder.join("service-account.key");
    write(&file, &key.serialize_pem())?;
    Ok(file)
}

fn write(file: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", file.display()))
}
