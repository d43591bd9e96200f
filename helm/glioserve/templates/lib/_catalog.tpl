{{/*
What the chart knows of each process, apart from what a site sets: image, module, where it shows its health, which
ports it opens, what it needs beside it. Each process has a health port of its own: several share a pod in two shapes.
  settings  prefix of its names in the environment (GLIOSERVE_<settings>__HEALTH_PORT)
  serves    callers come to it: it waits before it stops, until no new ones are sent to it
*/}}
{{- define "glioserve.processes" -}}
gateway: {image: gateway, module: services.gateway, settings: GATEWAY, health: 9100, serves: true}
preprocessing: {image: preprocessing, module: services.preprocessing, settings: STAGE, health: 9101, stage: prepare}
fusion_segmentation: {image: fusion_segmentation, module: services.fusion_segmentation, settings: STAGE, health: 9102, stage: segment, models: manifest}
molecular_subtyping: {image: molecular_subtyping, module: services.molecular_subtyping, settings: STAGE, health: 9103, stage: subtype}
monitoring: {image: monitoring, module: services.monitoring, settings: STAGE, health: 9104, stage: compare}
reporting: {image: reporting, module: services.reporting, settings: STAGE, health: 9105, stage: report}
navigation: {image: navigation, module: services.navigation, settings: NAVIGATION, health: 9106, serves: true}
poses: {image: navigation, module: services.navigation.poses, settings: NAVIGATION_POSES, health: 9107, serves: true}
sentinel: {image: fusion_segmentation, module: services.fusion_segmentation.sentinel, settings: SENTINEL, health: 9108, models: manifest}
{{- end }}

{{- define "glioserve.stages" -}}
[preprocessing, fusion_segmentation, molecular_subtyping, monitoring, reporting]
{{- end }}

{{/* The components (pods of one kind) of this release. */}}
{{- define "glioserve.components" -}}
{{- if eq .Values.shape "single" }}
- machine
{{- else }}
- gateway
{{- range include "glioserve.stages" . | fromYamlArray }}
- {{ . }}
{{- end }}
{{- if not .Values.triton.externalAddress }}
- triton
{{- end }}
{{- end }}
{{- if .Values.theatre.enabled }}
- theatre
{{- end }}
{{- end }}

{{/* dict root, process -> the component whose pods run this ward process. */}}
{{- define "glioserve.componentOf" -}}
{{- if eq .root.Values.shape "single" }}machine{{ else }}{{ .process }}{{ end -}}
{{- end }}

{{/* dict root, component -> how many pods at least, as the site has set it. */}}
{{- define "glioserve.minimum" -}}
{{- $values := .root.Values -}}
{{- if eq .component "machine" }}1
{{- else if has .component (list "gateway" "triton") }}{{ (get $values .component).scale.min }}
{{- else if eq .component "theatre" }}{{ $values.theatre.scale.spare }}
{{- else }}{{ (get $values.stages .component).scale.min }}
{{- end -}}
{{- end }}
