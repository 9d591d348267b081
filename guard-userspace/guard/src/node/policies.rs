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
}

impl Policies {
    /// Loads the file. Without one nothing is denied.
    pub(super) fn load(file: Option<&Path>) -> Result<Self> {
        let (engine, modified) = match file {
            Some(file) => (read(file)?, modified(file)),
            None => (Engine::compile(Vec::new())?, None),
        };
        Ok(Self { file: file.map(Path::to_owned), modified, engine: Arc::new(ArcSwap::from_pointee(engine)) })
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
                Ok(engine) => {
                    self.engine.store(Arc::new(engine));
                    tracing::info!(file = %file.display(), "policies changed");
                }
                Err(error) => tracing::error!(
                    error = format!("{error:#}"),
                    "the new policies are not used; the last good ones stay"
                ),
            }
        }
    }
}

fn read(file: &Path) -> Result<Engine> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading the deny list {}", file.display()))?;
    compile(&text, file)
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
