{{- /* The beginning of all names. */ -}}
{{- define "platform.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* The templates below take a list: the root, and "daemon" or "service". */ -}}

{{- define "platform.name" -}}
{{- printf "%s-%s" (include "platform.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{- define "platform.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "platform.labels" -}}
{{ include "platform.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "platform.serviceAccount" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- default (include "platform.name" .) $values.serviceAccount.name -}}
{{- end -}}

{{- define "platform.image" -}}
{{- with (index . 0).Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default (index $ 0).Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The file for --config. All values are strings, since Helm takes numbers for floating ones. */ -}}
{{- define "platform.config" -}}
{{- range $name, $value := (index (index . 0).Values (index . 1)).config }}
{{- if kindIs "slice" $value }}
{{ $name }}: [{{ range $i, $one := $value }}{{ if $i }}, {{ end }}{{ include "platform.scalar" $one }}{{ end }}]
{{- else }}
{{ $name }}: {{ include "platform.scalar" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "platform.scalar" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (floor .) -}}{{ printf "%.0f" . | quote }}{{- else -}}{{ . | toString | quote }}{{- end -}}
{{- else -}}
{{ . | toString | toJson }}
{{- end -}}
{{- end -}}

{{- /* The arguments for the NATS credentials. */ -}}
{{- define "platform.natsArgs" -}}
{{- with (index (index . 0).Values (index . 1)).nats -}}
{{- with .user }}
- --nats-user={{ . }}
{{- end }}
{{- if .secret }}
{{- range $flag, $key := dict "nats-creds" .credentials "nats-nkey" .nkey "nats-password-file" .password "nats-ca" .ca "nats-cert" .certificate "nats-key" .key }}
{{- with $key }}
- --{{ $flag }}=/nats/{{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{- /* What the pods of both have in common. */ -}}
{{- define "platform.podTop" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
serviceAccountName: {{ include "platform.serviceAccount" . }}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds | int64 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $values $key }}
{{ $key }}:
{{- if kindIs "string" . }} {{ . | quote }}{{ else }}
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "platform.podLabels" -}}
{{- toYaml (merge (include "platform.selector" . | fromYaml) (index (index . 0).Values (index . 1)).podLabels) -}}
{{- end -}}

{{- /* A pod is replaced when its settings change. */ -}}
{{- define "platform.podAnnotations" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- $annotations := dict -}}
{{- if $values.config -}}
{{- $annotations = dict "checksum/config" (include "platform.config" . | sha256sum) -}}
{{- end -}}
{{- with merge $annotations $values.podAnnotations -}}
annotations:
{{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "platform.containerTop" -}}
{{- $root := index . 0 -}}
image: {{ include "platform.image" . | quote }}
{{- with $root.Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- with (index $root.Values (index . 1)).resources }}
resources:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "platform.env" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
- name: PLATFORM_NATS
  value: {{ $root.Values.nats.url | quote }}
{{- with $values.goMemLimit }}
- name: GOMEMLIMIT
  value: {{ . | quote }}
{{- end }}
{{- with $values.env }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- define "platform.configMap" -}}
{{- $root := index . 0 -}}
{{- if (index $root.Values (index . 1)).config -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "platform.name" . }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "platform.labels" . | nindent 4 }}
data:
  platform.yaml: |
    {{- include "platform.config" . | trim | nindent 4 }}
{{- end -}}
{{- end -}}

{{- define "platform.podMonitor" -}}
{{- $root := index . 0 -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "platform.name" . }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "platform.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "platform.selector" . | nindent 6 }}
  podMetricsEndpoints:
  - port: http
{{- end -}}

{{- define "platform.volumeMounts" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- if or $values.nats.secret $values.token $values.config -}}
volumeMounts:
{{- if $values.nats.secret }}
- name: nats
  mountPath: /nats
  readOnly: true
{{- end }}
{{- if $values.token }}
- name: token
  mountPath: /token
  readOnly: true
{{- end }}
{{- if $values.config }}
- name: config
  mountPath: /config
  readOnly: true
{{- end }}
{{- end -}}
{{- end -}}

{{- define "platform.volumes" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- if or $values.nats.secret $values.token $values.config -}}
volumes:
{{- if $values.nats.secret }}
- name: nats
  secret:
    secretName: {{ $values.nats.secret }}
    defaultMode: 0440
{{- end }}
{{- if $values.token }}
- name: token
  secret:
    secretName: {{ $values.token.secret }}
    defaultMode: 0440
{{- end }}
{{- if $values.config }}
- name: config
  configMap:
    name: {{ include "platform.name" . }}
{{- end }}
{{- end -}}
{{- end -}}
