//! exec, attach, cp, port-forward, proxy, debug, run: what is upgraded to a stream. Over WebSocket and over SPDY.

use super::library::{LIBRARY, shelved};
use super::row::{same_at_once, same_in_turn};

const EXEC: &str = r#"
kubectl exec talker -- echo default
kubectl exec talker -c side -- sh -c 'echo out; echo err >&2; exit 3'
printf 'line 1\nline 2' | kubectl exec -i talker -c main -- cat
printf unread | kubectl exec talker -c main -- sh -c 'cat; echo end'
head -c 3000000 /bin/busybox > part; kubectl exec -i talker -c main -- sha256sum < part; sha256sum < part
kubectl exec talker -c main -- cat /bin/busybox | sha256sum
kubectl exec deployment/web --quiet -- echo any
kubectl exec talker -c main -- sh -c 'kill -9 $$'
kubectl exec talker -c main -- /no/such/program 2>&1 | plain
kubectl exec talker -c none -- true
kubectl exec nobody -- true
kubectl exec deployment/none -- true
kubectl exec talker
kubectl exec -f - -- echo named < <(printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: talker}\n')
kubectl exec talker -c main -- sh -c 'for n in 1 2 3 4 5; do echo $n; sleep 0.1; done'
# Their standard input stays open.
tty 'exec -it talker -c main -- sh -c "test -t 0 && test -t 1 && echo terminal; exit 4"' < <(exec sleep 60 2>/dev/null)
script -qc "stty rows 33 cols 77; /usr/local/bin/kubectl --namespace=$NAMESPACE exec -it talker -c main -- sh -c 'sleep 3; stty size'" /dev/null < <(exec sleep 60 2>/dev/null)
kubectl exec -it talker -c main -- echo not a terminal
"#;

#[test]
fn exec_over_websocket() {
    shelved();
    same_at_once("exec-ws", LIBRARY, EXEC);
}

#[test]
fn exec_over_spdy() {
    shelved();
    same_at_once("exec-spdy", LIBRARY, &format!("export KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false\n{EXEC}"));
}

#[test]
fn run_and_attach() {
    same_in_turn(
        "row-run",
        r#"
over='{"spec":{"terminationGracePeriodSeconds":0}}'
# Whether there may be a prompt, and whether input came too late, depends on who is first. A program that ends as it writes may lose its last words
# on their way from the runtime, so it stays for a moment.
quiet() { grep -v -e 'command prompt' -e 'Copying stdin failed' -e '^$'; }
printf 'to be read\n' | kubectl run reads --image=$IMAGE --restart=Never -i --rm --overrides="$over" --command -- sh -c 'cat; sleep 2; exit 0' 2>&1 | quiet
printf 'fails\n' | kubectl run fails --image=$IMAGE --restart=Never -i --rm --quiet --overrides="$over" --command -- sh -c 'cat; sleep 2; exit 5'
tty "run terminal --image=$IMAGE --restart=Never -it --rm --quiet --overrides='$over' --command -- sh -c 'read line; test -t 0 && echo a terminal; sleep 2'" < <(for n in $(seq 60); do sleep 1; echo; done 2>/dev/null) | quiet
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: echo}\nspec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "%s", stdin: true, stdinOnce: true, command: [sh, -c, "while read line; do echo got $line; done; echo done; sleep 2"]}]}\n' $IMAGE | kubectl create -f -
kubectl wait --for=condition=Ready pod/echo --timeout=90s
printf '1\n2\n' | kubectl attach -i echo 2>&1 | quiet
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/echo --timeout=90s
kubectl logs echo
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: term}\nspec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "%s", stdin: true, stdinOnce: true, tty: true, command: [sh, -c, "read line; test -t 0 && echo a terminal; sleep 2"]}]}\n' $IMAGE | kubectl create -f -
kubectl wait --for=condition=Ready pod/term --timeout=90s
tty "attach -it term" < <(for n in $(seq 60); do sleep 1; echo; done 2>/dev/null) | quiet
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/term --timeout=90s
kubectl attach echo
kubectl attach none
kubectl attach echo -c none
"#,
    );
}

#[test]
fn cp_both_ways() {
    same_in_turn(
        "row-cp",
        r#"
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: store}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: other, image: "%s"}, {name: main, image: "%s"}]}\n' $IMAGE $IMAGE | kubectl create -f -
kubectl wait --for=condition=Ready pod/store --timeout=90s
mkdir -p tree/sub; echo 1 > tree/1; echo 2 > tree/sub/2; ln -s 1 tree/link; cp /bin/busybox tree/sub/program
kubectl cp tree store:/tmp/tree
kubectl exec store -- sh -c 'cd /tmp/tree && find . | sort && cat 1 sub/2 && sha256sum < sub/program'
# What the other tar has to say comes in pieces, some of it after kubectl's end.
silent() { sed -E 's/tar: //g; s/Removing leading .* from member names//; /^$/d'; }
kubectl cp store:/tmp/tree back 2>&1 | silent
find back | sort; sha256sum < back/sub/program; sha256sum < /bin/busybox
kubectl cp tree/1 $NAMESPACE/store:/tmp/one -c main --no-preserve
kubectl exec store -c main -- cat /tmp/one
kubectl cp store:/tmp/one one -c main --retries=2 2>&1 | silent; cat one
kubectl cp none store:/tmp/x
kubectl cp one nobody:/tmp/x
kubectl cp one two
seq 1 5000000 | head -c 32000000 > big
kubectl cp big store:/tmp/big -c main
kubectl exec store -c main -- sha256sum /tmp/big
rm big
kubectl cp store:/tmp/big big -c main 2>&1 | silent
sha256sum big; rm -f big
"#,
    );
}

const FORWARD: &str = r#"
cat > server.yaml <<END
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: $IMAGE, command: [busybox, httpd, -f, -p, "8080", -h, /etc], ports: [{name: web, containerPort: 8080}], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
END
kubectl create -f server.yaml
kubectl create service clusterip server --tcp=80:8080
kubectl wait --for=condition=Ready pod/server --timeout=90s
forward() {
  local name=$1; shift
  command kubectl --namespace=$NAMESPACE port-forward "$@" > $name.out 2> $name.err & forwards="$forwards $!"
  await "grep -qs 'Forwarding from' $name.out || ! kill -0 $!"
}
forwards=
forward pod pod/server $FIRST:8080
forward service service/server $((FIRST + 1)):80
forward named pod/server $((FIRST + 2)):web $((FIRST + 3)):8080 --address=127.0.0.1
for port in 0 1 2 3; do curl -sS --max-time 20 http://127.0.0.1:$((FIRST + port))/passwd | sha256sum; done
# Many at once, then many after one another.
for n in $(seq 60); do curl -sS --max-time 60 http://127.0.0.1:$FIRST/passwd -o many.$n & many="$many $!"; done
wait $many
cat many.* | sort | uniq -c
for n in $(seq 40); do echo "url=http://127.0.0.1:$FIRST/group"; echo "output=-"; echo "header=\"Connection: close\""; echo next; done | sed '$d' > list
curl -sS --max-time 60 -K list | sort | uniq -c
# A port that nobody serves.
forward closed pod/server $((FIRST + 4)):9
# Whether curl sees an end or a reset depends on how far it has come.
curl -sS --max-time 20 http://127.0.0.1:$((FIRST + 4))/ 2> /dev/null
sleep 1
kill $forwards 2>/dev/null; wait $forwards 2>/dev/null
for name in pod service named; do sort $name.out | uniq -c; plain < $name.err; done
# Whether kubectl's own copying ends first, and complains, is chance.
sort closed.out | uniq -c; plain < closed.err | grep -v 'Error copying from local connection'
kubectl port-forward pod/none $FIRST:80
kubectl port-forward service/server $FIRST:99
kubectl port-forward pod/server nonsense
"#;

#[test]
fn port_forward_over_websocket() {
    same_in_turn("row-forward-ws", &format!("FIRST=18100\n{FORWARD}"));
}

#[test]
fn port_forward_over_spdy() {
    same_in_turn("row-forward-spdy", &format!("FIRST=18200\nexport KUBECTL_PORT_FORWARD_WEBSOCKETS=false\n{FORWARD}"));
}

#[test]
fn proxy_on_the_clients_side() {
    shelved();
    same_at_once(
        "proxy",
        LIBRARY,
        r#"
command kubectl proxy --port=18001 --api-prefix=/k8s > proxy.out 2>&1 & proxies=$!
command kubectl proxy --port=18002 --disable-filter=false --www=/etc --www-prefix=/static/ > second.out 2>&1 & proxies="$proxies $!"
await 'grep -qs Starting proxy.out && grep -qs Starting second.out'
get() { curl -sS --max-time 20 -w '%{http_code} %{content_type}\n' "$@"; }
get http://127.0.0.1:18001/k8s/api/v1/namespaces/$NAMESPACE/configmaps/shelf
get -H 'Accept: application/yaml' http://127.0.0.1:18001/k8s/api/v1/namespaces/$NAMESPACE/configmaps/shelf
get http://127.0.0.1:18001/k8s/api/v1/namespaces/$NAMESPACE/configmaps/none
get http://127.0.0.1:18002/version
get http://127.0.0.1:18002/static/hostname -o /dev/null
get "http://127.0.0.1:18002/api/v1/namespaces/$NAMESPACE/pods/talker/exec?command=true" -X POST
get -N "http://127.0.0.1:18001/k8s/api/v1/namespaces/$NAMESPACE/configmaps?watch=1&timeoutSeconds=1&fieldSelector=metadata.name=shelf" -o /dev/null
kill $proxies; wait $proxies 2>/dev/null
cat proxy.out second.out
"#,
    );
}

#[test]
fn debug_in_all_forms() {
    same_in_turn(
        "row-debug",
        r#"
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: target}\nspec: {nodeName: n1, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "%s"}]}\n' $IMAGE | kubectl create -f -
kubectl wait --for=condition=Ready pod/target --timeout=90s
kubectl debug target --image=$IMAGE -c look --target=main --profile=general -- sh -c 'echo looked at; ls /proc/1/root/bin/probe'
kubectl wait --for=jsonpath='{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}'=0 pod/target --timeout=90s
kubectl logs target -c look
# Where standard input may come again (no stdinOnce), containerd ends the output with it: it stays open for longer than the program runs.
kubectl debug target --image=$IMAGE -c talk -i --quiet --profile=general -- sh -c 'read line; echo talked, $line; sleep 1' < <(sleep 4; echo hello; sleep 5) 2>&1 | grep -v -e 'command prompt' -e '^$'
kubectl debug target --image=$IMAGE -c look -- true
kubectl get pod target -o jsonpath='{.spec.ephemeralContainers}'
kubectl debug target --copy-to=copy --same-node --container=main --share-processes --profile=general -- sh -c 'echo copied; sleep 3600'
kubectl wait --for=condition=Ready pod/copy --timeout=90s
kubectl logs copy
kubectl debug target --copy-to=second --set-image=main=busybox:9 --profile=general
kubectl get pod copy second -o jsonpath='{.items[*].spec.containers}' | plain
kubectl debug target --copy-to=copy --profile=general
kubectl debug none --image=$IMAGE
kubectl debug node/none --image=$IMAGE --profile=general -- true
# The client makes up the end of the name.
kubectl debug node/n1 --image=$IMAGE --profile=general -- sh -c 'echo on the node' 2>&1 | plain
pod=$(command kubectl --namespace=$NAMESPACE get pods -o name | grep node-debugger)
# What waits for a thing that is there already may complain of its own watch, which it has ended.
command kubectl --namespace=$NAMESPACE wait --for=jsonpath='{.status.phase}'=Succeeded $pod --timeout=90s > /dev/null 2>&1
command kubectl --namespace=$NAMESPACE logs $pod
kubectl delete pods --all --now | plain
"#,
    );
}
