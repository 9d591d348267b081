//! The node's own leaf: asked for with a key that never leaves the node, kept for the next start, renewed at half of its life.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use guard_certificates::{Files, KeyAndRequest, SanName, Serving};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::control::names;

/// How often is looked whether another leaf is due.
const CHECK: Duration = Duration::from_mins(1);

/// How often an unanswered request is looked at.
const POLL: Duration = Duration::from_secs(1);

/// Longest wait for an answer: the signer may be starting, or away.
const ANSWER: Duration = Duration::from_mins(5);

/// Pause after a request that was denied or came to nothing; doubled up to the longest.
const PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// Key and chain, in the directory.
const FILE: &str = "serving.pem";

/// Keeps the node's leaf good.
pub(super) struct LeafKeeper {
    pub(super) client: Client,
    /// The guard's own namespace, where the authority's certificate is published.
    pub(super) namespace: String,
    pub(super) node: String,
    pub(super) serving: Arc<Serving>,
    pub(super) directory: PathBuf,
    /// Whom the leaf has to be for; none as long as the control plane isn't known.
    pub(super) names: watch::Receiver<BTreeSet<SanName>>,
}

/// What an earlier run has kept, if it is still good.
pub(super) fn kept(directory: &Path) -> Arc<Serving> {
    let file = directory.join(FILE);
    match Files::load(&file, &file) {
        Ok(files) => files.serving(),
        Err(error) => {
            tracing::info!(error = error.to_string(), "no leaf of an earlier run; one will be asked for");
            Arc::new(Serving::waiting())
        }
    }
}

impl LeafKeeper {
    /// Until dropped.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE;
        // Not all nodes of a cluster at once.
        let share = 0.45 + 0.1 * rand::random::<f64>();
        loop {
            let wanted = match self.names.wait_for(|names| !names.is_empty()).await {
                Ok(names) => names.clone(),
                Err(_) => return,
            };
            let mut next = self.check_interval();
            if let Some(reason) = self.due(&wanted, share).await {
                tracing::info!(reason, "asking for a certificate");
                match self.renew(&wanted).await {
                    Ok(()) => pause = PAUSE,
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "no new certificate; tried again");
                        next = pause;
                        pause = (pause * 2).min(MAX_PAUSE);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                changed = self.names.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Why another leaf is due, if one is.
    async fn due(&self, wanted: &BTreeSet<SanName>, share: f64) -> Option<String> {
        let now = SystemTime::now();
        let Some((from, until)) = self.serving.validity() else { return Some("there is none".to_owned()) };
        let life = until.duration_since(from).unwrap_or_default();
        if now >= from + life.mul_f64(share) {
            return Some("half of its life is over".to_owned());
        }
        if let Some(name) = wanted.difference(&self.serving.names()).next() {
            return Some(format!("it is not for {name}"));
        }
        match self.bundle().await {
            Ok(bundle) if self.serving.is_trusted_by(bundle.as_bytes()) => None,
            Ok(_) => Some("its authority is not the cluster's any more".to_owned()),
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "the authority's certificate can't be read now");
                None
            }
        }
    }

    fn check_interval(&self) -> Duration {
        let life = self.serving.validity().and_then(|(from, until)| until.duration_since(from).ok());
        life.map_or(CHECK, |life| (life / 20).clamp(POLL, CHECK))
    }

    async fn bundle(&self) -> Result<String> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let map = maps.get(names::CONFIG_MAP).await.context("reading the authority's ConfigMap")?;
        map.data.and_then(|mut data| data.remove(names::CA_FILE)).context("the authority's ConfigMap has no ca.crt")
    }

    async fn renew(&self, wanted: &BTreeSet<SanName>) -> Result<()> {
        let made = KeyAndRequest::new(&names::common_name(&self.node), wanted).context("making a request")?;
        let chain = self.ask(&made.request_pem).await?;
        let before = self.serving.validity();
        self.serving.replace(chain.as_bytes(), made.key_pem.as_bytes()).context("using the certificate")?;
        if let Some(name) = wanted.difference(&self.serving.names()).next() {
            tracing::warn!(%name, "the certificate that was signed is not for this name");
        }
        tracing::info!(replaced = before.is_some(), "a new certificate is served");
        if let Err(error) = keep(&self.directory, &made.key_pem, &chain) {
            tracing::error!(
                error = format!("{error:#}"),
                "the certificate can't be kept: after a restart this node waits for `guard control`"
            );
        }
        Ok(())
    }

    /// The chain that was signed.
    async fn ask(&self, request_pem: &str) -> Result<String> {
        let requests: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        let request = CertificateSigningRequest {
            metadata: ObjectMeta {
                generate_name: Some("egress-guard-".to_owned()),
                labels: Some([(names::NODE_LABEL.to_owned(), self.node.clone())].into()),
                ..ObjectMeta::default()
            },
            spec: CertificateSigningRequestSpec {
                request: ByteString(request_pem.as_bytes().to_vec()),
                signer_name: names::SIGNER.to_owned(),
                usages: Some(names::USAGES.map(str::to_owned).to_vec()),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        };
        let created = requests.create(&PostParams::default(), &request).await.context("creating the request")?;
        let name = created.metadata.name.context("the API server names what it creates")?;
        let end = tokio::time::Instant::now() + ANSWER;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(POLL).await;
            let status = requests.get(&name).await.with_context(|| format!("looking at request {name}"))?.status;
            let Some(status) = status else { continue };
            if let Some(certificate) = status.certificate.filter(|certificate| !certificate.0.is_empty()) {
                return String::from_utf8(certificate.0).context("the certificate is no PEM");
            }
            for condition in status.conditions.into_iter().flatten() {
                ensure!(
                    !matches!(condition.type_.as_str(), "Denied" | "Failed"),
                    "request {name} was denied: {}",
                    condition.message.unwrap_or_default()
                );
            }
        }
        bail!("request {name} was not answered in {} s; does `guard control` run?", ANSWER.as_secs())
    }
}

/// Written beside and renamed, so that there is a whole one at any time; readable by root alone.
fn keep(directory: &Path, key: &str, chain: &str) -> Result<()> {
    let said = || format!("writing {}", directory.join(FILE).display());
    DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(said)?;
    fs::set_permissions(directory, Permissions::from_mode(0o700)).with_context(said)?;
    let mut text = Zeroizing::new(String::with_capacity(key.len() + chain.len()));
    text.push_str(key);
    text.push_str(chain);
    let beside = directory.join(format!("{FILE}.new"));
    // What a crash has left may have been made by somebody else, with other rights.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(said),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).with_context(said)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(said)?;
    fs::rename(&beside, directory.join(FILE)).with_context(said)
}

#[cfg(test)]
mod tests {
    use guard_certificates::Authority;

    use super::*;

    #[test]
    fn what_was_kept_serves_after_a_restart_and_is_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("certificates");
        assert_eq!(kept(&directory).validity(), None);
        let authority = Authority::new_in_memory().unwrap();
        for address in ["10.96.0.1", "10.96.0.2"] {
            let leaf = authority.issue_leaf(&[address.parse().unwrap()], Duration::from_hours(1)).unwrap();
            keep(&directory, leaf.key_pem(), leaf.certificate_pem()).unwrap();
            assert_eq!(kept(&directory).names(), [address.parse().unwrap()].into());
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join(FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }
}
