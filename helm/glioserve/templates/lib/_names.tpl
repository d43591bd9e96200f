{{/* Names, labels and images. Everything that names an object or a pod goes through here. */}}

{{- define "glioserve.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The release's prefix: `glioserve` alone where the release has the chart's name. */}}
{{- define "glioserve.prefix" -}}
{{- $name := include "glioserve.name" . -}}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{/* dict root, component -> the object's name; underscores of service names become dashes. */}}
{{- define "glioserve.fullname" -}}
{{- printf "%s-%s" (include "glioserve.prefix" .root) (.component | replace "_" "-") -}}
{{- end }}

{{/* What selects every pod of this release: monitors and network policies use it. */}}
{{- define "glioserve.selector" -}}
app.kubernetes.io/part-of: glioserve
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* dict root, component -> what selects the pods of one component. */}}
{{- define "glioserve.selectorOf" -}}
{{ include "glioserve.selector" .root }}
app.kubernetes.io/component: {{ .component | replace "_" "-" }}
{{- end }}

{{/* dict root, component -> all labels of an object. */}}
{{- define "glioserve.labels" -}}
{{ include "glioserve.selectorOf" . }}
app.kubernetes.io/name: {{ include "glioserve.name" .root }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* dict root, image -> reference. A digest wins over the tag. */}}
{{- define "glioserve.image" -}}
{{- $image := .root.Values.image -}}
{{- $repository := printf "%s/%s" (trimSuffix "/" $image.registry) .image -}}
{{- $digest := get $image.digests .image -}}
{{- if $digest }}{{ printf "%s@%s" $repository $digest }}{{ else }}{{ printf "%s:%s" $repository (default .root.Chart.AppVersion $image.tag) }}{{ end -}}
{{- end }}
