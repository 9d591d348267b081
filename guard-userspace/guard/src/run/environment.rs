//! The command's environment: the caller's, as the user, without what is a credential or leads to a process outside.

use std::ffi::{OsStr, OsString};

use guard_run::{KUBECONFIG, User};

/// Taken away, by name. docs/run.md lists them.
const TAKEN: [&str; 29] = [
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ARM_CLIENT_CERTIFICATE_PASSWORD",
    "ARM_CLIENT_SECRET",
    "ARM_OIDC_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "CI_JOB_JWT",
    "CI_JOB_JWT_V2",
    "CONTAINER_HOST",
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "DISPLAY",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "GNOME_KEYRING_CONTROL",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "GPG_AGENT_INFO",
    "KRB5CCNAME",
    "SSH_AGENT_PID",
    "SSH_AUTH_SOCK",
    "TMUX",
    "TMUX_PANE",
    "VAULT_TOKEN",
    "WAYLAND_DISPLAY",
    "WINDOWID",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
];
/// And by the beginning of the name. `AWS_` has keys, tokens, and files with both.
const TAKEN_BY_BEGINNING: [&str; 7] =
    ["AWS_", "CLOUDSDK_", "GUARD_", "KUBERNETES_", "SUDO_", "TELEPORT_", "OS_PASSWORD"];

/// The whole environment. `asked` is what the command line adds, or gives back by name.
pub(super) fn of_command(user: &User, asked: &[OsString]) -> Vec<(OsString, OsString)> {
    build(&std::env::vars_os().collect::<Vec<_>>(), user, asked)
}

fn build(ours: &[(OsString, OsString)], user: &User, asked: &[OsString]) -> Vec<(OsString, OsString)> {
    let mut kept: Vec<_> = ours.iter().filter(|(name, _)| !is_taken(name)).cloned().collect();
    let mut set = |name: &OsStr, value: OsString| {
        kept.retain(|(kept, _)| kept != name);
        kept.push((name.to_owned(), value));
    };
    set(OsStr::new("HOME"), user.home.clone().into_os_string());
    set(OsStr::new("USER"), OsString::from(&user.name));
    set(OsStr::new("LOGNAME"), OsString::from(&user.name));
    set(OsStr::new("SHELL"), user.shell.clone().into_os_string());
    set(OsStr::new("KUBECONFIG"), OsString::from(KUBECONFIG));
    for variable in asked {
        match split(variable) {
            (name, Some(value)) => set(name, value.to_owned()),
            (name, None) => {
                if let Some((_, value)) = ours.iter().find(|(ours, _)| ours == name) {
                    set(name, value.clone());
                }
            }
        }
    }
    kept
}

fn is_taken(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    TAKEN.contains(&name.as_ref()) || TAKEN_BY_BEGINNING.iter().any(|beginning| name.starts_with(beginning))
}

fn split(variable: &OsStr) -> (&OsStr, Option<&OsStr>) {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = variable.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (OsStr::from_bytes(&bytes[..at]), Some(OsStr::from_bytes(&bytes[at + 1..]))),
        None => (variable, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_and_given_back_by_name() {
        let ours =
            [("PATH", "/bin"), ("AWS_PROFILE", "dev"), ("AWS_SECRET_ACCESS_KEY", "s"), ("HOME", "/root"), ("A", "1")];
        let ours = ours.map(|(name, value)| (name.into(), value.into())).to_vec();
        let user = User { name: "me".into(), uid: 1, gid: 1, home: "/home/me".into(), shell: "/bin/sh".into() };
        let of = |asked: &[&str]| {
            let asked: Vec<_> = asked.iter().map(OsString::from).collect();
            let built = build(&ours, &user, &asked).into_iter();
            built.map(|(name, value)| format!("{}={}", name.display(), value.display())).collect::<Vec<_>>()
        };
        let plain = of(&[]);
        assert!(plain.contains(&"HOME=/home/me".to_owned()) && plain.contains(&"PATH=/bin".to_owned()), "{plain:?}");
        assert!(!plain.iter().any(|variable| variable.starts_with("AWS_")), "{plain:?}");
        let asked = of(&["AWS_PROFILE", "A=2=3", "B="]);
        for expected in ["AWS_PROFILE=dev", "A=2=3", "B="] {
            assert!(asked.contains(&expected.to_owned()), "{expected} in {asked:?}");
        }
        assert!(!asked.contains(&"A=1".to_owned()), "{asked:?}");
    }
}
