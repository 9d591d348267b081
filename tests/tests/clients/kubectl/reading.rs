//! Commands that only read.

use super::library::{LIBRARY, shelved};
use super::row::same_at_once;

#[track_caller]
fn same(row: &str, script: &str) {
    shelved();
    same_at_once(row, LIBRARY, script);
}

#[test]
fn get_in_all_outputs() {
    same(
        "get",
        r#"
for output in json yaml name wide jsonpath='{.items[*].metadata.uid}' jsonpath-as-json='{.items[*].metadata}' \
  go-template='{{range .items}}{{.metadata.name}} {{.metadata.resourceVersion}}{{"\n"}}{{end}}' custom-columns=N:.metadata.name,V:.metadata.resourceVersion; do
  kubectl get configmaps,secrets,pods,deployments,books,roles -o "$output"
done
printf 'NAME UID\nmetadata.name metadata.uid\n' > columns
printf '{{.kind}}' > template; printf '{.kind}' > path
kubectl get pods -o custom-columns-file=columns
kubectl get configmap shelf -o go-template-file=template
kubectl get configmap shelf -o jsonpath-file=path
kubectl get configmap shelf -o json --show-managed-fields
kubectl get configmap shelf -o kyaml
kubectl get configmap shelf -o nonsense
kubectl get configmap shelf -o jsonpath='{.none}' --allow-missing-template-keys=false
"#,
    );
}

#[test]
fn get_with_every_flag() {
    same(
        "get-flags",
        r"
kubectl get all
kubectl get all,cm,secret,sa,role,rolebinding,ing,netpol,pdb,limits,quota,pvc,pv/library,sc/library,endpointslices,leases,controllerrevisions,events -o wide --show-kind
kubectl get pods --show-labels --sort-by=.metadata.name
kubectl get pods -l app=talker -L app,none
kubectl get pods -l 'app in (web,state),!none' -o name
kubectl get pods -l 'app in (' 
kubectl get pods --field-selector=status.phase=Running,metadata.name=talker
kubectl get pods --field-selector=spec.nonsense=1
kubectl get pods --server-print=false
kubectl get pods talker --server-print=false -o wide
kubectl get pods --chunk-size=1
kubectl get pods --chunk-size=0 --no-headers
kubectl get pods --all-namespaces -l app=talker
kubectl get pods talker none fallen
kubectl get pods none --ignore-not-found
kubectl get pod/talker service/web bk/moby
kubectl get nothing
kubectl get pods.v1. talker
kubectl get deployments.v1.apps web
kubectl get deployments.v9.apps web
kubectl get deployment web --subresource=scale -o yaml
kubectl get deployment web --subresource=status
kubectl get pod talker --subresource=none
kubectl get clusterroles view edit -o wide
kubectl get clusterroles -l kubernetes.io/bootstrapping=rbac-defaults -o name
kubectl get componentstatuses -o name | sort
kubectl get namespace library default -o name
kubectl get -f - < <(printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shelf}\n')
kubectl get configmap shelf --watch=false --output-watch-events=false
kubectl get pods -n none
kubectl get pods --request-timeout=nonsense
kubectl get --raw /api/v1/namespaces/library/configmaps/shelf
kubectl get --raw /apis/library.example.com/v1/namespaces/library/books/moby
kubectl get --raw '/api/v1/namespaces/library/configmaps?labelSelector=kind%3Dshelf'
kubectl get --raw /healthz; kubectl get --raw /livez/ping; kubectl get --raw '/readyz?verbose'; kubectl get --raw /version
kubectl get --raw /api; kubectl get --raw /apis | sha256sum; kubectl get --raw /api/v1 | sha256sum
kubectl get --raw /openapi/v2 | sha256sum; kubectl get --raw /openapi/v3/apis/apps/v1 | sha256sum
kubectl get --raw /.well-known/openid-configuration; kubectl get --raw /openid/v1/jwks
kubectl get --raw /none; kubectl get --raw /api/v1/namespaces/library/configmaps/none
kubectl get --raw /metrics | grep -c '^# HELP'
",
    );
}

#[test]
fn describe_everything() {
    same(
        "describe",
        r"
kubectl describe pods,deployments,replicasets,statefulsets,daemonsets,jobs,cronjobs
kubectl describe configmaps,secrets,serviceaccounts,services,ingresses,networkpolicies,poddisruptionbudgets
kubectl describe limitranges,resourcequotas,persistentvolumeclaims,roles,rolebindings,endpointslices,books
kubectl describe pv/library storageclass/library namespace/library clusterrole/view clusterrolebinding/cluster-admin crd/books.library.example.com
kubectl describe pod tal
kubectl describe pods -l app=talker --show-events=false
kubectl describe pod none
kubectl describe pods --all-namespaces -l app=talker --chunk-size=1
kubectl describe -f - < <(printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shelf}\n')
",
    );
}

#[test]
fn logs_in_all_forms() {
    same(
        "logs",
        r#"
kubectl logs talker | sha256sum
kubectl logs talker -c side
kubectl logs talker -c first
kubectl logs talker --all-containers --prefix --tail=2 | sort
kubectl logs talker --tail=3 --timestamps
kubectl logs talker --limit-bytes=100
kubectl logs talker --since=24h --tail=1
kubectl logs talker --since-time=2020-01-01T00:00:00Z --tail=1
kubectl logs talker --since=nonsense
kubectl logs fallen
kubectl logs fallen --previous
kubectl logs talker --previous
kubectl logs -l app=talker --tail=1 | sort
kubectl logs -l app=talker --tail=1 --prefix --all-containers --ignore-errors | sort
kubectl logs -l app=web --tail=1 --max-log-requests=1 --follow
kubectl logs deployment/web
kubectl logs job/done
kubectl logs statefulset/state
kubectl logs talker -c none
kubectl logs none
kubectl logs job/done --follow
follow() {
  local lines=$1; shift
  command kubectl --namespace=$NAMESPACE logs --follow "$@" > followed 2>&1 &
  await "[ \$(wc -l < followed) -ge $lines ]"
  kill $!; wait $! 2>/dev/null; sort followed
}
follow 2 talker --tail=2
follow 4 -l app=talker --tail=1 --all-containers --prefix
"#,
    );
}

#[test]
fn explain_and_api_resources() {
    same(
        "explain",
        r"
kubectl explain pods
kubectl explain pod.spec.containers.env --api-version=v1
kubectl explain deployment --recursive | sha256sum
kubectl explain deployment.spec.strategy --recursive
kubectl explain cronjobs --api-version=batch/v1 --output=plaintext-openapiv2
kubectl explain ingress --output=plaintext
kubectl explain books.spec
kubectl explain pods.none
kubectl explain nothing
kubectl explain pods --api-version=none/v1
kubectl api-versions
kubectl api-resources --sort-by=name
kubectl api-resources --api-group=apps -o wide
kubectl api-resources --namespaced=false -o name
kubectl api-resources --verbs=deletecollection,watch --categories=all --no-headers
kubectl api-resources --cached --api-group=library.example.com
",
    );
}

#[test]
fn requests_and_headers_that_kubectl_shows() {
    same(
        "headers",
        r#"
show() { kubectl "$@" -v=8 2>&1 | sed -n '/"Request" verb/,/^ >/p; /"Response" status/,/^ >/p' | grep -v -e Date: -e Audit-Id: | sed 's/milliseconds=.*//' | plain; }
# What continues a list holds its resource version.
show get configmap shelf
show get configmap none
show get pods --chunk-size=2 -o name | sed 's/continue=[A-Za-z0-9]*/continue=/'
show describe role reader
show logs talker -c side
show annotate configmap shelf --dry-run=server a=b
show delete configmap shelf --dry-run=server
show auth can-i get pods
show create configmap shelf
show apply -f - --server-side --dry-run=server < <(printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\n')
show exec talker -c side -- true
show get --raw /none
show version
"#,
    );
}

#[test]
fn cluster_info_events_version_and_top() {
    same(
        "info",
        r#"
kubectl version
kubectl version -o json
kubectl version --client
kubectl cluster-info
kubectl cluster-info dump --namespaces=library --output-directory=dump
find dump/library -type f | sort | while read -r file; do echo "$file"; cat "$file"; done
kubectl cluster-info dump --namespaces=library -o yaml | grep -c '^kind: '
kubectl events
kubectl events --for=pod/talker --types=Normal,Warning
kubectl events --all-namespaces --for=pod/fallen -o json
kubectl events --for=nonsense
kubectl events -o name
kubectl get events --sort-by=.lastTimestamp
kubectl get events --field-selector=type=Warning -o json
kubectl top pods
kubectl top nodes
kubectl top pod talker --containers
kubectl options | head -1
kubectl nonsense
kubectl plugin list
kubectl config view
kubectl config current-context
"#,
    );
}
