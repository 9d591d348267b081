//! Commands that look after workloads: scale, autoscale, rollout, set, expose.

use super::row::same_in_turn;

#[test]
fn scale_and_autoscale() {
    same_in_turn(
        "row-scale",
        r"
kubectl create deployment web --image=$IMAGE --replicas=0
kubectl create deployment two --image=$IMAGE --replicas=0
kubectl scale deployment web --replicas=2 --current-replicas=1
kubectl scale deployment web --replicas=2
kubectl rollout status deployment/web --timeout=90s | tail -n 1
kubectl get deployment web
kubectl scale deployment/web deployment/two --replicas=1 --timeout=60s
kubectl scale --all deployment --replicas=0 --dry-run=server
kubectl scale deployment none --replicas=1
kubectl scale deployment web --replicas=-1
kubectl scale deployment web --replicas=0 --resource-version=1 2>&1 | sed 's/was [0-9]*$/was VERSION/'
kubectl get deployment web --subresource=scale -o jsonpath='{.spec}{.status.selector}'
kubectl autoscale deployment web --min=1 --max=3 --cpu=80%
kubectl autoscale deployment web --min=1 --max=3 --cpu=80%
kubectl autoscale deployment two --max=5 --name=other --memory=100Mi -o jsonpath='{.spec}'
kubectl autoscale deployment two --min=5 --max=3 --cpu=1
kubectl autoscale deployment two --max=3 --cpu=50% --dry-run=server -o name
kubectl get hpa web other -o jsonpath='{.items[*].spec}'
kubectl delete hpa --all
",
    );
}

#[test]
fn rollout_of_a_deployment() {
    same_in_turn(
        "row-rollout",
        r"
kubectl create deployment web --image=$IMAGE --replicas=1
kubectl rollout status deployment/web --timeout=90s | tail -n 1
kubectl annotate deployment web kubernetes.io/change-cause=first
kubectl set env deployment/web VERSION=2
kubectl annotate deployment web kubernetes.io/change-cause=second --overwrite
kubectl rollout status deployment/web --timeout=90s | tail -n 1
kubectl rollout history deployment/web
kubectl rollout history deployment/web --revision=2
kubectl rollout history deployment/web --revision=9
kubectl rollout undo deployment/web --dry-run=server
kubectl rollout undo deployment/web
kubectl rollout status deployment/web --timeout=90s | tail -n 1
kubectl rollout undo deployment/web --to-revision=9
kubectl rollout pause deployment/web
kubectl rollout pause deployment/web
kubectl set env deployment/web VERSION=3
kubectl rollout restart deployment/web
kubectl rollout undo deployment/web
kubectl rollout resume deployment/web
kubectl rollout resume deployment/web
kubectl rollout status deployment/web --timeout=90s | tail -n 1
kubectl rollout restart deployment/web
kubectl rollout status deployment/web --timeout=90s | tail -n 1
kubectl rollout status deployment/none
kubectl rollout history deployment/web
kubectl get deployment web -o jsonpath='{.metadata.generation}{.spec.template.metadata.annotations}{.spec.template.spec.containers}'
",
    );
}

#[test]
fn rollout_of_stateful_and_daemon_sets() {
    same_in_turn(
        "row-rollout-sets",
        r#"
set_of() { printf 'apiVersion: apps/v1\nkind: %s\nmetadata: {name: %s}\nspec: {%s selector: {matchLabels: {app: %s}}, template: {metadata: {labels: {app: %s}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: "%s"}]}}}\n' $1 $2 "$3" $2 $2 $IMAGE; }
set_of StatefulSet state 'replicas: 2, serviceName: none,' | kubectl create -f -
set_of DaemonSet daemon '' | kubectl create -f -
for one in statefulset/state daemonset/daemon; do
  kubectl rollout status $one --timeout=90s | tail -n 1
  kubectl set env $one VERSION=2
  kubectl rollout status $one --timeout=90s | tail -n 1
  kubectl rollout history $one
  kubectl rollout undo $one
  kubectl rollout restart $one
  kubectl rollout status $one --timeout=90s | tail -n 1
  kubectl rollout pause $one
done
kubectl get statefulset,daemonset
kubectl scale statefulset state --replicas=1
kubectl wait --for=delete pod/state-1 --timeout=90s
kubectl get pods state-0 state-1
kubectl delete statefulset state --cascade=foreground --timeout=90s
"#,
    );
}

#[test]
fn set_everything_that_can_be_set() {
    same_in_turn(
        "row-set",
        r"
kubectl create deployment web --image=$IMAGE --replicas=0
kubectl create configmap conf --from-literal=key-one=1 --from-literal=two=2
kubectl set image deployment/web agent=busybox:2
kubectl set image deployment/web agent=busybox:2
kubectl set image deployment/web none=busybox:2
kubectl set image deployments --all '*=busybox:3' -o jsonpath='{.spec.template.spec.containers[*].image}'
kubectl set image deployment/web '*=busybox:4' --dry-run=server
kubectl set env deployment/web A=1 B=2
kubectl set env deployment/web A- C=3
kubectl set env deployment/web --from=configmap/conf --keys=key-one --prefix=CONF_
kubectl set env deployment/web --list --resolve
kubectl set env deployment/web --containers=none D=1
kubectl set resources deployment/web --limits=cpu=200m,memory=64Mi --requests=cpu=100m
kubectl set resources deployment web --limits=cpu=0 -o jsonpath='{.spec.template.spec.containers[*].resources}'
kubectl set resources deployment web --limits=cpu=nonsense
kubectl create serviceaccount robot
kubectl set serviceaccount deployment web robot
kubectl create service clusterip web --clusterip=None
kubectl set selector service web app=other
kubectl get service web -o jsonpath='{.spec.selector}'
kubectl create rolebinding readers --clusterrole=view --user=jane
kubectl set subject rolebinding readers --user=joe --serviceaccount=$NAMESPACE:robot --group=staff
kubectl get rolebinding readers -o jsonpath='{.subjects}'
kubectl set subject rolebinding none --user=joe
kubectl get deployment web -o jsonpath='{.metadata.generation}{.spec.template}'
",
    );
}

#[test]
fn expose_and_run() {
    same_in_turn(
        "row-expose",
        r#"
kubectl create deployment web --image=$IMAGE --replicas=0 --port=80
kubectl expose deployment web --cluster-ip=None
kubectl expose deployment web --name=named --port=8080 --target-port=http --protocol=UDP --labels=a=b --cluster-ip=None --session-affinity=None
kubectl expose deployment web
kubectl expose service named --name=again --port=90 --cluster-ip=None
kubectl expose deployment none --port=1
kubectl run pod --image=$IMAGE --labels=app=pod --env=A=1 --port=81 --restart=Never --overrides='{"spec":{"terminationGracePeriodSeconds":0,"nodeName":"n1"}}'
kubectl expose pod pod --name=podded --cluster-ip=None --dry-run=server -o jsonpath='{.spec}'
kubectl run pod --image=$IMAGE
kubectl run dry --image=$IMAGE --dry-run=client -o yaml -- sleep 1
kubectl run dry --image=$IMAGE --dry-run=server --command -o jsonpath='{.spec.containers[0].command}' -- sleep 1
kubectl run exposed --image=$IMAGE --port=82 --expose --overrides='{"spec":{"terminationGracePeriodSeconds":0}}'
kubectl run 'Wrong Name' --image=$IMAGE
kubectl get service web named again -o jsonpath='{.items[*].spec}'
kubectl get pod pod -o jsonpath='{.spec.containers[0].env}{.metadata.labels}'
"#,
    );
}
