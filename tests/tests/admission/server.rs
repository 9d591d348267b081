//! A webhook server beside the API server: the guard's own answers as `guard control` gives them, and an injector of somebody else's.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use guard_admission::{Place, Settings, webhook};
use guard_certificates::{Authority, SanName};
use guard_e2e::harness::NodeNetns;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// What the server answers by. Namespaces are known by name: `guard control` asks the API server for their labels.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) settings: Option<Settings>,
    pub(crate) ca: String,
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

pub(crate) type Shared = Arc<Mutex<State>>;

/// Serves until the test program ends.
#[track_caller]
pub(crate) fn serve(netns: &NodeNetns, authority: &Authority, address: IpAddr, names: &[&str], state: &Shared) {
    let mut sans: Vec<SanName> = names.iter().map(|name| SanName::Dns((*name).to_owned())).collect();
    sans.push(SanName::Ip(address));
    let leaf = authority.issue_leaf(&sans, Duration::from_hours(24)).expect("a leaf");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_cert_resolver(leaf.resolver().expect("the leaf's key"));
    let (config, state) = (Arc::new(config), Arc::clone(state));
    let listener = netns.run(move || TcpListener::bind((address, 443))).expect("listening as a webhook");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, state) = (Arc::clone(&config), Arc::clone(&state));
            // A connection that ends badly is the API server's to report.
            std::thread::spawn(move || drop(connection(stream, config, &state)));
        }
    });
}

/// HTTP/1.1 as Go's client speaks it: lengths, and connections that are used again.
fn connection(stream: TcpStream, config: Arc<ServerConfig>, state: &Shared) -> std::io::Result<()> {
    let tls = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            match line.trim().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap_or(0);
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let answer = answer(&path, &serde_json::from_slice(&body)?, state).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.get_mut().write_all((head + &answer).as_bytes())?;
        stream.get_mut().flush()?;
    }
}

fn answer(path: &str, review: &Value, state: &Shared) -> Value {
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let namespace = webhook::namespace(review).unwrap_or_default();
    let none = BTreeMap::new();
    let place = Place {
        namespace,
        namespace_labels: state.namespaces.get(namespace).unwrap_or(&none),
        ca: (!state.ca.is_empty()).then_some(&*state.ca),
    };
    match (path, &state.settings) {
        ("/admission/mutate", Some(settings)) => webhook::mutate(settings, &place, review),
        ("/admission/validate", Some(settings)) => webhook::validate(settings, &place, review),
        _ => inject(&review["request"]),
    }
}

/// A mesh of somebody else's: once for each pod, a sidecar with a volume, an init container before all others, and an environment
/// variable for every container that it finds.
fn inject(request: &Value) -> Value {
    let mut pod = request["object"].clone();
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if pod["metadata"]["annotations"]["mesh.test/injected"].is_null() {
        pod["metadata"]["annotations"]["mesh.test/injected"] = json!("true");
        for kind in ["containers", "initContainers"] {
            for container in pod["spec"][kind].as_array_mut().into_iter().flatten() {
                let mut env = container["env"].as_array().cloned().unwrap_or_default();
                env.push(json!({"name": "MESH", "value": "1"}));
                container["env"] = json!(env);
            }
        }
        let mut containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
        containers.push(json!({"name": "mesh-proxy", "image": "mesh/proxy:1", "volumeMounts": [{"name": "mesh", "mountPath": "/mesh"}]}));
        let mut inits = pod["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
        inits.insert(0, json!({"name": "mesh-setup", "image": "mesh/proxy:1"}));
        let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        volumes.push(json!({"name": "mesh", "emptyDir": {}}));
        let patch: Vec<Value> = [
            ("/metadata/annotations", pod["metadata"]["annotations"].clone()),
            ("/spec/containers", json!(containers)),
            ("/spec/initContainers", json!(inits)),
            ("/spec/volumes", json!(volumes)),
        ]
        .into_iter()
        .map(|(path, value)| json!({"op": "add", "path": path, "value": value}))
        .collect();
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(BASE64_STANDARD.encode(json!(patch).to_string()));
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}
