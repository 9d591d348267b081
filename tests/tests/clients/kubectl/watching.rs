//! Watches that kubectl prints while things change.

use super::row::same_in_turn;

#[test]
fn get_watches_in_every_form() {
    same_in_turn(
        "row-watch",
        r#"
lines() { await "[ \$(wc -l < $1) -ge $2 ]"; }
watch() {
  local to=$1; shift
  command kubectl --namespace=$NAMESPACE get "$@" -v=6 > $to 2> $to.err & watches="$watches $!"
  await "grep -qs 'watch=true.*200 OK' $to.err"
}
watches=
kubectl create configmap one --from-literal=n=0
watch plain configmap one --watch
watch events configmap one --watch --output-watch-events
watch json configmap one --watch -o jsonpath='{.data.n}{"\n"}'
watch names configmap --watch --field-selector=metadata.name!=kube-root-ca.crt -o name
watch types configmap --watch --field-selector=metadata.name!=kube-root-ca.crt --output-watch-events -o custom-columns=N:.metadata.name,D:.data.n
watch only configmap one --watch-only --output-watch-events
for n in 1 2 3; do kubectl patch configmap one --type=merge -p "{\"data\":{\"n\":\"$n\"}}"; done
kubectl create configmap two --from-literal=n=9
kubectl delete configmap two
kubectl delete configmap one
lines plain 6; lines events 6; lines json 5; lines names 7; lines types 8; lines only 5
kill $watches; wait $watches 2>/dev/null
for one in plain events json names types only; do echo "$one"; cat "$one"; echo; done
grep -h -o '"Response".*' ./*.err | sed -E 's/milliseconds=.*//; s/resourceVersion=[0-9]*/resourceVersion=/; s/timeoutSeconds=[0-9]*//; s/timeout=[0-9a-z]*//' | sort | uniq -c
"#,
    );
}

#[test]
fn watches_of_pods_and_of_events() {
    same_in_turn(
        "row-watch-pods",
        r#"
command kubectl --namespace=$NAMESPACE events --watch -v=6 > events 2> events.err & watches=$!
command kubectl --namespace=$NAMESPACE get pods --watch -v=6 -o jsonpath='{.metadata.name} {.status.phase}{"\n"}' > pods 2> pods.err & watches="$watches $!"
await "grep -q 'watch=true.*200 OK' events.err && grep -q 'watch=true.*200 OK' pods.err"
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: seen}\nspec: {nodeName: n1, hostNetwork: true, restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "%s", command: ["true"]}]}\n' $IMAGE | kubectl create -f -
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/seen --timeout=90s
kubectl events --for=pod/seen --no-headers | awk '{$1="AGE"; print}'
kubectl events --types=Warning
kubectl get events --field-selector=involvedObject.name=seen -o custom-columns=R:.reason,M:.message --sort-by=.metadata.resourceVersion
kubectl delete pod seen
await 'grep -q Started events && grep -q Succeeded pods'
kill $watches; wait $watches 2>/dev/null
grep -e seen -e NAME pods | uniq
grep -o 'pod/seen.*' events | uniq
"#,
    );
}
