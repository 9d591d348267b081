//! Commands that change nodes, and pods because of them. One row: there are but two nodes.

use super::row::same_in_turn;

#[test]
fn nodes_are_labelled_tainted_cordoned_and_drained() {
    same_in_turn(
        "row-nodes",
        r#"
pod() { printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {row: nodes, app: %s}}\nspec: {nodeName: n2, hostNetwork: true, terminationGracePeriodSeconds: 0, volumes: [{name: v, emptyDir: {}}], containers: [{name: main, image: "%s"}]}\n' $1 $1 $IMAGE; }
kubectl get nodes
kubectl get nodes -o wide --show-labels
kubectl get node n2 -o jsonpath='{.spec.podCIDRs}{.status.addresses}{.status.nodeInfo}'
kubectl label node n2 row=nodes
kubectl label node n2 row=other
kubectl get nodes -l row=nodes -o name
kubectl annotate node n2 row=nodes
kubectl taint node n2 row=nodes:PreferNoSchedule
kubectl taint node n2 row=other:PreferNoSchedule
kubectl taint node n2 row=other:PreferNoSchedule --overwrite
kubectl taint nodes -l row=nodes second:PreferNoSchedule
kubectl taint node n2 row=x:Nonsense
kubectl taint node none a=b:NoSchedule
kubectl get node n2 -o jsonpath='{.spec.taints}'
kubectl taint node n2 row:PreferNoSchedule- second-
kubectl taint node n2 none-
kubectl cordon n2 --dry-run=server
kubectl cordon n2
kubectl cordon n2
kubectl get nodes
kubectl uncordon n2
kubectl uncordon n2
pod one | kubectl create -f -; pod two | kubectl create -f -
kubectl wait --for=condition=Ready pods -l row=nodes --timeout=90s
kubectl drain n2 --pod-selector=row=nodes
kubectl drain n2 --pod-selector=row=nodes --force
kubectl drain n2 --pod-selector=app=one --force --delete-emptydir-data --dry-run=server
kubectl create pdb held --selector=app=two --min-available=1
kubectl wait --for=jsonpath='{.status.currentHealthy}'=1 pdb/held --timeout=60s
kubectl drain n2 --pod-selector=app=one --force --delete-emptydir-data --timeout=60s
kubectl drain n2 --pod-selector=app=two --force --delete-emptydir-data --timeout=3s
kubectl drain n2 --pod-selector=app=two --force --delete-emptydir-data --disable-eviction --timeout=60s
kubectl drain none --force
kubectl drain -l row=none
kubectl get pods
kubectl uncordon n2
kubectl label node n2 row-
kubectl annotate node n2 row-
kubectl describe node n2 | sed -n '/^Name:/,/^Unschedulable:/p' | grep -v AcquireTime
"#,
    );
}
