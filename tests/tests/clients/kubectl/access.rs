//! `auth` and `certificate`.

use super::row::same_in_turn;

/// For `CN=jane,O=staff`. Its key is nobody's: it was thrown away.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIYU1JR0JBZ0VBTUI4eERqQU1CZ05WQkFvTUJYTjBZV1ptTVEw\
     d0N3WURWUVFEREFScVlXNWxNRmt3RXdZSApLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFdzhuSnVxLzdOWkx0RjZydUt2UEJw\
     cEV5RXlWVVY2ajcvMkcxClFIbGlrYzE3dldYUUNQT2pOQm1yNHR1Z3NJMWZQazZTTHR0MjMrVWNqR3RCMHhhUzlhQUFNQW9HQ0Nx\
     R1NNNDkKQkFNQ0EwZ0FNRVVDSUJUZWE4aGFEdDhBS3hqNUlzeE9kMERzNWRUVzVwK2Y0R240WkcwUmpZaHRBaUVBNmhqKwpyZngx\
     Syt3b3djSGRvdWh1Y1BoZWN3d3I2dmgydlN1dDJZOUp4WlU9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

#[test]
fn auth_can_i_and_reconcile() {
    same_in_turn(
        "row-auth",
        r#"
kubectl auth can-i get pods
kubectl auth can-i '*' '*' --all-namespaces
kubectl auth can-i create deployments.apps --subresource=scale
kubectl auth can-i get nothing
kubectl auth can-i get /healthz
kubectl auth can-i list pods --quiet
kubectl auth can-i get pod/talker
kubectl auth can-i --list | sort
kubectl auth can-i --list --namespace=default --no-headers | sort
kubectl create role reader --verb=get --resource=pods
kubectl create rolebinding readers --role=reader --user=jane
cat > rbac.yaml <<END
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: $NAMESPACE}
rules: [{apiGroups: [""], resources: [pods, secrets], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: $NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: joe}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: row-auth}
rules: [{nonResourceURLs: [/row], verbs: [get]}]
END
kubectl auth reconcile -f rbac.yaml --dry-run=server
kubectl auth reconcile -f rbac.yaml
kubectl auth reconcile -f rbac.yaml --remove-extra-permissions --remove-extra-subjects
kubectl get role,rolebinding -o yaml
printf 'apiVersion: authorization.k8s.io/v1\nkind: SubjectAccessReview\nspec: {user: jane, resourceAttributes: {verb: get, resource: pods, namespace: %s}}\n' $NAMESPACE | kubectl create -f - -o yaml
printf 'apiVersion: authorization.k8s.io/v1\nkind: SelfSubjectRulesReview\nspec: {namespace: %s}\n' $NAMESPACE | kubectl create -f - -o yaml | sort
kubectl delete clusterrole row-auth
"#,
    );
}

#[test]
fn certificates_are_approved_and_denied() {
    same_in_turn(
        "row-certificate",
        &r"
csr() { printf 'apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: %s}\nspec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], request: %s}\n' $1 @REQUEST@; }
csr row-good | kubectl create -f -
csr row-bad | kubectl create -f -
kubectl get csr row-good row-bad --no-headers -o custom-columns=N:.metadata.name,S:.spec.signerName,C:.status.conditions
kubectl certificate approve row-good
kubectl certificate approve row-good
kubectl certificate approve row-none
kubectl certificate deny row-bad
kubectl certificate deny row-good
kubectl certificate deny row-good --force
kubectl wait --for=jsonpath='{.status.certificate}' csr/row-good --timeout=60s | head -c 40
kubectl get csr row-good -o jsonpath='{.status.certificate}' | base64 -d | head -1
kubectl get csr row-good row-bad -o jsonpath='{.items[*].status.conditions}'
kubectl delete csr row-good row-bad
"
        .replace("@REQUEST@", REQUEST),
    );
}
