//! `delete` in all its forms, and `wait`.

use super::row::same_in_turn;

#[test]
fn delete_in_all_forms() {
    same_in_turn(
        "row-delete",
        r#"
for n in 1 2 3 4 5 6 7 8 9; do command kubectl -n $NAMESPACE create configmap c$n --from-literal=n=$n >/dev/null; done
command kubectl -n $NAMESPACE label configmap c5 c6 group=g >/dev/null
kubectl delete configmap c1
kubectl delete configmap/c2 configmap/none
kubectl delete configmap c3 --dry-run=server
kubectl delete configmap c3 --dry-run=client -o name
kubectl delete configmap c3 -o name
kubectl delete configmap -l group=g
kubectl delete configmap --field-selector=metadata.name=c7
kubectl delete configmap none --ignore-not-found
kubectl delete configmap none
kubectl delete configmap
kubectl delete nothing x
kubectl delete --raw /api/v1/namespaces/$NAMESPACE/configmaps/c8
kubectl delete --raw /api/v1/namespaces/$NAMESPACE/configmaps/c8
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c9}\n' | kubectl delete -f -
kubectl create configmap kept --from-literal=a=1
kubectl patch configmap kept --type=merge -p '{"metadata":{"finalizers":["row.example/keep"]}}'
kubectl delete configmap kept --wait=false
kubectl delete configmap kept --timeout=1s
kubectl get configmap kept -o jsonpath='{.metadata.deletionGracePeriodSeconds}{.metadata.finalizers}'
kubectl patch configmap kept --type=json -p '[{"op":"remove","path":"/metadata/finalizers"}]'
kubectl wait --for=delete configmap/kept --timeout=60s
kubectl create configmap asked --from-literal=a=1
echo n | kubectl delete configmap asked --interactive
echo y | kubectl delete configmap asked --interactive
kubectl get configmap -o name
"#,
    );
}

#[test]
fn delete_cascades_as_it_is_told() {
    same_in_turn(
        "row-cascade",
        r#"
pods() { await "[ \$(command kubectl -n $NAMESPACE get pods -o name | wc -l) = $1 ]"; echo "$1 pods"; }
for name in background foreground orphan; do kubectl create deployment $name --image=$IMAGE --replicas=1; done
for name in background foreground orphan; do kubectl rollout status deployment/$name --timeout=90s > /dev/null; done
kubectl delete deployment foreground --cascade=foreground --timeout=90s
kubectl get replicaset,pods -l app=foreground
kubectl delete deployment orphan --cascade=orphan
kubectl get replicaset -l app=orphan -o jsonpath='{.items[*].spec.replicas}{.items[*].metadata.ownerReferences}'
kubectl delete deployment background
pods 1
kubectl delete replicaset -l app=orphan -o name --now
pods 0
kubectl delete deployment,replicaset --all
kubectl delete all --all --dry-run=server
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: stubborn}\nspec: {nodeName: n1, hostNetwork: true, containers: [{name: main, image: "%s", command: [sleep, "3600"]}]}\n' $IMAGE | kubectl create -f -
kubectl wait --for=condition=Ready pod/stubborn --timeout=90s
kubectl delete pod stubborn --grace-period=1 --timeout=60s
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: stubborn}\nspec: {nodeName: n1, hostNetwork: true, containers: [{name: main, image: "%s", command: [sleep, "3600"]}]}\n' $IMAGE | kubectl create -f -
kubectl delete pod stubborn --grace-period=0 --force
kubectl delete pod stubborn --grace-period=0 --ignore-not-found
"#,
    );
}

#[test]
fn wait_in_all_forms() {
    same_in_turn(
        "row-wait",
        r#"
pod() { printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {row: wait}}\nspec: {nodeName: n1, hostNetwork: true, restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "%s", command: [sh, -c, "%s"]}]}\n' "$1" $IMAGE "$2"; }
(sleep 2; pod late 'sleep 3600' | command kubectl -n $NAMESPACE create -f - >/dev/null) &
kubectl wait --for=create pod/late --timeout=60s
kubectl wait --for=condition=Ready pod/late --timeout=90s
kubectl wait --for=condition=ready=true --for=condition=Initialized pod -l row=wait --timeout=60s
kubectl wait --for=jsonpath='{.status.phase}'=Running pod/late --timeout=60s
kubectl wait --for=jsonpath='{.status.hostIP}' pod/late --timeout=60s
kubectl wait --for=condition=Ready=false pod/late --timeout=2s
kubectl wait --for=condition=Ready pod/none --timeout=2s
kubectl wait --for=condition=Ready pods -l row=none --timeout=2s
kubectl wait --for=delete pod/none --timeout=2s
kubectl wait --for=create pod/never --timeout=2s
kubectl wait --for=nonsense pod/late
pod short true | kubectl create -f -
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/short --timeout=90s
kubectl wait pods --all --for=condition=PodScheduled --timeout=60s
(sleep 1; command kubectl -n $NAMESPACE delete pod late --wait=false >/dev/null) &
kubectl wait --for=delete pod/late --timeout=90s
wait
"#,
    );
}
