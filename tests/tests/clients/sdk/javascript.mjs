// What agents in JavaScript do, by @kubernetes/client-node with its in-cluster configuration. Arguments: a namespace, a pod in it that runs.

import { once } from "node:events";
import { PassThrough, Readable, Writable } from "node:stream";
import * as k8s from "@kubernetes/client-node";

const [namespace, pod] = process.argv.slice(-2);
const config = new k8s.KubeConfig();
config.loadFromCluster();
const api = config.makeApiClient(k8s.CoreV1Api);
const things = `/apis/example.test/v1/namespaces/${namespace}/things`;
const maps = `/api/v1/namespaces/${namespace}/configmaps`;

const tell = (step, result) => console.log(JSON.stringify({ step, result }));

const refusal = async (call) => {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof k8s.ApiException)) throw error;
    return [error.code, JSON.parse(error.body)];
  }
  throw new Error("was not refused");
};

const configMap = (name, data = {}) => ({ metadata: { name, labels: { part: "javascript" } }, data: { umlaut: "äöü", ...data } });

class Collected extends Writable {
  text = "";

  _write(chunk, _encoding, done) {
    this.text += chunk;
    this.emit("more");
    done();
  }

  async has(text) {
    while (!this.text.includes(text)) await once(this, "more");
  }
}

async function objects() {
  tell("create", await api.createNamespacedConfigMap({ namespace, body: configMap("made") }));
  tell("create again", await refusal(() => api.createNamespacedConfigMap({ namespace, body: configMap("made") })));
  for (const [strategy, body] of [
    ["JsonPatch", [{ op: "add", path: "/data/json", value: "1" }]],
    ["MergePatch", { data: { merge: "1" } }],
    ["StrategicMergePatch", { metadata: { labels: { strategic: "1" } } }],
    ["ServerSideApply", { apiVersion: "v1", kind: "ConfigMap", data: { applied: "1" } }],
  ]) {
    const options = k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy[strategy]);
    const fieldManager = strategy === "ServerSideApply" ? "javascript" : undefined;
    tell(strategy, await api.patchNamespacedConfigMap({ name: "made", namespace, body, fieldManager }, options));
  }
  const object = await api.readNamespacedConfigMap({ name: "made", namespace });
  tell("replace", await api.replaceNamespacedConfigMap({ name: "made", namespace, body: { ...object, data: { only: "1" } } }));
  for (let number = 0; number < 7; number += 1) {
    await api.createNamespacedConfigMap({ namespace, body: configMap(`page-${number}`) });
  }
  const pages = [];
  let token;
  do {
    const page = await api.listNamespacedConfigMap({ namespace, labelSelector: "part=javascript", limit: 3, _continue: token });
    pages.push(page.items.map((item) => item.metadata.name));
    token = page.metadata._continue;
  } while (token);
  tell("list page by page", pages);
  await api.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "part=javascript" });
  tell("read what is gone", await refusal(() => api.readNamespacedConfigMap({ name: "made", namespace })));
  const untyped = k8s.KubernetesObjectApi.makeApiClient(config);
  const document = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "untyped", namespace } };
  tell("untyped create", await untyped.create(document));
  tell("untyped list", (await untyped.list("v1", "ConfigMap", namespace)).items.map((item) => item.metadata.name));
  tell("untyped delete", await untyped.delete(document));
}

async function watches() {
  const { resourceVersion } = (await api.listNamespacedConfigMap({ namespace })).metadata;
  const seen = [];
  await api.createNamespacedConfigMap({ namespace, body: configMap("watched") });
  await new Promise((done, failed) => {
    const changes = [
      () => api.replaceNamespacedConfigMap({ name: "watched", namespace, body: configMap("watched", { a: "1" }) }),
      () => api.deleteNamespacedConfigMap({ name: "watched", namespace }),
      done,
    ];
    const query = { resourceVersion, fieldSelector: "metadata.name=watched" };
    const step = (type, object) => {
      seen.push([type, object]);
      // Each is seen before the next is made.
      Promise.resolve(changes[seen.length - 1]()).catch(failed);
    };
    new k8s.Watch(config).watch(maps, query, step, failed).catch(failed);
  });
  tell("watch", seen);
  tell("watch from long ago", await new Promise((done, failed) => {
    new k8s.Watch(config).watch(things, { resourceVersion: "1" }, (type, object) => done([type, object.code]), failed).catch(failed);
  }));
}

async function informer() {
  const list = () => api.listNamespacedConfigMap({ namespace, labelSelector: "part=javascript" });
  const store = k8s.makeInformer(config, maps, list, "part=javascript");
  // The client ends an informer with an error of its connection: its users start it again.
  store.on("error", () => setTimeout(() => store.start(), 100));
  await store.start();
  const names = Array.from({ length: 100 }, (_, number) => `churned-${number}`);
  for (const [number, name] of names.entries()) {
    await api.createNamespacedConfigMap({ namespace, body: configMap(name) });
    if (number % 3 === 0) await api.replaceNamespacedConfigMap({ name, namespace, body: configMap(name, { a: "1" }) });
    if (number % 4 === 0) await api.deleteNamespacedConfigMap({ name, namespace });
  }
  const versions = (items) => JSON.stringify(items.map((item) => [item.metadata.name, item.metadata.resourceVersion]).sort());
  while (versions(store.list()) !== versions((await list()).items)) {
    await new Promise((done) => setTimeout(done, 100));
  }
  tell("informer", store.list().length);
  await store.stop();
  await api.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "part=javascript" });
}

async function exec(command, input) {
  const [out, err] = [new Collected(), new Collected()];
  const status = await new Promise((done, failed) => {
    const stdin = input === undefined ? null : Readable.from([input]);
    new k8s.Exec(config).exec(namespace, pod, "main", command, out, err, stdin, false, done).catch(failed);
  });
  return { out: out.text, err: err.text, status };
}

async function streams() {
  tell("exec", await exec(["sh", "-c", "read line; echo got $line; echo oh >&2; exit 7"], "a line\n"));
  const write = (text) => exec(["sh", "-c", `echo ${text} > /proc/1/fd/1`]);
  await write("line-0");
  const logs = new Collected();
  await new k8s.Log(config).log(namespace, pod, "main", logs, { follow: true, tailLines: 1 });
  for (let number = 0; number < 4; number += 1) {
    await logs.has(`line-${number}`);
    await write(`line-${number + 1}`);
  }
  await logs.has("line-4");
  tell("logs as they come", logs.text);
  const answer = new Collected();
  const request = new PassThrough();
  const forwarded = await new k8s.PortForward(config).portForward(namespace, pod, [8080], answer, null, request);
  request.write("GET /hosts HTTP/1.0\r\n\r\n");
  await answer.has("\r\n\r\n");
  await answer.has("localhost");
  tell("port-forward", answer.text.includes("200 OK"));
  forwarded.close();
}

await objects();
await watches();
await informer();
await streams();
process.exit(0);
