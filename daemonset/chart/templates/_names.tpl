{{- /* Labels of an object. Arguments: the root context, the part of the mesh. */ -}}
{{- define "ambient.labels" -}}
{{- $root := index . 0 -}}
{{ include "ambient.selector" . }}
app.kubernetes.io/part-of: ambient-mesh
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{- /* The labels by which pods are found; they never change. Arguments as above. */ -}}
{{- define "ambient.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{- define "ambient.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "ambient.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Every container starts from nothing and adds what it needs. Argument: a list of capabilities. */ -}}
{{- define "ambient.root" -}}
# setns(2) and bpf(2) want their capabilities to be in effect, and Kubernetes puts them into effect for uid 0 alone.
runAsUser: 0
runAsGroup: 0
runAsNonRoot: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
seccompProfile: {type: RuntimeDefault}
capabilities:
  drop: [ALL]
  add: {{ toJson . }}
{{- end }}

{{- /* From 1.30 on a field says it, before that an annotation. The runtimes' own profile forbids mounts and to look into other processes. */ -}}
{{- define "ambient.appArmorField" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
appArmorProfile: {type: Unconfined}
{{- end }}
{{- end }}

{{- /* A pod that began with other settings is replaced. */ -}}
{{- define "ambient.settingsChecksum" -}}
ambient.istio.io/settings: {{ include (print .Template.BasePath "/settings.yaml") . | sha256sum | trunc 16 }}
{{- end }}
