{{/*
The pod of the operating room: navigation and poses, and beside them, started before and ended after, Triton and the
theatre's own preprocessing and fusion. All find each other in the pod's home and pass volumes through its /dev/shm.
*/}}
{{- define "glioserve.pod.theatre" -}}
{{- $theatre := .Values.theatre -}}
{{- $mode := include "glioserve.theatreGpu" . -}}
{{- $tmpfs := mul (int $theatre.scale.sessions) (int $theatre.sessionMiB) -}}
{{- $shm := include "glioserve.sharedMemoryMiB" (dict "root" . "mode" $mode "callers" 1 "tmpfs" $tmpfs) | int -}}
{{- $secrets := dict "navigation-tls" $theatre.tlsSecret -}}
{{- $mounts := dict "navigation-tls" "/secrets/navigation-tls" -}}
containers:
  - process: navigation
    values: {{ $theatre.navigation | toJson }}
    shm: {{ $shm }}
    scratch: 2048
    ports: {navigation: 7443}
    env: {{ include "glioserve.navigationEnv" . | fromYaml | toJson }}
    secrets: {{ toJson $mounts }}
  - process: poses
    values: {{ $theatre.poses | toJson }}
    shm: {{ $shm }}
    ports: {poses: 7444}
    env: {{ include "glioserve.posesEnv" . | fromYaml | toJson }}
    secrets: {{ toJson $mounts }}
sidecars:
  - process: preprocessing
    values: {{ $theatre.preprocessing | toJson }}
    shm: {{ $shm }}
    env:
      GLIOSERVE_STAGE__LANE: theatre
  - process: fusion_segmentation
    values: {{ $theatre.fusion_segmentation | toJson }}
    shm: {{ $shm }}
    env:
      GLIOSERVE_STAGE__LANE: theatre
      GLIOSERVE_TRITON_URL: 127.0.0.1:8001
triton:
  values: {{ $theatre.triton | toJson }}
  mode: {{ $mode }}
  local: true
  sidecar: true
  shm: {{ $shm }}
models: all
shm: {{ $shm }}
home: 2048
secrets: {{ toJson $secrets }}
grace: {{ add 60 (int $theatre.drainSeconds) }}
gpu: {{ $mode }}
priorityClass: {{ default (include "glioserve.fullname" (dict "root" . "component" "theatre")) $theatre.priorityClass.name }}
{{- end }}

{{- define "glioserve.navigationEnv" -}}
GLIOSERVE_NAVIGATION__HOST: 0.0.0.0
GLIOSERVE_NAVIGATION__PORT: "7443"
{{- end }}

{{- define "glioserve.posesEnv" -}}
GLIOSERVE_NAVIGATION__PORT: "7444"
{{- end }}
