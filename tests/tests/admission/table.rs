//! One table of pods: how each is stored, or by which rule it is refused. Every mode is held to it.

use serde_json::{Value, json};

use crate::installation::Installation;

/// How a pod ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// As an agent pod that breaks no rule.
    Agent,
    /// As it was sent: it is no agent's.
    Ordinary,
    /// Refused by this rule.
    Refused(&'static str),
    /// Refused by the API server itself: with what admission adds, it is no pod.
    Invalid,
}

/// In which of the installation's namespaces.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Home {
    Plain,
    Labelled,
    Tied,
    Guard,
}

use End::{Agent, Invalid, Ordinary, Refused};
use Home::{Guard, Labelled, Plain, Tied};

/// One pod.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) home: Home,
    pub(crate) end: End,
    /// JSON pointers and what is put there.
    changes: Vec<(&'static str, Value)>,
}

impl Row {
    /// The pod that is sent. Nobody schedules it, so it stays as it is stored.
    pub(crate) fn pod(&self) -> Value {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": {"egressguard.io/agent": "chatgpt"}},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "agent"}]},
        });
        for (pointer, value) in &self.changes {
            *place(&mut pod, pointer) = value.clone();
        }
        pod
    }

    /// The same for another pod.
    pub(crate) fn renamed(&self, prefix: &str) -> Self {
        Self { name: format!("{prefix}-{}", self.name), ..self.clone() }
    }

    pub(crate) fn namespace<'a>(&self, installation: &'a Installation) -> &'a str {
        match self.home {
            Plain => &installation.plain,
            Labelled => &installation.labelled,
            Tied => &installation.tied,
            Guard => crate::installation::GUARD,
        }
    }
}

/// What a pointer points at, made where it isn't there.
fn place<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').skip(1).fold(value, |value, key| match value {
        Value::Array(items) => &mut items[key.parse::<usize>().expect("an index")],
        other => &mut other[key.replace("~1", "/")],
    })
}

const LABELS: &str = "/metadata/labels";
const CLASS: &str = "/metadata/labels/egressguard.io~1agent";
const INITS: &str = "/spec/initContainers";
const VOLUMES: &str = "/spec/volumes";
const HOST: &str = "169.254.169.254";

fn row(name: &'static str, end: End, changes: impl IntoIterator<Item = (&'static str, Value)>) -> Row {
    Row { name: name.to_owned(), home: Plain, end, changes: changes.into_iter().collect() }
}

fn at(home: Home, row: Row) -> Row {
    Row { home, ..row }
}

/// A pod with this in the securityContext of its container.
fn security(name: &'static str, end: End, context: Value) -> Row {
    row(name, end, [("/spec/containers/0/securityContext", context)])
}

fn volume(name: &'static str, end: End, volume: Value) -> Row {
    let mut named = volume;
    named["name"] = json!("data");
    row(name, end, [(VOLUMES, json!([named]))])
}

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    [admitted(), classes(), whole_pods(), containers(), volumes(), gates()].into_iter().flatten().collect()
}

fn admitted() -> Vec<Row> {
    let tcp = json!({"tcpSocket": {"port": 80}});
    vec![
        row("plain", Agent, []),
        row("own-init", Agent, [(INITS, json!([{"name": "own", "image": "x"}]))]),
        row("native-sidecar", Agent, [(INITS, json!([{"name": "own", "image": "x", "restartPolicy": "Always"}]))]),
        row("no-token", Agent, [("/spec/automountServiceAccountToken", json!(false))]),
        row("fs-group", Agent, [("/spec/securityContext", json!({"fsGroup": 2000, "runAsUser": 1000}))]),
        row("gates-own-uid", Agent, [("/spec/securityContext", json!({"runAsUser": 65532, "runAsNonRoot": true}))]),
        row(
            "localhost-seccomp",
            Agent,
            [("/spec/securityContext", json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}))],
        ),
        row("own-user-namespace", Agent, [("/spec/hostUsers", json!(false))]),
        row("probe-without-host", Agent, [("/spec/containers/0/livenessProbe", tcp)]),
        row(
            "node-name",
            Agent,
            [("/spec/nodeName", json!("no-such-node")), ("/spec/schedulerName", json!("default-scheduler"))],
        ),
        row("pull-secret-of-its-own", Agent, [("/spec/imagePullSecrets", json!([{"name": "own"}]))]),
        row(
            "safe-sysctl",
            Agent,
            [("/spec/securityContext", json!({"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}))],
        ),
        security(
            "usual-capabilities",
            Agent,
            json!({"capabilities": {"add": ["CHOWN", "NET_BIND_SERVICE"], "drop": ["KILL"]}}),
        ),
        security("no-capabilities", Agent, json!({"capabilities": {"drop": ["ALL"]}})),
        volume("empty-dir", Agent, json!({"emptyDir": {}})),
        volume("claim", Agent, json!({"persistentVolumeClaim": {"claimName": "c"}})),
        volume("opaque-secret", Agent, json!({"secret": {"secretName": "s"}})),
        volume("inert-csi", Agent, json!({"csi": {"driver": "inert.csi.test"}})),
        volume(
            "token-for-vault",
            Agent,
            json!({"projected": {"sources": [{"serviceAccountToken": {"audience": "vault", "path": "t"}}]}}),
        ),
        row(
            "mesh",
            Agent,
            [(
                INITS,
                json!([
                    {"name": "mesh-init", "image": "mesh/init:1", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}},
                    {"name": "own", "image": "x"},
                ]),
            )],
        ),
        row(
            "ordinary",
            Ordinary,
            [
                (LABELS, json!({"app": "web"})),
                ("/spec/hostNetwork", json!(true)),
                ("/spec/containers/0/securityContext", json!({"privileged": true})),
            ],
        ),
    ]
}

fn classes() -> Vec<Row> {
    vec![
        at(Labelled, row("of-its-namespace", Agent, [(LABELS, json!({"app": "web"}))])),
        at(Labelled, row("without-any-label", Agent, [(LABELS, Value::Null)])),
        at(Labelled, row("same-class", Agent, [])),
        at(Labelled, row("laxer-class", Refused("class-of-namespace"), [(CLASS, json!("free"))])),
        at(Labelled, row("no-class-escapes", Refused("class-name"), [(CLASS, json!(""))])),
        at(
            Labelled,
            row(
                "unsafe-without-label",
                Refused("host-namespaces"),
                [(LABELS, json!({})), ("/spec/hostNetwork", json!(true))],
            ),
        ),
        at(Tied, row("tied-class", Agent, [(CLASS, json!("tied"))])),
        row("tied-elsewhere", Refused("class-place"), [(CLASS, json!("tied"))]),
        row("free-class", Agent, [(CLASS, json!("free"))]),
        row("empty-class", Refused("class-name"), [(CLASS, json!(""))]),
        at(Guard, row("beside-the-keys", Refused("guard-namespace"), [])),
    ]
}

fn whole_pods() -> Vec<Row> {
    let pod = |field: &'static str, value: Value| (field, value);
    vec![
        row("host-network", Refused("host-namespaces"), [pod("/spec/hostNetwork", json!(true))]),
        row("host-pid", Refused("host-namespaces"), [pod("/spec/hostPID", json!(true))]),
        row("host-ipc", Refused("host-namespaces"), [pod("/spec/hostIPC", json!(true))]),
        row("shared-processes", Refused("shared-process-namespace"), [pod("/spec/shareProcessNamespace", json!(true))]),
        row(
            "reserved-ports",
            Refused("sysctls"),
            [pod(
                "/spec/securityContext",
                json!({"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports", "value": "1-65535"}]}),
            )],
        ),
        row(
            "unconfined-pod",
            Refused("seccomp-of-pod"),
            [pod("/spec/securityContext", json!({"seccompProfile": {"type": "Unconfined"}}))],
        ),
    ]
}

fn containers() -> Vec<Row> {
    let add = |name: &str| json!({"capabilities": {"add": [name]}});
    let main = "/spec/containers/0/livenessProbe";
    vec![
        security("privileged", Refused("privileged"), json!({"privileged": true})),
        row(
            "privileged-init",
            Refused("privileged"),
            [(INITS, json!([{"name": "own", "image": "x", "securityContext": {"privileged": true}}]))],
        ),
        security("sys-admin", Refused("capabilities"), add("SYS_ADMIN")),
        security("all-in-small-letters", Refused("capabilities"), add("all")),
        security("mixed-letters", Refused("capabilities"), add("Net_Admin")),
        security("with-prefix", Refused("capabilities"), add("CAP_NET_RAW")),
        security("net-raw", Refused("capabilities"), add("NET_RAW")),
        row(
            "unmasked-proc",
            Refused("proc-mount"),
            [
                ("/spec/hostUsers", json!(false)),
                ("/spec/containers/0/securityContext", json!({"procMount": "Unmasked"})),
            ],
        ),
        security("unconfined", Refused("seccomp"), json!({"seccompProfile": {"type": "Unconfined"}})),
        row("probe-with-host", Refused("handler-host"), [(main, json!({"httpGet": {"port": 80, "host": HOST}}))]),
        row(
            "tcp-probe-with-host",
            Refused("handler-host"),
            [(main, json!({"tcpSocket": {"port": 6443, "host": HOST}}))],
        ),
        row(
            "startup-with-host",
            Refused("handler-host"),
            [("/spec/containers/0/startupProbe", json!({"httpGet": {"port": 80, "host": HOST}}))],
        ),
        row(
            "ready-with-host",
            Refused("handler-host"),
            [("/spec/containers/0/readinessProbe", json!({"httpGet": {"port": 80, "host": HOST}}))],
        ),
        row(
            "hook-with-host",
            Refused("handler-host"),
            [("/spec/containers/0/lifecycle", json!({"postStart": {"httpGet": {"port": 80, "host": HOST}}}))],
        ),
        row(
            "last-words-with-host",
            Refused("handler-host"),
            [("/spec/containers/0/lifecycle", json!({"preStop": {"tcpSocket": {"port": 80, "host": HOST}}}))],
        ),
        row(
            "host-port",
            Refused("host-port"),
            [("/spec/containers/0/ports", json!([{"containerPort": 10250, "hostPort": 10250}]))],
        ),
        row(
            "mesh-of-another-image",
            Refused("capabilities"),
            [(
                INITS,
                json!([
                    {"name": "mesh-init", "image": "evil/init:1", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
                ]),
            )],
        ),
        row(
            "mesh-that-stays",
            Refused("capabilities"),
            [(
                "/spec/containers",
                json!([
                    {"name": "mesh-init", "image": "mesh/init:1", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
                ]),
            )],
        ),
    ]
}

fn volumes() -> Vec<Row> {
    let token = |token: Value| json!({"projected": {"sources": [{"serviceAccountToken": token}]}});
    vec![
        volume("host-path", Refused("volume-type"), json!({"hostPath": {"path": "/var/lib/kubelet"}})),
        volume("csi", Refused("volume-type"), json!({"csi": {"driver": "secrets-store.csi.k8s.io"}})),
        volume("nfs", Refused("volume-type"), json!({"nfs": {"server": "a", "path": "/"}})),
        volume("flex", Refused("volume-type"), json!({"flexVolume": {"driver": "a/b"}})),
        volume("token-of-default-audience", Refused("token-audience"), token(json!({"path": "t"}))),
        volume(
            "token-for-the-api",
            Refused("token-audience"),
            token(json!({"audience": "https://kubernetes.default.svc.cluster.local", "path": "t"})),
        ),
        volume(
            "second-source",
            Refused("token-audience"),
            json!({"projected": {"sources": [
                {"configMap": {"name": "c"}}, {"serviceAccountToken": {"path": "t"}},
            ]}}),
        ),
        volume(
            "certificate",
            Refused("pod-certificate"),
            json!({"projected": {"sources": [
                {"podCertificate": {"signerName": "a.test/b", "keyType": "ED25519", "credentialBundlePath": "c"}},
            ]}}),
        ),
    ]
}

fn gates() -> Vec<Row> {
    let mount = |volume: &str| json!([{"name": volume, "mountPath": "/stolen"}]);
    let forged = |more: Value| {
        let mut gate = json!({"name": "egress-guard-gate", "image": "evil", "command": ["/bin/true"]});
        gate.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        (INITS, json!([gate]))
    };
    vec![
        row("forged-gate", Agent, [forged(json!({}))]),
        row("forged-gate-that-stays", Agent, [forged(json!({"restartPolicy": "Always"}))]),
        row(
            "forged-gate-second",
            Agent,
            [(INITS, json!([{"name": "own", "image": "x"}, {"name": "egress-guard-gate", "image": "evil"}]))],
        ),
        row(
            "forged-volume",
            Agent,
            [(
                VOLUMES,
                json!([{"name": "egress-guard-upstream", "emptyDir": {}}, {"name": "egress-guard-gate", "hostPath": {"path": "/"}}]),
            )],
        ),
        row(
            "container-called-gate",
            Invalid,
            [("/spec/containers", json!([{"name": "egress-guard-gate", "image": "x"}]))],
        ),
        row(
            "takes-upstream",
            Refused("gate-volumes"),
            [("/spec/containers/0/volumeMounts", mount("egress-guard-upstream"))],
        ),
        row("takes-gates", Refused("gate-volumes"), [("/spec/containers/0/volumeMounts", mount("egress-guard-gate"))]),
        row(
            "init-takes-upstream",
            Refused("gate-volumes"),
            [(INITS, json!([{"name": "own", "image": "x", "volumeMounts": mount("egress-guard-upstream")}]))],
        ),
    ]
}
