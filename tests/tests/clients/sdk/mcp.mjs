// What an agent asks of an MCP server: each of its read tools, by the MCP SDK's own client over standard input and output.
// Arguments: the server, a namespace, a pod in it that runs, the node of that pod.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const [server, namespace, pod, node] = process.argv.slice(-4);

const servers = {
  "kubernetes-mcp-server": {
    command: "node_modules/kubernetes-mcp-server-linux-amd64/bin/kubernetes-mcp-server-linux-amd64",
    args: ["--toolsets", "config,core,helm"],
    calls: [
      ["configuration_view", {}],
      ["events_list", { namespace, fieldSelector: "type=Warning" }],
      ["helm_list", { namespace }],
      ["namespaces_list", { fieldSelector: `metadata.name=${namespace}` }],
      ["nodes_log", { name: node, query: "kubelet" }],
      ["nodes_stats_summary", { name: node }],
      ["nodes_top", { name: node }],
      ["projects_list", {}],
      ["pods_get", { namespace, name: pod }],
      ["pods_list", { fieldSelector: `metadata.namespace=${namespace}` }],
      ["pods_list_in_namespace", { namespace }],
      ["pods_log", { namespace, name: pod }],
      ["pods_top", { namespace }],
      ["resources_get", { apiVersion: "v1", kind: "ConfigMap", namespace, name: "kube-root-ca.crt" }],
      ["resources_list", { apiVersion: "v1", kind: "ConfigMap", namespace }],
      ["pods_exec", { namespace, name: pod, command: ["echo", "hello"] }],
    ],
  },
  "mcp-server-kubernetes": {
    command: "node",
    args: ["node_modules/mcp-server-kubernetes/dist/index.js"],
    calls: [
      ["ping", {}],
      ["kubectl_get", { resourceType: "pods", namespace }],
      ["kubectl_get", { resourceType: "configmap", name: "kube-root-ca.crt", namespace, output: "yaml" }],
      ["kubectl_describe", { resourceType: "configmap", name: "kube-root-ca.crt", namespace }],
      ["kubectl_logs", { resourceType: "pod", name: pod, namespace }],
      ["kubectl_context", { operation: "list" }],
      ["explain_resource", { resource: "pods.spec.containers" }],
      ["list_api_resources", {}],
      ["exec_in_pod", { name: pod, namespace, command: ["echo", "hello"] }],
    ],
  },
};

const tell = (step, result) => console.log(JSON.stringify({ step, result }));

// What is measured differs from call to call: there, what is measured is compared.
const shape = (text) => Array.from(new Set(text.match(/"\w+":/g))).sort();

const { command, args, calls } = servers[server];
const client = new Client({ name: "test", version: "1" });
await client.connect(new StdioClientTransport({ command, args, env: process.env, stderr: "inherit" }));
const { tools } = await client.listTools();
const reads = tools.filter((tool) => tool.annotations?.readOnlyHint).map((tool) => tool.name);
tell("read tools", reads);
const uncalled = reads.filter((name) => !calls.some(([called]) => called === name));
if (uncalled.length > 0) throw new Error(`no call of ${uncalled}`);
for (const [name, parameters] of calls) {
  let result;
  try {
    const { isError = false, content } = await client.callTool({ name, arguments: parameters });
    // A token is the pod's own.
    const text = content.map((part) => part.text.replace(/eyJ[\w.-]+/g, "TOKEN")).join("\n");
    result = { isError, text: name === "nodes_stats_summary" ? shape(text) : text };
  } catch (error) {
    // A tool may answer with the protocol's error as well.
    result = { isError: true, text: error.message };
  }
  tell(`${name} ${JSON.stringify(parameters)}`, result);
}
await client.close();
