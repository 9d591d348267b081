//! Agents as their teams make them: a Deployment with a label on its template, or in a namespace with the label. Nothing else.

use std::time::{Duration, Instant};

use guard_e2e::finding::{Finding, Outcome};
use guard_e2e::harness::{Answer, Installed, Kubectl, Running, eventually, finding};
use serde_json::{Value, json};
use xtask::cluster::Node;
use xtask::images;

/// The gate included, on two busy cores.
const READY: Duration = Duration::from_mins(3);

/// A Deployment of one agent pod on one node.
pub(crate) struct Agent<'a> {
    pub(crate) kubectl: Kubectl,
    pub(crate) node: &'a Node,
    name: String,
}

impl<'a> Agent<'a> {
    /// With the label on its template. Its account may read and write ordinary things of its namespace.
    #[track_caller]
    pub(crate) fn labelled(installed: &Installed, name: &str, node: &'a Node) -> Self {
        Self::create(&installed.kubectl, &installed.namespace, name, node, &json!({"egressguard.io/agent": "chatgpt"}))
    }

    /// Without it: its namespace has it.
    #[track_caller]
    pub(crate) fn of_namespace(installed: &Installed, name: &str, node: &'a Node) -> Self {
        let namespace = installed.labelled_namespace();
        let kubectl = Kubectl::new(&installed.cluster, &namespace);
        let labels = json!({"egressguard.io/agent": "ci-bot"});
        kubectl.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}),
        );
        Self::create(&kubectl, &namespace, name, node, &json!({}))
    }

    #[track_caller]
    fn create(kubectl: &Kubectl, namespace: &str, name: &str, node: &'a Node, labels: &Value) -> Self {
        let mut labels = labels.clone();
        labels["app"] = json!(name);
        let container = json!({"name": "main", "image": images::AGENT, "imagePullPolicy": "Never"});
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "serviceAccountName": name,
                            "nodeSelector": {"kubernetes.io/hostname": node.name},
                            "terminationGracePeriodSeconds": 0,
                            "containers": [container],
                        },
                    },
                },
            },
        ]}));
        Self { kubectl: kubectl.clone(), node, name: name.to_owned() }
    }

    /// Waits until its pod runs, which its gate allows only when it is guarded.
    #[track_caller]
    pub(crate) fn ready(self, installed: &Installed) -> Self {
        eventually(&format!("agent {} to run", self.name), READY, || {
            let object = self.kubectl.get("deployment", &self.name);
            if object["status"]["readyReplicas"] == 1 {
                return Ok(());
            }
            let selector = format!("app={}", self.name);
            let pods = self.kubectl.run(["get", "pods", "-l", &selector, "-o", "jsonpath={.items[*].status}"]);
            let gate = self.kubectl.run(["logs", "-l", &selector, "-c", "egress-guard-gate", "--tail=4"]);
            let (pods, gate) = (pods.out_and_err(), gate.out_and_err());
            Err(format!("{}\n{pods}\n{gate}\n{}", object["status"], installed.said()))
        });
        self
    }

    /// The name of its pod.
    #[track_caller]
    pub(crate) fn pod(&self) -> String {
        let selector = format!("app={}", self.name);
        let path = "jsonpath={.items[0].metadata.name}";
        self.kubectl.run(["get", "pods", "-l", &selector, "--field-selector", "status.phase=Running", "-o", path]).ok()
    }

    /// A program in its pod.
    #[track_caller]
    pub(crate) fn exec(&self, arguments: &[&str]) -> Answer {
        self.kubectl.run(self.arguments(arguments))
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let deployment = format!("deployment/{}", self.name);
        let mut all = vec!["exec".to_owned(), deployment, "--container=main".into(), "--".into()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        all
    }

    /// One try of the probe.
    #[track_caller]
    pub(crate) fn probe(&self, arguments: &str) -> Finding {
        let arguments: Vec<&str> = ["/bin/probe", "--limit", "5000"].into_iter().chain(arguments.split(' ')).collect();
        finding(&self.exec(&arguments).ok())
    }

    /// Each way round the guard that an ordinary pod may try meets the guard, or ends in the kernel.
    #[track_caller]
    pub(crate) fn is_shut_in(&self, installed: &Installed) {
        let api_server = Some(installed.api_server_certificate());
        let guard = self.probe("connect --to 10.96.0.1:443").peer_certificate_sha256;
        assert!(guard.is_some() && guard != api_server, "the API server itself, on {}: {guard:?}", self.node.name);
        for to in ["172.30.0.10:6443", "[fd00:10:96::1]:443", "[fd00:30::10]:6443"] {
            let found = self.probe(&format!("connect --to {to}"));
            assert_eq!(found.peer_certificate_sha256, guard, "{to} on {}: {found:?}", self.node.name);
        }
        let refused = [
            "datagram --to 172.30.0.10:6443",
            "datagram --to 10.96.0.1:443",
            "connect --to 172.30.0.10:2379",
            "connect --to 172.30.0.11:10250",
            "connect --to 172.30.0.12:10250",
            "connect --to 169.254.169.254:80",
        ];
        for way in refused {
            let found = self.probe(way);
            assert_eq!(found.outcome, Outcome::Refused, "{way} on {}: {found:?}", self.node.name);
        }
    }
}

/// Requests one after the other through the guard, as long as it lives; each on a connection of its own.
pub(crate) struct Load {
    running: Running,
    since: Instant,
}

/// What a load has met.
pub(crate) struct Met {
    /// Requests that were answered.
    pub(crate) answered: u32,
    /// How long it went on.
    pub(crate) time: Duration,
    /// The slowest request, in seconds.
    pub(crate) slowest: f64,
}

/// curl, since each kubectl takes a second of two busy cores; `--fail`, since an answer that is not 2xx counts as none.
const LOAD: &str = r#"
dir=/var/run/secrets/kubernetes.io/serviceaccount; n=0; rm -f /tmp/stop /tmp/times
while [ ! -e /tmp/stop ]; do
    out=$(curl --silent --show-error --fail --max-time 30 --cacert $dir/ca.crt --header "Authorization: Bearer $(cat $dir/token)" \
        --output /dev/null --write-out '%{time_total}' https://10.96.0.1/version 2>&1) || echo "FAILED $(date +%T) $out"
    n=$((n+1)); echo "$out" >> /tmp/times; sleep 0.1
done
echo "DONE $n $(sort -g /tmp/times | tail -n 1)"
"#;

impl Load {
    #[track_caller]
    pub(crate) fn start(agent: &Agent<'_>) -> Self {
        let mut command = agent.kubectl.command(agent.arguments(&["sh", "-c", LOAD]));
        Self { running: Running::start(&mut command), since: Instant::now() }
    }

    /// Ends it. No request may have failed.
    #[track_caller]
    pub(crate) fn end(mut self, agent: &Agent<'_>) -> Met {
        agent.exec(&["touch", "/tmp/stop"]).ok();
        let answer = self.running.wait(Duration::from_mins(1)).ok();
        let failed: Vec<&str> = answer.lines().filter(|line| line.starts_with("FAILED")).collect();
        assert!(failed.is_empty(), "{} requests failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
        let done = answer.lines().find_map(|line| line.strip_prefix("DONE ")).unwrap_or_else(|| panic!("{answer}"));
        let (answered, slowest) = done.split_once(' ').expect("a number and a time");
        Met {
            answered: answered.parse().expect("a number"),
            time: self.since.elapsed(),
            slowest: slowest.parse().expect("a time in seconds"),
        }
    }
}
