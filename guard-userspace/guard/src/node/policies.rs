//! The deny list: a file of `GuardPolicy` documents, followed while the guard runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use arc_swap::ArcSwap;
use guard_policy::Engine;

/// How often the file is looked at.
const POLL: Duration = Duration::from_secs(2);

/// The engine of a file that changes.
pub(super) struct Policies {
    file: Option<PathBuf>,
    modified: Option<SystemTime>,
    /// What decides now.
    pub(super) engine: Arc<ArcSwap<Engine>>,
    /// What is to be told of it.
    pub(super) status: Arc<ArcSwap<PolicyStatus>>,
}

/// Which policies decide, and why the newest don't.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PolicyStatus {
    /// Of the text that decides: nodes with the same digest decide the same.
    pub(super) digest: String,
    /// Of the newest text, where it does not decide.
    pub(super) error: Option<String>,
}

impl Policies {
    /// Loads the file. Without one nothing is denied.
    pub(super) fn load(file: Option<&Path>) -> Result<Self> {
        let (engine, digest, modified) = match file {
            Some(file) => {
                let (engine, digest) = read(file)?;
                (engine, digest, modified(file))
            }
            None => (Engine::compile(Vec::new())?, "none".to_owned(), None),
        };
        Ok(Self {
            file: file.map(Path::to_owned),
            modified,
            engine: Arc::new(ArcSwap::from_pointee(engine)),
            status: Arc::new(ArcSwap::from_pointee(PolicyStatus { digest, error: None })),
        })
    }

    /// Follows the file until dropped. One that does not compile never replaces the last good one.
    pub(super) async fn follow(mut self) {
        let Some(file) = self.file.take() else { return };
        loop {
            tokio::time::sleep(POLL).await;
            let now = modified(&file);
            if now == self.modified {
                continue;
            }
            self.modified = now;
            match read(&file) {
                Ok((engine, digest)) => {
                    self.engine.store(Arc::new(engine));
                    self.status.store(Arc::new(PolicyStatus { digest, error: None }));
                    tracing::info!(file = %file.display(), "policies changed");
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "the new policies are not used; the last good ones stay");
                    let digest = self.status.load().digest.clone();
                    self.status.store(Arc::new(PolicyStatus { digest, error: Some(error) }));
                }
            }
        }
    }
}

fn read(file: &Path) -> Result<(Engine, String)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading the deny list {}", file.display()))?;
    Ok((compile(&text, file)?, digest(&text)))
}

/// The first 48 bits of its SHA-256: to tell policies apart, not to prove anything.
fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn compile(text: &str, file: &Path) -> Result<Engine> {
    let engine = Engine::from_yaml(text, &file.display().to_string()).context("the deny list does not compile")?;
    // One that is being written is empty for a moment, and an empty one would allow everything.
    ensure!(
        !engine.is_empty(),
        "the deny list {} holds no GuardPolicy; if nothing is to be denied, leave --deny-list out",
        file.display()
    );
    Ok(engine)
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deny_list_without_a_policy_is_refused() {
        let file = Path::new("deny.yaml");
        for text in ["", "# nothing yet\n", "---\n"] {
            assert!(compile(text, file).unwrap_err().to_string().contains("no GuardPolicy"), "{text:?}");
        }
        let policy = "apiVersion: egressguard.io/v1alpha1\nkind: GuardPolicy\nmetadata: {name: p}\nspec: {}\n";
        assert!(compile(policy, file).is_ok());
    }
}
