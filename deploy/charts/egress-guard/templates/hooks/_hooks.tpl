{{/* Annotations of a hook: (dict "root" $ "event" "pre-delete" "weight" 0) */}}
{{- define "egress-guard.hook" -}}
helm.sh/hook: {{ .event }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* (dict "root" $ "name" … "event" …): the account that a hook's pods run as. */}}
{{- define "egress-guard.hookAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ .namespace | default .root.Release.Namespace }}
  labels:
    {{- include "egress-guard.labels" .root | nindent 4 }}
  annotations:
    {{- include "egress-guard.hook" (dict "event" .event "weight" -20) | nindent 4 }}
{{- end }}

{{/* The same: gives the account the ClusterRole of its name. */}}
{{- define "egress-guard.hookBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "egress-guard.labels" .root | nindent 4 }}
  annotations:
    {{- include "egress-guard.hook" (dict "event" .event "weight" -10) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .name }}
    namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
