{{/* admission.yaml: what guard-admission calls Settings. */}}
{{- define "egress-guard.admission.settings" -}}
gate:
  image: {{ include "egress-guard.image" . | quote }}
  repository: {{ .Values.image.repository | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
  resources:
    {{- range $kind := list "limits" "requests" }}
    {{ $kind }}:
      {{- range $name, $quantity := get $.Values.gate.resources $kind }}
      {{ $name }}: {{ $quantity | toString | quote }}
      {{- else }} {}
      {{- end }}
    {{- end }}
  toleratedEnv: {{ .Values.gate.toleratedEnv | toJson }}
  toleratedMounts: {{ .Values.gate.toleratedMounts | toJson }}
trust: {{ include "egress-guard.admission.trust" . }}
guardNamespace: {{ .Release.Namespace | quote }}
guardServiceAccounts:
  control: {{ printf "system:serviceaccount:%s:egress-guard-control" .Release.Namespace | quote }}
  node: {{ printf "system:serviceaccount:%s:egress-guard-node" .Release.Namespace | quote }}
imagePullSecrets: {{ .Values.agents.imagePullSecrets | toJson }}
leadingInitContainers:
  {{- range .Values.agents.leadingInitContainers }}
  - name: {{ .name | quote }}
    repository: {{ .repository | quote }}
    capabilities: {{ .capabilities | default list | toJson }}
  {{- else }} []
  {{- end }}
classes:
  {{- range .Values.agents.classes }}
  - name: {{ .name | quote }}
    namespaces: {{ .namespaces | default list | toJson }}
    serviceAccounts: {{ .serviceAccounts | default list | toJson }}
  {{- else }} []
  {{- end }}
exemptNamespaces: {{ include "egress-guard.admission.exempt" . }}
runtimeClasses: {{ .Values.agents.runtimeClasses | toJson }}
tokenAudiences: {{ .Values.agents.tokenAudiences | toJson }}
csiDrivers: {{ .Values.agents.csiDrivers | toJson }}
{{- end }}

{{/* The guard's own namespace always: its pods must not need what they bring. */}}
{{- define "egress-guard.admission.exempt" -}}
{{ append .Values.admission.exemptNamespaces .Release.Namespace | uniq | toJson }}
{{- end }}

{{- define "egress-guard.admission.trust" -}}
{{- if ne .Values.trust.bundle "auto" -}}
{{ .Values.trust.bundle }}
{{- else if .Capabilities.APIVersions.Has "certificates.k8s.io/v1/ClusterTrustBundle" -}}
ClusterTrustBundle
{{- else -}}
Annotation
{{- end -}}
{{- end }}

{{/* policies or webhook: what makes agent pods safe. */}}
{{- define "egress-guard.admission.mutation" -}}
{{- if ne .Values.admission.mode "auto" -}}
{{ .Values.admission.mode }}
{{- else if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
policies
{{- else -}}
webhook
{{- end -}}
{{- end }}

{{/* policies or webhook: what stored pods are held to. Policies wherever there are any: nobody can take them away by stopping control. */}}
{{- define "egress-guard.admission.validation" -}}
{{- if or (eq .Values.admission.mode "policies") (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy") -}}
policies
{{- else -}}
webhook
{{- end -}}
{{- end }}

{{/* A value as a CEL literal. CEL wants the items of a list or map to be of one type: all are made dynamic. */}}
{{- define "egress-guard.admission.cel" -}}
{{- if kindIs "map" . -}}
{ {{- range $index, $name := keys . | sortAlpha }}{{ if $index }}, {{ end }}{{ $name | toJson }}: dyn({{ include "egress-guard.admission.cel" (get $ $name) }}){{ end -}} }
{{- else if kindIs "slice" . -}}
[ {{- range $index, $item := . }}{{ if $index }}, {{ end }}dyn({{ include "egress-guard.admission.cel" $item }}){{ end -}} ]
{{- else -}}
{{ . | toJson }}
{{- end -}}
{{- end }}

{{- define "egress-guard.admission.settingsCel" -}}
{{ include "egress-guard.admission.cel" (include "egress-guard.admission.settings" . | fromYaml) }}
{{- end }}
