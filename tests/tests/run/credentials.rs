//! The caller's own credential, in the forms that a kubeconfig has for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::BED;
use super::bed::{ALLOW, UID};

const WHO_AM_I: &str = "kubectl auth whoami -o jsonpath={.status.userInfo.username}";

/// A kubeconfig whose user is this.
fn kubeconfig(name: &str, user: &Value) -> String {
    let ca = fs::read_to_string(&BED.cluster.api_server.ca).expect("the cluster's CA");
    let file = BED.home.join(name);
    let ca_file = BED.home.join("ca.crt");
    fs::write(&ca_file, ca).expect("the CA beside it");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "c", "cluster": {"server": BED.cluster.api_server.url, "certificate-authority": "/home/ca.crt"}}],
        "users": [{"name": "u", "user": user}, {"name": "nobody", "user": {"token": "expired"}}],
        "contexts": [
            {"name": "a", "context": {"cluster": "c", "user": "u"}},
            {"name": "expired", "context": {"cluster": "c", "user": "nobody"}},
        ],
    });
    fs::write(&file, text.to_string()).expect("a kubeconfig");
    format!("--kubeconfig=/home/{name}")
}

fn token() -> String {
    BED.kubectl.run(["create", "token", "default"]).ok().trim().to_owned()
}

#[test]
fn a_token_and_a_context_of_several() {
    let option = kubeconfig("token.yaml", &json!({"token": token()}));
    let answer = BED.sh(&["--quiet", ALLOW, &option], WHO_AM_I).ok();
    assert_eq!(answer, "system:serviceaccount:default:default");
    let answer = BED.sh(&["--quiet", ALLOW, &option, "--context", "expired"], "echo it ran");
    assert_eq!(answer.status.code(), Some(125), "{answer:?}");
    assert!(answer.err.contains("log in again") && !answer.out.contains("it ran"), "{answer:?}");
    let answer = BED.sh(&["--quiet", &option, "--context", "nowhere"], "echo it ran");
    assert!(answer.status.code() == Some(125) && answer.err.contains("a, expired"), "{answer:?}");
}

#[test]
fn a_plugin_runs_as_the_user_with_the_user_s_caches_which_the_command_does_not_see() {
    let script = format!(
        "#!/bin/sh\nid -u > ~/.kube/plugin-ran-as\n[ \"$(cat ~/.aws/credentials)\" ] || exit 1\ncat <<'END'\n{}\nEND\n",
        json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token()}})
    );
    let plugin = BED.home.join("tools/plugin");
    fs::write(&plugin, script).expect("a plugin");
    fs::set_permissions(&plugin, Permissions::from_mode(0o755)).expect("a program");
    let exec =
        json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "plugin", "interactiveMode": "Never"});
    let option = kubeconfig("exec.yaml", &json!({"exec": exec}));
    let answer = BED.sh(&["--quiet", ALLOW, &option], &format!("{WHO_AM_I}; cat ~/.kube/plugin-ran-as")).out;
    assert_eq!(answer, "system:serviceaccount:default:default");
    let ran_as = fs::read_to_string(BED.home.join("agent/.kube/plugin-ran-as")).expect("what the plugin wrote");
    assert_eq!(ran_as.trim(), UID.to_string());
}

#[test]
fn what_is_missing_is_said_and_nothing_is_started() {
    for (options, said) in [
        (&["--kubeconfig=/home/none.yaml"][..], "/home/none.yaml"),
        (&["--policy=/home/none.yaml"][..], "/home/none.yaml"),
    ] {
        let answer = BED.sh(options, "echo it ran");
        assert_eq!(answer.status.code(), Some(125), "{options:?}: {answer:?}");
        assert!(answer.err.contains(said) && !answer.out.contains("it ran"), "{options:?}: {answer:?}");
    }
}
