{{/* The names are fixed: there is one guard in a cluster. */}}

{{- define "egress-guard.labels" -}}
app.kubernetes.io/name: egress-guard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: egress-guard
{{- end }}

{{/* What selects pods: never more, since a selector can't be changed. (dict "root" $ "component" "node") */}}
{{- define "egress-guard.selector" -}}
app.kubernetes.io/name: egress-guard
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "egress-guard.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Name, image and pull policy of a container that runs the guard. */}}
{{- define "egress-guard.container" -}}
image: {{ include "egress-guard.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "egress-guard.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "egress-guard.logEnv" -}}
- name: GUARD_LOG_JSON
  value: {{ .Values.log.json | quote }}
{{- end }}

{{/* What is followed at run time: no pod is made anew for it. */}}
{{- define "egress-guard.logFile" -}}
- name: GUARD_LOG_FILE
  value: /etc/egress-guard/node/log
{{- end }}

{{/* A container that needs nothing of its node. */}}
{{- define "egress-guard.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The part of a path before $(NODE_NAME): what can be mounted on every node. */}}
{{- define "egress-guard.mountable" -}}
{{- regexReplaceAll "/[^/]*\\$\\(NODE_NAME\\).*$" . "" -}}
{{- end }}
