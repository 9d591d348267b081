//! What the command doesn't see of the user's files: credentials, and what starts processes elsewhere.

use std::path::{Path, PathBuf};

/// Below the user's home. docs/run.md lists them; `--hide` adds to them.
const CREDENTIALS: [&str; 45] = [
    ".1password",
    ".aliyun",
    ".argocd",
    ".aws",
    ".azure",
    ".azure-devops",
    ".bluemix",
    ".cloudflared",
    ".colima",
    ".config/argocd",
    ".config/containers/auth.json",
    ".config/doctl",
    ".config/gcloud",
    ".config/gh",
    ".config/glab-cli",
    ".config/helm/registry",
    ".config/hub",
    ".config/op",
    ".config/oci",
    ".config/scw",
    ".config/systemd",
    ".config/teleport",
    ".config/tsh",
    ".docker",
    ".gnupg",
    ".hcloud",
    ".krew/store/oidc-login",
    ".kube",
    ".kube-oidc-login",
    ".lima",
    ".local/share/containers",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".minikube",
    ".netrc",
    ".oci",
    ".okta",
    ".password-store",
    ".pki",
    ".rancher",
    ".rd",
    ".ssh",
    ".tsh",
    ".vault-token",
    ".cache/kubelogin",
];

/// Of the machine. The first three hold the sockets of whatever starts processes for others.
const MACHINE: [&str; 10] = [
    "/sys/fs/cgroup",
    "/sys/fs/bpf",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
    "/sys/fs/fuse/connections",
    "/etc/kubernetes",
    "/etc/rancher",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/spool",
];

/// All of them for a user with this home, with `more`, in which `~/` is the home. Whether they exist is not looked at.
pub fn hidden(home: &Path, more: &[PathBuf]) -> Vec<PathBuf> {
    let of_home = CREDENTIALS.iter().map(|path| home.join(path));
    let expanded = more.iter().map(|path| match path.strip_prefix("~") {
        Ok(below) => home.join(below),
        Err(_) => path.clone(),
    });
    MACHINE.iter().map(PathBuf::from).chain(of_home).chain(expanded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home() {
        let hidden = hidden(Path::new("/home/me"), &[PathBuf::from("~/x"), PathBuf::from("/opt/y")]);
        for path in ["/home/me/.kube", "/home/me/x", "/opt/y", "/sys/fs/cgroup"] {
            assert!(hidden.contains(&PathBuf::from(path)), "{path}");
        }
    }
}
