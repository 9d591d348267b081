//! Commands that change what is there: apply, diff, edit, replace, patch, label, annotate.

use super::row::same_in_turn;

#[test]
fn apply_on_the_client_side() {
    same_in_turn(
        "row-apply-client",
        r#"
config() { printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, labels: {set: row}}\ndata: {%s}\n' "$1" "$2"; }
config one 'a: "1", b: "1"' > one.yaml; config two 'a: "1"' > two.yaml
kubectl apply -f one.yaml -f two.yaml
kubectl apply -f one.yaml
config one 'a: "2"' > one.yaml
kubectl diff -f one.yaml 2>&1 | sed -E 's/(LIVE|MERGED)-[0-9]+/\1/; /^(---|\+\+\+)/s/\t.*//'
kubectl apply -f one.yaml --dry-run=client -o yaml
kubectl apply -f one.yaml --dry-run=server -o yaml
kubectl apply -f one.yaml -o json
kubectl apply view-last-applied configmap/one
kubectl apply view-last-applied -f two.yaml -o json
config two 'a: "3"' > two.yaml
kubectl apply set-last-applied -f two.yaml
KUBE_EDITOR='sed -i s/3/4/' kubectl apply edit-last-applied configmap/two
kubectl get configmap one two -o yaml; managers configmap/one; managers configmap/two
kubectl apply -f one.yaml --prune --selector=set=row --prune-allowlist=core/v1/ConfigMap
kubectl get configmap --selector=set=row -o name
kubectl create configmap made --from-literal=a=1
config made 'b: "2"' | kubectl apply -f -
kubectl apply -f one.yaml --force --overwrite=false
kubectl apply -f one.yaml --all
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: wrong}\nspec: {containers: [{name: A_B}]}\n' | kubectl apply -f -
KUBECTL_APPLYSET=true kubectl apply -f one.yaml --prune --applyset=set
kubectl get secret set -o jsonpath='{.metadata.labels}{.metadata.annotations}'
"#,
    );
}

#[test]
fn apply_on_the_server_side_with_conflicts() {
    same_in_turn(
        "row-apply-server",
        r#"
config() { printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {%s}\n' "$1"; }
config 'a: "1", b: "1"' | kubectl apply --server-side -f -
config 'a: "2"' | kubectl apply --server-side --field-manager=other -f -
config 'a: "2"' | kubectl apply --server-side --field-manager=other --force-conflicts -f -
config 'b: "2"' | kubectl apply --server-side -f - -o yaml; managers configmap/one
config 'b: "3"' > one.yaml
kubectl diff --server-side -f one.yaml 2>&1 | sed -E 's/(LIVE|MERGED)-[0-9]+/\1/; /^(---|\+\+\+)/s/\t.*//'
kubectl apply --server-side --dry-run=server -f one.yaml -o json
kubectl apply --server-side --dry-run=client -f one.yaml
config 'b: "4"' | kubectl apply -f -
config 'b: "5"' | kubectl apply --server-side -f -
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\ndata: [1]\n' | kubectl apply --server-side -f -
kubectl get configmap one -o yaml; managers configmap/one
"#,
    );
}

#[test]
fn edit_by_a_program() {
    same_in_turn(
        "row-edit",
        r"
kubectl create configmap one --from-literal=a=1
export KUBE_EDITOR='sed -i s/a:.*1/a:\ \x222\x22/'
kubectl edit configmap one
kubectl edit configmap one
kubectl edit configmap one -o json
KUBE_EDITOR=true kubectl edit configmap one
KUBE_EDITOR=false kubectl edit configmap one
KUBE_EDITOR='sed -i s/^data/datum/' kubectl edit configmap one 2>&1 | sed -E 's/[0-9]{6,}\.yaml/N.yaml/'
KUBE_EDITOR='sed -i s/^kind.*/kind:\ Nothing/' kubectl edit configmap one 2>&1 | sed -E 's/[0-9]{6,}\.yaml/N.yaml/'
kubectl edit configmap none
kubectl create deployment web --image=$IMAGE --replicas=0
KUBE_EDITOR='sed -i s/replicas:.0/replicas:\ 0\n\ \ minReadySeconds:\ 5/' kubectl edit deployment web --subresource=none
kubectl get configmap one -o yaml
",
    );
}

#[test]
fn replace_with_and_without_force() {
    same_in_turn(
        "row-replace",
        r#"
config() { printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {%s}\n' "$1"; }
config 'a: "1"' | kubectl replace -f -
config 'a: "1"' | kubectl create -f -
config 'a: "2"' | kubectl replace -f - -o yaml
kubectl get configmap one -o yaml > stale.yaml
config 'a: "3"' | kubectl replace -f - --dry-run=server -o yaml
config 'a: "3"' | kubectl replace -f -
kubectl replace -f stale.yaml
config 'a: "4"' > four.yaml
kubectl replace --force -f four.yaml --grace-period=0
printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"data":{"a":"5"}}' > raw.json
kubectl replace --raw /api/v1/namespaces/$NAMESPACE/configmaps/one -f raw.json | sed 's/"managedFields":.*"data"/"data"/'; managers configmap/one
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: still}\nspec: {nodeName: n1, hostNetwork: true, automountServiceAccountToken: false, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "%s", args: [a]}]}\n' $IMAGE > pod.yaml
kubectl create -f pod.yaml
sed -i 's/\[a\]/[b]/' pod.yaml
kubectl replace -f pod.yaml
kubectl replace --force -f pod.yaml
kubectl get pod still -o jsonpath='{.spec.containers[0].args}'
"#,
    );
}

#[test]
fn patch_of_each_type() {
    same_in_turn(
        "row-patch",
        r#"
kubectl create configmap one --from-literal=a=1
kubectl create deployment web --image=$IMAGE --replicas=0
kubectl patch configmap one -p '{"data":{"b":"2"}}'
kubectl patch configmap one --type=merge -p '{"data":{"a":null,"c":"3"}}' -o yaml
kubectl patch configmap one --type=json -p '[{"op":"test","path":"/data/c","value":"3"},{"op":"replace","path":"/data/c","value":"4"},{"op":"copy","from":"/data/c","path":"/data/d"}]'
kubectl patch configmap one --type=json -p '[{"op":"test","path":"/data/c","value":"3"}]'
kubectl patch configmap one --type=json -p '[{"op":"remove","path":"/data/none"}]'
kubectl patch configmap one --type=json -p '{"not":"a list"}'
kubectl patch configmap one --type=merge -p '{"data":{"b":"2"}}'
kubectl patch configmap one --type=merge -p 'data: {y: "yaml"}'
printf '{"data":{"f":"file"}}' > patch.json
kubectl patch configmap one --type=merge --patch-file=patch.json --dry-run=server -o yaml
kubectl patch -f - --type=merge -p '{"data":{"f":"-f"}}' < <(printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n')
kubectl patch --local -f - --type=merge -p '{"data":{"f":"local"}}' -o yaml < <(printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n')
kubectl patch configmap one --type=merge -p '{"metadata":{"resourceVersion":"1"},"data":{"x":"y"}}'
kubectl patch configmap none --type=merge -p '{}'
kubectl patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"test","env":[{"name":"A","value":"1"}]}]}}}}' 2>&1 | head -3
kubectl patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":0}}'
kubectl patch deployment web --subresource=status --type=merge -p '{"status":{"observedGeneration":1}}' -o name
kubectl patch deployment web --type=strategic -p '{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}' -o jsonpath='{.spec.strategy}'
kubectl get configmap one -o yaml; managers configmap/one
"#,
    );
}

#[test]
fn label_and_annotate() {
    same_in_turn(
        "row-label",
        r"
kubectl create configmap one --from-literal=a=1
kubectl create configmap two --from-literal=a=1
kubectl label configmap one a=1 b=2
kubectl label configmap one a=2
kubectl label configmap one a=2 --overwrite
kubectl label configmap one b-
kubectl label configmap one none-
kubectl label configmap one --list
kubectl label configmap one 'bad label=x'
kubectl label configmap one a=3 --resource-version=1 --overwrite
kubectl label configmap --all --field-selector=metadata.name=two all=yes
kubectl label configmap --selector=all=yes found=yes -o yaml
kubectl label configmap two dry=run --dry-run=server -o yaml
kubectl label configmap none a=b
kubectl annotate configmap one note='a longer sentence, with = and ü'
kubectl annotate configmap one note=other
kubectl annotate configmap one note=other --overwrite --field-manager=somebody
kubectl annotate configmap one note-
kubectl annotate configmap --all --field-selector=metadata.name!=kube-root-ca.crt seen=yes --dry-run=client
kubectl annotate configmap one two --list
kubectl get configmap one two -o yaml; managers configmap/one; managers configmap/two
kubectl get configmap --show-labels --field-selector=metadata.name!=kube-root-ca.crt -L a,found
",
    );
}
