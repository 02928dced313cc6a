{{/* Name of everything: the release's, with `tegata` in it. */}}
{{- define "tegata.name" -}}
{{- if contains "tegata" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-tegata" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the replicas; never change. */}}
{{- define "tegata.selector" -}}
app.kubernetes.io/name: tegata
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end -}}

{{/* Labels of every object. */}}
{{- define "tegata.labels" -}}
app.kubernetes.io/name: tegata
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Name, namespace and labels of an object in the release's namespace. */}}
{{- define "tegata.metadata" -}}
name: {{ include "tegata.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "tegata.labels" . | nindent 2 }}
{{- end -}}

{{- define "tegata.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* Name of the Secret with the serving certificate. */}}
{{- define "tegata.tlsSecret" -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "tegata.name" .)) -}}
{{- end -}}

{{/* `address:port`, with brackets where the address is of IPv6. Takes (list address port). */}}
{{- define "tegata.socket" -}}
{{- $address := index . 0 -}}
{{- if contains ":" $address }}[{{ $address }}]{{ else }}{{ $address }}{{ end }}:{{ index . 1 }}
{{- end -}}

{{/* Whether there can be two replicas; text, empty for no. */}}
{{- define "tegata.several" -}}
{{- if .Values.autoscaling.enabled -}}
{{- if gt (int .Values.autoscaling.minReplicas) 1 }}yes{{ end -}}
{{- else if gt (int .Values.replicas) 1 -}}yes
{{- end -}}
{{- end -}}

{{/* Whether the ConfigMap has something in it; text, empty for no. */}}
{{- define "tegata.configured" -}}
{{- if or .Values.registries .Values.trustedRoot }}yes{{ end -}}
{{- end -}}

{{/* The Secret with the password of the shared store, where there are both. */}}
{{- define "tegata.sharedSecret" -}}
{{- if .Values.cache.shared.url }}{{ .Values.cache.shared.secret }}{{ end -}}
{{- end -}}

{{/* What a restricted namespace demands of a pod, and of a container. */}}
{{- define "tegata.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- define "tegata.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What a binding binds: a role to Tegata's ServiceAccount. Takes (list root kind name). */}}
{{- define "tegata.binding" -}}
{{- $root := index . 0 -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ index . 1 }}
  name: {{ index . 2 }}
subjects:
  - kind: ServiceAccount
    name: {{ include "tegata.name" $root }}
    namespace: {{ $root.Release.Namespace }}
{{- end -}}

{{/* A ClusterRole bound in one namespace, under its own name. Takes (list root namespace role). */}}
{{- define "tegata.roleBinding" -}}
{{- $root := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ index . 2 }}
  namespace: {{ index . 1 }}
  labels:
    {{- include "tegata.labels" $root | nindent 4 }}
{{ include "tegata.binding" (list $root "ClusterRole" (index . 2)) }}
{{- end -}}
