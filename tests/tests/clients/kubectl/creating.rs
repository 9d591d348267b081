//! `create` in all its forms, `run` and `expose` of what stands still.

use std::time::Duration;

use guard_certificates::{Authority, SanName};

use super::row::same_in_turn;

#[test]
fn create_configmap_and_secret() {
    let authority = Authority::new_in_memory().expect("a certificate authority");
    let name = [SanName::Dns("web.example".into())];
    let leaf = authority.issue_leaf(&name, Duration::from_hours(1)).expect("a leaf");
    let files =
        format!("cat > tls.crt <<END\n{}END\ncat > tls.key <<END\n{}END", leaf.certificate_pem(), **leaf.key_pem());
    let script = r"
printf 'x=1\ny=2\n' > env; echo one > one; mkdir folder; echo two > folder/two; head -c 300 /bin/busybox > binary
kubectl create configmap literals --from-literal=a=1 --from-literal=b=2
kubectl create configmap files --from-file=one --from-file=renamed=one --from-file=folder
kubectl create configmap env --from-env-file=env
kubectl create configmap binary --from-file=binary --append-hash -o name
kubectl create configmap literals --from-literal=a=1
kubectl create configmap 'Not a name'
kubectl create configmap
kubectl create secret generic opaque --from-literal=password=hunter2 --from-file=one --type=example.com/kind
kubectl create secret docker-registry pull --docker-server=registry.example --docker-username=me --docker-password=secret
kubectl create secret tls missing --cert=none --key=none
kubectl create secret tls swapped --cert=tls.key --key=tls.crt
kubectl create secret tls web --cert=tls.crt --key=tls.key
kubectl get configmap,secret --selector='!x' -o yaml --field-selector=metadata.name!=kube-root-ca.crt --show-managed-fields
";
    same_in_turn("row-create-data", &format!("{files}\n{script}"));
}

#[test]
fn create_for_access() {
    same_in_turn(
        "row-create-access",
        r"
kubectl create serviceaccount robot
kubectl create role reader --verb=get,list --resource=pods,pods/log,deployments.apps --resource-name=web
kubectl create role wrong --verb=get --resource=nothing
kubectl create rolebinding readers --role=reader --serviceaccount=$NAMESPACE:robot --user=jane --group=staff
kubectl create clusterrole row-nodes --verb=get,list --resource=nodes
kubectl create clusterrole row-paths --verb=get --non-resource-url=/healthz --non-resource-url='/logs/*'
kubectl create clusterrole row-sum --aggregation-rule=row=sum
kubectl create clusterrolebinding row-nodes --clusterrole=row-nodes --serviceaccount=$NAMESPACE:robot
kubectl get serviceaccount/robot role,rolebinding clusterrole/row-nodes -o yaml 2>&1
kubectl get serviceaccount robot -o yaml --show-managed-fields
kubectl get role,rolebinding -o yaml --show-managed-fields
kubectl get clusterrole row-nodes row-paths row-sum -o yaml
kubectl create token robot --duration=20m --audience=somewhere > token
tr -cd . < token | wc -c
cut -d. -f1 token
cut -d. -f2 token | tr '_-' '/+' | base64 -d 2>/dev/null | tr ',' '\n' | grep -v -e exp -e iat -e nbf
kubectl create token nobody
kubectl create token robot --bound-object-kind=Pod --bound-object-name=none
kubectl delete clusterrole row-nodes row-paths row-sum
kubectl delete clusterrolebinding row-nodes
",
    );
}

#[test]
fn create_workloads() {
    same_in_turn(
        "row-create-work",
        r"
kubectl create deployment web --image=$IMAGE --replicas=0 --port=80
kubectl create deployment two --image=$IMAGE --image=busybox:1 --replicas=0 -o jsonpath='{.spec.template.spec.containers[*].image}'
kubectl create cronjob nightly --image=$IMAGE --schedule='0 3 1 1 *' --restart=Never -- sh -c 'echo night'
kubectl create cronjob wrong --image=$IMAGE --schedule='whenever' -- true
kubectl create job once --image=$IMAGE -- echo once
kubectl create job by-hand --from=cronjob/nightly
kubectl wait --for=condition=complete job/once job/by-hand --timeout=90s
kubectl logs job/once
kubectl logs --selector=job-name=by-hand
kubectl get jobs
kubectl get cronjob nightly -o jsonpath='{.spec}'
kubectl get job once -o jsonpath='{.spec.template.spec}{.status.succeeded}'
kubectl delete job --all --cascade=foreground
",
    );
}

#[test]
fn create_for_the_network_and_for_quotas() {
    same_in_turn(
        "row-create-rest",
        r"
kubectl create service clusterip headless --clusterip=None --tcp=80:8080
kubectl create service clusterip fixed --clusterip=10.96.77.1 --tcp=80
kubectl create service clusterip twice --clusterip=10.96.77.1 --tcp=80
kubectl create service clusterip outside --clusterip=10.97.0.1 --tcp=80
kubectl create service nodeport door --tcp=80 --node-port=30777 -o jsonpath='{.spec.ports}'
kubectl create service loadbalancer balanced --tcp=443:8443 -o jsonpath='{.spec.type}{.spec.selector}'
kubectl create service externalname elsewhere --external-name=example.com --tcp=80
kubectl create ingress web --rule='web.example/path*=fixed:80,tls=web-tls' --class=none --annotation=a=b
kubectl create ingress wrong --rule=nonsense
kubectl create poddisruptionbudget careful --selector=app=web --min-available=1
kubectl create pdb careless --selector=app=none --max-unavailable=50%
kubectl create quota small --hard=count/configmaps=20,pods=10 --scopes=NotBestEffort
kubectl create quota smaller --hard=count/configmaps=20,secrets=3
kubectl create priorityclass row-high --value=1000 --preemption-policy=Never --description='for a test'
kubectl create priorityclass row-low --value=99999999999
kubectl get service headless fixed elsewhere -o yaml
kubectl get ingress web -o yaml
kubectl get pdb careful careless -o jsonpath='{.items[*].spec}'
kubectl get quota small -o jsonpath='{.spec}'
kubectl get priorityclass row-high -o yaml
kubectl delete priorityclass row-high
",
    );
}

#[test]
fn create_from_files_dry_and_raw() {
    same_in_turn(
        "row-create-files",
        r#"
mkdir -p dir/sub kustom
for n in 1 2; do printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: file-%s, labels: {row: files}}\ndata: {n: "%s"}\n' $n $n > dir/$n.yaml; done
printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"json"},"data":{"n":"3"}}' > dir/sub/3.json
printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: doc-1}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: doc-2}\nstringData: {a: b}\n' > docs.yaml
printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamePrefix: k-\ncommonAnnotations: {by: kustomize}\nresources: [cm.yaml]\nconfigMapGenerator: [{name: made, literals: [a=1]}]\n' > kustom/kustomization.yaml
cp dir/1.yaml kustom/cm.yaml
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndatum: {}\ndata: {a: 1, a: "2"}\n' > typo.yaml
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: made-}\n' > generated.yaml
kubectl create -f dir -R --dry-run=client
kubectl create -f dir -R --dry-run=server -o yaml
kubectl create -f dir -R
kubectl create -f docs.yaml -o name
kubectl create -f - < dir/1.yaml
kubectl create -f typo.yaml
kubectl create -f typo.yaml --validate=warn --dry-run=server
kubectl create -f typo.yaml --validate=ignore --dry-run=server -o name
kubectl create -f generated.yaml -o jsonpath='{.metadata.generateName}'
kubectl kustomize kustom
kubectl create -k kustom --save-config
kubectl get -k kustom -o yaml
kubectl create --raw /api/v1/namespaces/$NAMESPACE/configmaps -f dir/sub/3.json
printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"}}' > raw.json
kubectl create --raw /api/v1/namespaces/$NAMESPACE/configmaps -f raw.json
KUBE_EDITOR='sed -i s/json/edited/' kubectl create --edit -f dir/sub/3.json
kubectl create -f none.yaml
printf 'apiVersion: none/v1\nkind: Nothing\nmetadata: {name: x}\n' | kubectl create -f -
kubectl delete -f dir -R
kubectl delete -k kustom
kubectl get configmaps -o name --field-selector=metadata.name!=kube-root-ca.crt | sed 's/made-.*/made/'
"#,
    );
}

#[test]
fn create_delete_namespaces_and_custom_resources() {
    same_in_turn(
        "row-create-kinds",
        r#"
kubectl create namespace row-second
kubectl create namespace row-second
kubectl get namespace row-second -o yaml
kubectl label namespace row-second level=two
kubectl get namespace -l level=two
kubectl delete namespace row-second --timeout=90s
cat > crd.yaml <<'END'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.row.example.com}
spec:
  group: row.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wg], categories: [rowish]}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
      additionalPrinterColumns: [{name: Size, type: string, jsonPath: .spec.size}, {name: Replicas, type: integer, jsonPath: .spec.replicas}]
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, required: [size], properties: {size: {type: string, enum: [S, M, L]}, replicas: {type: integer, default: 1}}}
            status: {type: object, properties: {replicas: {type: integer}}}
END
kubectl apply -f crd.yaml
kubectl wait --for=condition=Established crd/widgets.row.example.com --timeout=60s
await 'command kubectl get --raw /apis/row.example.com/v1 >/dev/null 2>&1'
widget() { printf 'apiVersion: row.example.com/v1\nkind: Widget\nmetadata: {name: %s}\nspec: {size: %s}\n' $1 $2; }
widget one S | kubectl apply -f -
widget two XL | kubectl apply -f -
widget three M | kubectl create -f -
kubectl get widgets
kubectl get wg one -o yaml
kubectl get rowish -o name
kubectl scale wg/one --replicas=3
kubectl patch widget one --type=merge -p '{"spec":{"size":"L"}}'
kubectl patch widget one --type=strategic -p '{"spec":{"size":"L"}}'
kubectl patch widget one --subresource=status --type=merge -p '{"status":{"replicas":3}}'
kubectl get widget one --subresource=scale -o jsonpath='{.spec.replicas}{.status.replicas}'
command kubectl --namespace=$NAMESPACE get widget one -o json > one.json
sed 's/"replicas": 3/"replicas": 4/' one.json | kubectl replace --subresource=status -f -
sed 's/"replicas": 3/"replicas": 5/' one.json | kubectl replace --subresource=status -f -
KUBE_EDITOR='sed -i s/replicas:.4/replicas:\ 6/' kubectl edit widget one --subresource=status
kubectl get widget one -o jsonpath='{.spec.replicas}{.status.replicas}'
kubectl get wg
kubectl describe widget one
kubectl label wg one a=b
kubectl delete wg --all
kubectl delete crd widgets.row.example.com
"#,
    );
}
