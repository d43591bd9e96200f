{{/*
Every workload of the chart. dict:
  root, component
  pod  what `glioserve.pod.<component>` states:
    containers, sidecars   lists for glioserve.container (without root); a sidecar starts before and ends after them
    triton                 for glioserve.tritonContainer (without root), if one runs in the pod
    models                 all | manifest: what the pod gets of the model repository
    shm                    MiB of memory-backed /dev/shm
    home                   MiB of its home folder, or `claim`: a volume that outlives it
    grace                  seconds from the signal to the end
    gpu                    gpu mode
    priorityClass, token (a service account with an API token), spreadHard
*/}}
{{- define "glioserve.workload" -}}
{{- $pod := .pod -}}
{{- $names := dict "root" .root "component" .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "glioserve.fullname" $names }}
  labels: {{- include "glioserve.labels" $names | nindent 4 }}
spec:
  {{- if eq (include "glioserve.scaledBy" $names) "none" }}
  replicas: {{ include "glioserve.replicas" $names }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy: {{- ternary (dict "type" "Recreate") (dict "type" "RollingUpdate" "rollingUpdate" (dict "maxUnavailable" 0 "maxSurge" 1)) (ne (default "" $pod.claim) "") | toYaml | nindent 4 }}
  selector:
    matchLabels: {{- include "glioserve.selectorOf" $names | nindent 6 }}
  template:
    metadata:
      labels: {{- include "glioserve.selectorOf" $names | nindent 8 }}
        app.kubernetes.io/name: {{ include "glioserve.name" .root }}
        app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
    spec:
      {{- include "glioserve.podSpec" . | nindent 6 }}
{{- end }}

{{- define "glioserve.podSpec" -}}
{{- $root := .root -}}
{{- $pod := .pod -}}
serviceAccountName: {{ include "glioserve.fullname" . }}
automountServiceAccountToken: {{ default false $pod.token }}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ int $pod.grace }}
{{- with $pod.priorityClass }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - {name: {{ . }}}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- if and $pod.gpu (ne $pod.gpu "none") }}
{{- with $root.Values.gpu.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.gpu.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
topologySpreadConstraints:
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "glioserve.selectorOf" . | nindent 8 }}
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" (default false $pod.spreadHard) }}
    labelSelector:
      matchLabels: {{- include "glioserve.selectorOf" . | nindent 8 }}
{{- $before := or $pod.models $pod.sidecars (and $pod.triton $pod.triton.sidecar) }}
{{- if $before }}
initContainers:
  {{- if $pod.models }}
  {{- include "glioserve.modelsContainer" (dict "root" $root "what" $pod.models) | nindent 2 }}
  {{- end }}
  {{- if and $pod.triton $pod.triton.sidecar }}
  {{- include "glioserve.tritonContainer" (merge (dict "root" $root) $pod.triton) | nindent 2 }}
  {{- end }}
  {{- range $pod.sidecars }}
  {{- include "glioserve.container" (merge (dict "root" $root "sidecar" true) .) | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  {{- if and $pod.triton (not $pod.triton.sidecar) }}
  {{- include "glioserve.tritonContainer" (merge (dict "root" $root) $pod.triton) | nindent 2 }}
  {{- end }}
  {{- range $pod.containers }}
  {{- include "glioserve.container" (merge (dict "root" $root) .) | nindent 2 }}
  {{- end }}
volumes:
  {{- include "glioserve.volumes" . | nindent 2 }}
{{- end }}

{{- define "glioserve.volumes" -}}
{{- $values := .root.Values -}}
{{- $pod := .pod -}}
{{- if $pod.claim }}
- name: home
  persistentVolumeClaim: {claimName: {{ $pod.claim }}}
{{- else }}
- name: home
  emptyDir: {sizeLimit: {{ int $pod.home }}Mi}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if $pod.shm }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ int $pod.shm }}Mi}
{{- end }}
{{- if $pod.models }}
- name: models
  emptyDir: {sizeLimit: {{ int $values.models.sizeMiB }}Mi}
{{- with $values.models.existingClaim }}
- name: models-source
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- end }}
{{- $secrets := dict }}
{{- range concat $pod.containers (default list $pod.sidecars) }}{{ $secrets = merge $secrets (include "glioserve.secretsOf" (merge (dict "root" $.root) .) | fromJson) }}{{ end }}
{{- range $volume, $secret := $secrets }}
- name: {{ $volume }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- end }}
