{{/* How the pods of each component are counted. */}}

{{/* root -> keda | hpa | none */}}
{{- define "glioserve.autoscaler" -}}
{{- $mode := .Values.autoscaling.mode -}}
{{- if ne $mode "auto" }}{{ $mode }}{{ else if .Capabilities.APIVersions.Has "keda.sh/v1alpha1" }}keda{{ else }}hpa{{ end -}}
{{- end }}

{{/*
dict root, component -> what scales it: keda | hpa | none. The gateway has no backlog: CPU in any case; so has the pool
where KEDA has no Prometheus to ask. Open sessions use no CPU while nobody sends a series, so theatre pods then keep
their number. One pod that owns a volume is never scaled.
*/}}
{{- define "glioserve.scaledBy" -}}
{{- $mode := include "glioserve.autoscaler" .root -}}
{{- $asked := and (has .component (list "triton" "theatre")) (not .root.Values.autoscaling.prometheusAddress) -}}
{{- if and (eq $mode "keda") (or $asked (eq .component "gateway")) }}{{ $mode = "hpa" }}{{ end -}}
{{- if or (eq $mode "none") (eq .component "machine") (and (eq .component "theatre") (eq $mode "hpa")) }}none
{{- else }}{{ $mode }}{{ end -}}
{{- end }}

{{/* dict root, component -> number of pods where nothing scales it. */}}
{{- define "glioserve.replicas" -}}
{{- if eq .component "theatre" }}{{ .root.Values.theatre.scale.fixed }}{{ else }}{{ include "glioserve.minimum" . }}{{ end -}}
{{- end }}

{{/* dict root, component -> the most pods; a stage never has more than its topics have partitions. */}}
{{- define "glioserve.maximum" -}}
{{- $values := .root.Values -}}
{{- if has .component (list "gateway" "triton" "theatre") }}{{ (get $values .component).scale.max }}
{{- else }}{{ (get $values.stages .component).scale.max }}
{{- end -}}
{{- end }}

{{/* How far apart pods go: one a minute, after the need was low for longer than the longest job. dict root, component */}}
{{- define "glioserve.scaleBehavior" -}}
{{- $auto := .root.Values.autoscaling -}}
scaleDown:
  stabilizationWindowSeconds: {{ ternary $auto.theatreScaleDownSeconds $auto.scaleDownSeconds (eq .component "theatre") | int }}
  policies: [{type: Pods, value: 1, periodSeconds: 60}]
scaleUp:
  stabilizationWindowSeconds: 0
  policies: [{type: Pods, value: 2, periodSeconds: 15}]
{{- end }}

{{- define "glioserve.hpa" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "glioserve.fullname" . }}
  labels: {{- include "glioserve.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "glioserve.fullname" . }}}
  minReplicas: {{ include "glioserve.minimum" . }}
  maxReplicas: {{ include "glioserve.maximum" . }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ int .root.Values.autoscaling.cpuPercent }}}}
  behavior: {{- include "glioserve.scaleBehavior" . | nindent 4 }}
{{- end }}

{{- define "glioserve.scaledObject" -}}
{{- $auto := .root.Values.autoscaling -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ include "glioserve.fullname" . }}
  labels: {{- include "glioserve.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "glioserve.fullname" . }}}
  pollingInterval: {{ int $auto.pollingSeconds }}
  minReplicaCount: {{ include "glioserve.minimum" . }}
  maxReplicaCount: {{ include "glioserve.maximum" . }}
  {{- /* A source of numbers that dies must not take pods away. */}}
  fallback: {failureThreshold: 3, replicas: {{ include "glioserve.minimum" . }}, behavior: currentReplicasIfHigher}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {{- include "glioserve.scaleBehavior" . | nindent 8 }}
  triggers:
    {{- if has .component (list "triton" "theatre") }}
    {{- include "glioserve.prometheusTrigger" . | nindent 4 }}
    {{- else }}
    {{- include "glioserve.lagTriggers" . | nindent 4 }}
    {{- end }}
{{- end }}

{{/*
One trigger a topic: both lanes and their retries. Urgent studies start a pod each. Lag that stands still counts: a
study takes longer than the time between two looks, and its offset moves only when it is done; a bad message leaves for
the dead letters by itself. A topic without lag does not hold the others down.
*/}}
{{- define "glioserve.lagTriggers" -}}
{{- $stage := (get (include "glioserve.processes" .root | fromYaml) .component).stage -}}
{{- $lag := (get .root.Values.stages .component).scale.lag -}}
{{- $servers := join "," .root.Values.bus.bootstrapServers -}}
{{- range $lane, $threshold := dict "stat" 1 "routine" (int $lag) }}
{{- range $suffix := list "" ".retry" }}
- type: kafka
  metricType: AverageValue
  metadata:
    bootstrapServers: {{ $servers | quote }}
    consumerGroup: glioserve.{{ $stage }}
    topic: glioserve.study.{{ $stage }}.{{ $lane }}.v1{{ $suffix }}
    lagThreshold: {{ $threshold | quote }}
    offsetResetPolicy: earliest
    allowIdleConsumers: "false"
    excludePersistentLag: "false"
    limitToPartitionsWithLag: "true"
{{- end }}
{{- end }}
{{- end }}

{{/* The pool by requests that wait in its servers; the theatre by open sessions, with the warm spare on top. */}}
{{- define "glioserve.prometheusTrigger" -}}
{{- $values := .root.Values -}}
{{- $which := printf "namespace=%q,pod=~%q" .root.Release.Namespace (printf "%s-.+" (include "glioserve.fullname" .)) -}}
- type: prometheus
  metricType: AverageValue
  metadata:
    serverAddress: {{ $values.autoscaling.prometheusAddress | quote }}
    ignoreNullValues: "false"
    {{- if eq .component "triton" }}
    query: {{ printf "sum(nv_inference_pending_request_count{%s})" $which | quote }}
    threshold: {{ $values.triton.scale.pending | quote }}
    {{- else }}
    {{- $sessions := int $values.theatre.scale.sessions }}
    query: {{ printf "sum(glioserve_navigation_sessions{%s}) + %d" $which (mul $sessions (int $values.theatre.scale.spare)) | quote }}
    threshold: {{ $sessions | quote }}
    {{- end }}
{{- end }}
