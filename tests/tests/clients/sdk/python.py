"""What agents in Python do, by PyPI's kubernetes with its in-cluster configuration. Arguments: a namespace, a pod in it that runs."""

import json
import sys

import yaml
from kubernetes import client, config, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import portforward, stream

config.load_incluster_config()
NAMESPACE, POD = sys.argv[1:3]
api = client.CoreV1Api()
client_of_all = client.ApiClient()


def tell(step, result):
    """A line of JSON for each step."""
    print(json.dumps({"step": step, "result": client_of_all.sanitize_for_serialization(result)}, sort_keys=True))


def refusal(call):
    """The Status that a call is refused with."""
    try:
        call()
    except ApiException as error:
        return [error.status, json.loads(error.body)]
    raise AssertionError("was not refused")


def config_map(name, **data):
    metadata = client.V1ObjectMeta(name=name, labels={"part": "python"})
    return client.V1ConfigMap(metadata=metadata, data={"umlaut": "äöü", **data})


def objects():
    tell("create", api.create_namespaced_config_map(NAMESPACE, config_map("made")))
    tell("create again", refusal(lambda: api.create_namespaced_config_map(NAMESPACE, config_map("made"))))
    tell("read", api.read_namespaced_config_map("made", NAMESPACE))
    for kind, body in [
        ("application/json-patch+json", [{"op": "add", "path": "/data/json", "value": "1"}]),
        ("application/merge-patch+json", {"data": {"merge": "1"}}),
        ("application/strategic-merge-patch+json", {"metadata": {"labels": {"strategic": "1"}}}),
    ]:
        tell(kind, api.patch_namespaced_config_map("made", NAMESPACE, body, _content_type=kind))
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"applied": "1"}}
    kind = "application/apply-patch+yaml"
    tell(kind, api.patch_namespaced_config_map("made", NAMESPACE, applied, _content_type=kind, field_manager="python"))
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"merge": "2"}}
    tell(
        "apply of a foreign field",
        refusal(lambda: api.patch_namespaced_config_map("made", NAMESPACE, foreign, _content_type=kind, field_manager="python")),
    )
    tell("dry run", api.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All"))
    for number in range(7):
        api.create_namespaced_config_map(NAMESPACE, config_map(f"page-{number}"))
    pages, token = [], None
    while token != "":
        page = api.list_namespaced_config_map(NAMESPACE, label_selector="part=python", limit=3, _continue=token)
        pages.append([item.metadata.name for item in page.items])
        token = page.metadata._continue or ""
    tell("list page by page", pages)
    api.delete_collection_namespaced_config_map(NAMESPACE, label_selector="part=python")
    tell("read what is gone", refusal(lambda: api.read_namespaced_config_map("made", NAMESPACE)))
    tell("version", client.VersionApi().get_code())
    tell("may I", client.AuthorizationV1Api().create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": NAMESPACE}}}).status)
    documents = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-yaml}\n"
    made = utils.create_from_dict(client_of_all, yaml.safe_load(documents), namespace=NAMESPACE)
    tell("create from YAML", made)
    tell("delete", api.delete_namespaced_config_map("from-yaml", NAMESPACE))


def watches():
    changes = [
        lambda: api.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"a": "1"}}),
        lambda: api.delete_namespaced_config_map("watched", NAMESPACE),
        lambda: None,
    ]
    version = api.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    api.create_namespaced_config_map(NAMESPACE, config_map("watched"))
    seen, watcher = [], watch.Watch()
    for event in watcher.stream(
        api.list_namespaced_config_map, NAMESPACE, resource_version=version, field_selector="metadata.name=watched", timeout_seconds=60
    ):
        seen.append([event["type"], event["raw_object"]])
        # Each is seen before the next is made.
        changes[len(seen) - 1]()
        if len(seen) == 3:
            watcher.stop()
    tell("watch", seen)
    ended = watch.Watch().stream(api.list_namespaced_config_map, NAMESPACE, timeout_seconds=1)
    tell("watch with a time-out", [[event["type"], event["object"].metadata.name] for event in ended])
    try:
        things = client.CustomObjectsApi().list_namespaced_custom_object
        for event in watch.Watch().stream(things, "example.test", "v1", NAMESPACE, "things", resource_version="1", timeout_seconds=10):
            raise AssertionError(f"the watch began with {event['type']}")
    except ApiException as error:
        tell("watch from long ago", error.status)


def streams():
    def run(*command, **options):
        return stream(api.connect_get_namespaced_pod_exec, POD, NAMESPACE, command=list(command),
                      stdin=False, stdout=True, stderr=True, tty=False, **options)

    # Two channels keep no order between them.
    tell("exec", run("sh", "-c", "echo hello; sleep 1; echo oh >&2"))
    session = stream(api.connect_get_namespaced_pod_exec, POD, NAMESPACE, command=["sh", "-c", "read line; echo got $line; exit 7"],
                     stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
    session.write_stdin("a line\n")
    session.run_forever(timeout=30)
    tell("exec with standard input", [session.read_stdout(), session.returncode])
    run("sh", "-c", "echo line-0 > /proc/1/fd/1")
    seen = []
    for line in watch.Watch().stream(api.read_namespaced_pod_log, POD, NAMESPACE, tail_lines=1):
        seen.append(line)
        if len(seen) == 4:
            break
        run("sh", "-c", f"echo line-{len(seen)} > /proc/1/fd/1")
    tell("logs as they come", seen)
    tell("logs", api.read_namespaced_pod_log(POD, NAMESPACE, tail_lines=4))
    forwarded = portforward(api.connect_get_namespaced_pod_portforward, POD, NAMESPACE, ports="8080")
    socket = forwarded.socket(8080)
    socket.setblocking(True)
    socket.sendall(b"GET /hosts HTTP/1.0\r\n\r\n")
    answer = b""
    while piece := socket.recv(4096):
        answer += piece
    tell("port-forward", answer.decode().split("\r\n\r\n")[1])


def dynamic():
    everything = DynamicClient(client_of_all)
    maps = everything.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dynamic"}, "data": {"a": "1"}}
    tell("dynamic: create", maps.create(body=body, namespace=NAMESPACE).to_dict())
    body["data"] = {"b": "2"}
    tell("dynamic: apply", maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="python").to_dict())
    tell("dynamic: patch", maps.patch(body={"metadata": {"name": "dynamic"}, "data": {"c": "3"}}, namespace=NAMESPACE,
                                      content_type="application/merge-patch+json").to_dict())
    listed = maps.get(namespace=NAMESPACE, field_selector="metadata.name=dynamic")
    tell("dynamic: list", [item.to_dict() for item in listed.items])
    for event in maps.watch(namespace=NAMESPACE, name="dynamic", timeout=10):
        tell("dynamic: watch", [event["type"], event["raw_object"]])
        break
    tell("dynamic: delete", maps.delete(name="dynamic", namespace=NAMESPACE).to_dict())
    groups = everything.resources.search(group="apps")
    tell("dynamic: discovery", sorted({f"{one.group_version} {one.kind}" for one in groups}))


objects()
watches()
streams()
dynamic()
