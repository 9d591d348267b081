//! The caller's kubeconfig, found and read; and the policies beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arc_swap::ArcSwap;
use guard_policy::Engine;
use guard_run::User;
use kube::config::{ExecConfig, Kubeconfig};

use super::Args;

/// What decides without `--policy`: a deny list, so it says what is refused.
const BASELINE: &str = include_str!("baseline.yaml");
/// Of a pod that runs the guard.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the credential comes from.
pub(super) enum Found {
    /// A kubeconfig, and which context of it.
    Kubeconfig {
        /// Merged, if there were several files.
        config: Box<Kubeconfig>,
        /// The files.
        files: Vec<PathBuf>,
        /// The context, if not the current one.
        context: Option<String>,
    },
    /// The pod's own account.
    InCluster,
}

impl Found {
    /// The files that the command must not see: kubeconfigs, and keys and tokens that they name.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let Self::Kubeconfig { config, files, .. } = self else { return vec![PathBuf::from(IN_CLUSTER)] };
        let infos = config.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
        let named = infos.flat_map(|info| [&info.client_key, &info.token_file, &info.client_certificate]);
        files.iter().cloned().chain(named.flatten().map(PathBuf::from)).collect()
    }
}

/// Reads it, of the caller's choice or the usual place.
pub(super) fn find(args: &Args, user: &User) -> Result<Found> {
    let usual = user.home.join(".kube/config");
    let variable = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    let files: Vec<PathBuf> = match (&args.kubeconfig, variable) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(list)) => std::env::split_paths(&list).filter(|file| file.exists()).collect(),
        (None, None) if usual.exists() => vec![usual.clone()],
        (None, None) if Path::new(IN_CLUSTER).join("token").exists() => return Ok(Found::InCluster),
        (None, None) => bail!(
            "there is no kubeconfig: {} does not exist; name one with --kubeconfig FILE (sudo takes KUBECONFIG from the environment)",
            usual.display()
        ),
    };
    ensure!(!files.is_empty(), "KUBECONFIG names no file that exists; name one with --kubeconfig FILE");
    let mut config = Kubeconfig::default();
    for file in &files {
        let one = Kubeconfig::read_from(file).with_context(|| format!("reading the kubeconfig {}", file.display()))?;
        config = config.merge(one).with_context(|| format!("merging the kubeconfig {}", file.display()))?;
    }
    check_context(&config, args.context.as_deref())?;
    for named in &mut config.auth_infos {
        if let Some(exec) = named.auth_info.as_mut().and_then(|info| info.exec.as_mut()) {
            run_as(exec, user)?;
        }
    }
    Ok(Found::Kubeconfig { config: Box::new(config), files, context: args.context.clone() })
}

/// The deny list of the caller, or the one that is built in.
pub(super) fn policies(file: Option<&Path>) -> Result<Arc<ArcSwap<Engine>>> {
    let (text, name) = match file {
        Some(file) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("reading the policy {}", file.display()))?;
            (text, file.display().to_string())
        }
        None => (BASELINE.to_owned(), "baseline".to_owned()),
    };
    let engine = Engine::from_yaml(&text, &name).context("the policy does not compile")?;
    // An empty one would allow everything: say so by a policy without rules.
    ensure!(!engine.is_empty(), "{name} holds no GuardPolicy; one without rules denies nothing");
    Ok(Arc::new(ArcSwap::from_pointee(engine)))
}

fn check_context(config: &Kubeconfig, asked: Option<&str>) -> Result<()> {
    let Some(name) = asked.or(config.current_context.as_deref()) else {
        bail!(
            "the kubeconfig has no current-context: name one with --context, or set it with `kubectl config use-context`"
        );
    };
    if config.contexts.iter().any(|context| context.name == name) {
        return Ok(());
    }
    let names: Vec<_> = config.contexts.iter().map(|context| context.name.as_str()).collect();
    bail!("the kubeconfig has no context {name:?}; it has: {}", names.join(", "))
}

/// A plugin is the user's program, with the user's files: as root it would find other caches, and be a way to root.
fn run_as(exec: &mut ExecConfig, user: &User) -> Result<()> {
    let plugin = exec.command.take().context("a user of the kubeconfig has an exec plugin without a command")?;
    let mut args = vec!["run-as".to_owned(), "--uid".to_owned(), user.uid.to_string()];
    args.extend(["--gid".to_owned(), user.gid.to_string(), "--".to_owned(), plugin]);
    args.extend(exec.args.take().unwrap_or_default());
    exec.command = Some("/proc/self/exe".to_owned());
    exec.args = Some(args);
    let home = user.home.to_string_lossy().into_owned();
    let variables = exec.env.get_or_insert_default();
    for (name, value) in [("HOME", &home), ("USER", &user.name), ("LOGNAME", &user.name)] {
        if !variables.iter().any(|variable| variable.get("name").is_some_and(|found| found == name)) {
            let pair = [("name", name), ("value", value.as_str())];
            variables.push(pair.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policies_compile() {
        assert!(!policies(None).unwrap().load().is_empty());
    }

    #[test]
    fn a_plugin_becomes_the_user_first() {
        let user = User { name: "me".into(), uid: 7, gid: 8, home: "/home/me".into(), shell: "/bin/sh".into() };
        let text = "{command: aws, args: [eks, get-token], env: [{name: AWS_PROFILE, value: dev}]}";
        let mut exec: ExecConfig = serde_saphyr::from_str(text).unwrap();
        run_as(&mut exec, &user).unwrap();
        assert_eq!(exec.args.unwrap(), ["run-as", "--uid", "7", "--gid", "8", "--", "aws", "eks", "get-token"]);
        assert_eq!(exec.env.unwrap().len(), 4);
    }

    #[test]
    fn a_context_that_is_not_there_is_told_with_those_that_are() {
        let config: Kubeconfig =
            serde_saphyr::from_str("contexts: [{name: a}, {name: b}]\ncurrent-context: a\n").unwrap();
        assert!(check_context(&config, None).is_ok());
        let error = check_context(&config, Some("c")).unwrap_err().to_string();
        assert!(error.contains("a, b"), "{error}");
    }
}
