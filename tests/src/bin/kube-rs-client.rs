//! Does in a pod what agents in Rust do, by kube-rs with its in-cluster configuration. Each step prints a line of JSON: its name, and what
//! the API server's answer was.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use futures::io::AsyncBufReadExt;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    Api, AttachParams, AttachedProcess, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams,
    PostParams, WatchEvent, WatchParams,
};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiGroup, ApiResource, Discovery};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// Longest that all may take.
const LIMIT: Duration = Duration::from_secs(100);
/// How many objects come, change and in part go under a reflector's eyes.
const CHURNED: usize = 200;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(namespace), Some(pod)) = (arguments.next(), arguments.next()) else {
        return Err("usage: client NAMESPACE POD".into());
    };
    timeout(LIMIT, all(Work { client: Client::try_default().await?, namespace, pod })).await?
}

/// What the steps work on.
struct Work {
    client: Client,
    namespace: String,
    /// A pod that runs, and serves its `/etc` on port 8080.
    pod: String,
}

async fn all(work: Work) -> Result<()> {
    work.objects().await?;
    work.watch().await?;
    work.discovery().await?;
    work.processes().await?;
    work.ports().await?;
    work.logs().await?;
    for (name, config) in [
        ("reflector from lists", watcher::Config::default()),
        ("reflector from watches", watcher::Config::default().streaming_lists()),
    ] {
        // Ended every two seconds, begun anew.
        work.reflect(name, config.timeout(2)).await?;
    }
    Ok(())
}

fn tell(step: &str, result: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(&json!({"step": step, "result": result}))?);
    Ok(())
}

fn config_map(name: &str) -> Result<ConfigMap> {
    let object = json!({"metadata": {"name": name, "labels": {"part": "rust"}}, "data": {"umlaut": "äöü"}});
    Ok(serde_json::from_value(object)?)
}

impl Work {
    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn objects(&self) -> Result<()> {
        let maps = self.maps();
        tell("create", &maps.create(&PostParams::default(), &config_map("made")?).await?)?;
        let again = maps.create(&PostParams::default(), &config_map("made")?).await;
        tell("create again", &refusal(again)?)?;
        let ours = PatchParams::apply("kube-rs");
        tell(
            "merge patch",
            &maps.patch("made", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "1"}}))).await?,
        )?;
        let strategic = Patch::Strategic(json!({"metadata": {"labels": {"x": "y"}}}));
        tell("strategic merge patch", &maps.patch("made", &PatchParams::default(), &strategic).await?)?;
        let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"b": "2"}});
        tell("server-side apply", &maps.patch("made", &ours, &Patch::Apply(applied)).await?)?;
        let conflict = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"}});
        tell(
            "server-side apply of a foreign field",
            &refusal(maps.patch("made", &ours, &Patch::Apply(conflict)).await)?,
        )?;
        tell("metadata", &maps.get_metadata("made").await?)?;
        for number in 0..7 {
            maps.create(&PostParams::default(), &config_map(&format!("page-{number}"))?).await?;
        }
        let mut pages = Vec::new();
        let mut page = ListParams::default().labels("part=rust").limit(3);
        loop {
            let list = maps.list(&page).await?;
            pages.push(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        tell("list page by page", &pages)?;
        maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("part=rust")).await?;
        tell("get what is gone", &refusal(maps.get("made").await)?)
    }

    async fn watch(&self) -> Result<()> {
        let maps = self.maps();
        let version = maps.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
        let only = WatchParams::default().fields("metadata.name=watched").timeout(60);
        let mut events = pin!(maps.watch(&only, &version).await?);
        let mut seen = Vec::new();
        maps.create(&PostParams::default(), &config_map("watched")?).await?;
        seen.push(events.try_next().await?);
        maps.patch("watched", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "1"}}))).await?;
        seen.push(events.try_next().await?);
        maps.delete("watched", &DeleteParams::default()).await?;
        seen.push(events.try_next().await?);
        let seen: Vec<_> = seen.into_iter().flatten().map(told).collect();
        tell("watch", &seen)?;
        // The API server's memory of a custom resource begins when that was defined.
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.test", "v1", "Thing"));
        let things: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let mut late = pin!(things.watch(&WatchParams::default(), "1").await?);
        tell("watch from long ago", &late.try_next().await?.map(told))
    }

    async fn discovery(&self) -> Result<()> {
        let discovery = Discovery::new(self.client.clone()).run_aggregated().await?;
        let mut names: Vec<&str> = discovery.groups().map(ApiGroup::name).collect();
        names.sort_unstable();
        tell("discovery", &names)?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        tell("dynamic list", &api.list(&ListParams::default()).await?.items)
    }

    async fn processes(&self) -> Result<()> {
        let pods = self.pods();
        let command = ["sh", "-c", "cat; echo oh >&2; exit 7"];
        let mut process = pods.exec(&self.pod, command, &AttachParams::default().stdin(true)).await?;
        let mut stdin = process.stdin().ok_or("no standard input")?;
        stdin.write_all(b"hello").await?;
        stdin.shutdown().await?;
        drop(stdin);
        tell("exec", &ended(process).await?)?;
        let mut attached = pods.attach(&self.pod, &AttachParams::default().stderr(false)).await?;
        let mut out = attached.stdout().ok_or("no standard output")?;
        // Attach shows what is written from now on: so it is written until it is seen.
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("attached") {
            let command = ["sh", "-c", "echo attached > /proc/1/fd/1"];
            ended(pods.exec(&self.pod, command, &AttachParams::default()).await?).await?;
            let _ = timeout(Duration::from_millis(200), out.read_buf(&mut seen)).await;
        }
        attached.abort();
        tell("attach", &true)
    }

    async fn ports(&self) -> Result<()> {
        let mut forwarder = self.pods().portforward(&self.pod, &[8080]).await?;
        let mut stream = forwarder.take_stream(8080).ok_or("no stream for the port")?;
        stream.write_all(b"GET /hosts HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        drop(stream);
        // Not joined: kube-rs 5.0 closes a WebSocket that the server has closed, and calls that an error.
        forwarder.abort();
        tell("port-forward", &answer.split("\r\n\r\n").nth(1))
    }

    async fn logs(&self) -> Result<()> {
        let pods = self.pods();
        let mut seen = Vec::new();
        self.write_log("line-0").await?;
        let parameters = LogParams { follow: true, tail_lines: Some(1), ..LogParams::default() };
        let mut lines = pods.log_stream(&self.pod, &parameters).await?.lines();
        for number in 1..=3 {
            seen.push(lines.try_next().await?);
            self.write_log(&format!("line-{number}")).await?;
        }
        tell("logs as they come", &seen)
    }

    async fn write_log(&self, text: &str) -> Result<()> {
        let command = format!("echo {text} > /proc/1/fd/1");
        let process = self.pods().exec(&self.pod, ["sh", "-c", &command], &AttachParams::default()).await?;
        ended(process).await.map(drop)
    }

    /// A reflector's store holds what the API server has, after all changes.
    async fn reflect(&self, name: &str, config: watcher::Config) -> Result<()> {
        let maps = self.maps();
        let (store, writer) = reflector::store::<ConfigMap>();
        let stream =
            reflector(writer, watcher(maps.clone(), config.labels("part=rust"))).default_backoff().touched_objects();
        let task = tokio::spawn(async move { pin!(stream).for_each(|_| async {}).await });
        store.wait_until_ready().await?;
        for number in 0..CHURNED {
            let name = format!("churned-{number}");
            maps.create(&PostParams::default(), &config_map(&name)?).await?;
            match number % 4 {
                0 => drop(maps.delete(&name, &DeleteParams::default()).await?),
                1 => {
                    let patch = Patch::Merge(json!({"data": {"change": "1"}}));
                    maps.patch(&name, &PatchParams::default(), &patch).await?;
                }
                _ => {}
            }
        }
        let versions = |object: &ConfigMap| (object.name_any(), object.resource_version());
        loop {
            let mut listed: Vec<_> =
                maps.list(&ListParams::default().labels("part=rust")).await?.items.iter().map(versions).collect();
            let mut stored: Vec<_> = store.state().iter().map(|object| versions(object)).collect();
            listed.sort();
            stored.sort();
            if listed == stored {
                tell(name, &stored.len())?;
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        task.abort();
        maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("part=rust")).await?;
        Ok(())
    }
}

/// All that a process said, and how it ended.
async fn ended(mut process: AttachedProcess) -> Result<Value> {
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let status = process.take_status().ok_or("no status")?;
    let read_out = async {
        if let Some(mut stdout) = stdout {
            stdout.read_to_string(&mut out).await?;
        }
        std::io::Result::Ok(())
    };
    let read_err = async {
        if let Some(mut stderr) = stderr {
            stderr.read_to_string(&mut err).await?;
        }
        std::io::Result::Ok(())
    };
    let (read_out, read_err, status) = tokio::join!(read_out, read_err, status);
    read_out?;
    read_err?;
    process.join().await?;
    Ok(json!({"out": out, "err": err, "status": status}))
}

/// A watch's event: its kind, and the object or the error's code.
fn told<K: serde::Serialize + Clone>(event: WatchEvent<K>) -> Value {
    match event {
        WatchEvent::Added(object) => json!(["ADDED", object]),
        WatchEvent::Modified(object) => json!(["MODIFIED", object]),
        WatchEvent::Deleted(object) => json!(["DELETED", object]),
        WatchEvent::Bookmark(_) => json!(["BOOKMARK"]),
        WatchEvent::Error(status) => json!(["ERROR", status.code]),
    }
}

/// The Status of a request that was refused.
fn refusal<T>(answer: kube::Result<T>) -> Result<Value> {
    match answer {
        Ok(_) => Err("was not refused".into()),
        Err(kube::Error::Api(status)) => Ok(serde_json::to_value(status)?),
        Err(error) => Err(error.into()),
    }
}
