{{/*
The pod of the operating room: navigation and poses, and beside them, started before and ended after, Triton and the
theatre's own preprocessing and fusion. All find each other in the pod's home and pass volumes through its /dev/shm.
*/}}
{{- define "glioserve.pod.theatre" -}}
{{- $theatre := .Values.theatre -}}
{{- $mode := include "glioserve.theatreGpu" . -}}
{{- $sessions := int $theatre.scale.sessions -}}
{{- $tmpfs := mul $sessions (add (int $theatre.sessionMiB) (int $theatre.posesMiB)) -}}
{{- $shm := include "glioserve.sharedMemoryMiB" (dict "root" . "mode" $mode "callers" 1 "tmpfs" $tmpfs) | int -}}
{{- $tls := include "glioserve.tlsEnv" . | fromYaml -}}
{{- $health := (include "glioserve.processes" . | fromYaml).navigation.health -}}
containers:
  - process: navigation
    values: {{ $theatre.navigation | toJson }}
    shm: {{ $shm }}
    scratch: 2048
    address: true
    linger: {{ int $theatre.drainSeconds }}
    lingerPort: {{ $health }}
    ports: {navigation: 7443}
    env: {{ merge (include "glioserve.navigationEnv" . | fromYaml) $tls | toJson }}
  - process: poses
    values: {{ $theatre.poses | toJson }}
    shm: {{ $shm }}
    linger: {{ int $theatre.drainSeconds }}
    lingerPort: {{ $health }}
    ports: {poses: 7444}
    env: {{ merge (dict "GLIOSERVE_NAVIGATION_POSES__HOST" "0.0.0.0" "GLIOSERVE_NAVIGATION_POSES__PORT" "7444") $tls | toJson }}
sidecars:
  {{- $stage := merge (include "glioserve.theatreStageEnv" . | fromYaml) $tls }}
  - process: preprocessing
    values: {{ $theatre.preprocessing | toJson }}
    shm: {{ $shm }}
    env: {{ toJson $stage }}
  - process: fusion_segmentation
    values: {{ $theatre.fusion_segmentation | toJson }}
    shm: {{ $shm }}
    env: {{ merge (dict "GLIOSERVE_TRITON_URL" "127.0.0.1:8001") $stage | toJson }}
triton:
  values: {{ $theatre.triton | toJson }}
  mode: {{ $mode }}
  local: true
  sidecar: true
  shm: {{ $shm }}
models: all
shm: {{ $shm }}
home: 2048
grace: {{ add 90 (int $theatre.drainSeconds) (int .Values.triton.drainSeconds) }}
gpu: {{ $mode }}
priorityClass: {{ include "glioserve.theatrePriority" . }}
{{- end }}

{{/* Classes belong to the whole cluster: the name tells releases of several namespaces apart. */}}
{{- define "glioserve.theatrePriority" -}}
{{- default (printf "%s-%s" .Release.Namespace (include "glioserve.fullname" (dict "root" . "component" "theatre")) | trunc 63) .Values.theatre.priorityClass.name -}}
{{- end }}

{{/* A token names the pod's own address: the Service would lead a client that comes back to another pod. */}}
{{- define "glioserve.navigationEnv" -}}
{{- $theatre := .Values.theatre -}}
{{- $sessions := int $theatre.scale.sessions -}}
{{- include "glioserve.blobsEnv" . }}
GLIOSERVE_NAVIGATION__HOST: 0.0.0.0
GLIOSERVE_NAVIGATION__PORT: "7443"
GLIOSERVE_NAVIGATION__ADVERTISED: $(POD_IP):7443
GLIOSERVE_NAVIGATION__POSES_ADVERTISED: $(POD_IP):7444
GLIOSERVE_NAVIGATION__GATEWAY: {{ include "glioserve.fullname" (dict "root" . "component" "gateway") }}:7445
GLIOSERVE_NAVIGATION__SESSIONS: {{ $sessions | quote }}
{{ include "glioserve.theatreStoreEnv" . }}
{{- if .Values.vault.existingSecret }}
GLIOSERVE_NAVIGATION__PSEUDONYM_KEY: /secrets/pseudonym-key/pseudonym.key
{{- end }}
{{- end }}

{{/* The theatre's stages: one door, on loopback; volumes in the tmpfs of their sessions. */}}
{{- define "glioserve.theatreStageEnv" -}}
GLIOSERVE_STAGE__LANE: theatre
{{ include "glioserve.theatreStoreEnv" . }}
{{- end }}

{{- define "glioserve.theatreStoreEnv" -}}
{{- $bytes := mul (int .Values.theatre.sessionMiB) 1048576 -}}
GLIOSERVE_TMPFS__SESSION_BYTES: {{ $bytes | quote }}
GLIOSERVE_TMPFS__TOTAL_BYTES: {{ mul $bytes (int .Values.theatre.scale.sessions) | quote }}
{{- end }}
