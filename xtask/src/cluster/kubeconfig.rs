//! Kubeconfig files with a client certificate.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::pki::Files;

/// Writes `NAME.kubeconfig` (JSON is YAML) into `folder`.
pub(super) fn write(folder: &Path, name: &str, server: &str, ca: &Path, client: &Files) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": name, "user": {"client-certificate": client.certificate, "client-key": client.key}}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": name}}],
        "current-context": "cluster",
    });
    let file = folder.join(format!("{name}.kubeconfig"));
    fs::write(&file, config.to_string()).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}
