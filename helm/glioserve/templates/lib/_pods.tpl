{{/* What stands in the pods of each component, as data for glioserve.workload. All take the root. */}}

{{/* How a ward process stops: it ends its step or gives the request back within the drain time of its loop (30 s). */}}
{{- define "glioserve.wardGrace" -}}50{{- end }}

{{- define "glioserve.pod.gateway" -}}
containers:
  - {{ include "glioserve.gatewayProcess" . | fromYaml | toJson }}
home: {{ add 512 (int .Values.gateway.stagingMiB) }}
grace: {{ include "glioserve.wardGrace" . }}
spreadHard: true
{{- end }}

{{- define "glioserve.gatewayProcess" -}}
{{- $gateway := .Values.gateway -}}
process: gateway
values: {{ pick $gateway "resources" "env" | toJson }}
scratch: {{ add 512 (int $gateway.stagingMiB) }}
ports:
  https: 8443
  {{- if $gateway.dicom.enabled }}
  dicom: 11112
  {{- end }}
  {{- if .Values.theatre.enabled }}
  theatre: 7445
  {{- end }}
env:
  {{- include "glioserve.wardEnv" . | nindent 2 }}
  GLIOSERVE_GATEWAY__HOST: 0.0.0.0
  GLIOSERVE_GATEWAY__PORT: "8443"
  GLIOSERVE_GATEWAY__PARTITIONS: {{ .Values.bus.partitions | quote }}
  GLIOSERVE_GATEWAY__TLS_CERTIFICATE: /secrets/gateway-tls/tls.crt
  GLIOSERVE_GATEWAY__TLS_KEY: /secrets/gateway-tls/tls.key
  GLIOSERVE_GATEWAY__TOKENS: /secrets/gateway-tokens/tokens
  {{- if .Values.state.existingSecret }}
  GLIOSERVE_GATEWAY__STATE__URL_FILE: /secrets/postgresql/url
  {{- if .Values.state.ownAuthority }}
  GLIOSERVE_GATEWAY__STATE__CA: /secrets/postgresql/ca.crt
  {{- end }}
  {{- end }}
  {{- if .Values.vault.existingSecret }}
  GLIOSERVE_GATEWAY__PSEUDONYM_KEY: /secrets/pseudonym-key/pseudonym.key
  {{- end }}
  {{- if .Values.vault.databaseSecret }}
  GLIOSERVE_GATEWAY__VAULT__URL_FILE: /secrets/vault/url
  {{- if .Values.state.ownAuthority }}
  GLIOSERVE_GATEWAY__VAULT__CA: /secrets/vault/ca.crt
  {{- end }}
  {{- end }}
  {{- if .Values.theatre.enabled }}
  GLIOSERVE_GATEWAY__THEATRE_HOST: 0.0.0.0
  GLIOSERVE_GATEWAY__THEATRE_PORT: "7445"
  {{- include "glioserve.tlsEnv" . | nindent 2 }}
  {{- end }}
  {{- if $gateway.dicom.enabled }}
  GLIOSERVE_GATEWAY__DICOM__HOST: 0.0.0.0
  GLIOSERVE_GATEWAY__DICOM__PORT: "11112"
  GLIOSERVE_GATEWAY__DICOM__CALLING: {{ join "," $gateway.dicom.calling | quote }}
  GLIOSERVE_GATEWAY__DICOM__TLS_CERTIFICATE: /secrets/dicom-tls/tls.crt
  GLIOSERVE_GATEWAY__DICOM__TLS_KEY: /secrets/dicom-tls/tls.key
  GLIOSERVE_GATEWAY__DICOM__TLS_PEERS: /secrets/dicom-tls/ca.crt
  {{- end }}
{{- end }}

{{/* dict root, process, triton (address), shm -> a stage of the ward */}}
{{- define "glioserve.stageProcess" -}}
{{- $stage := get .root.Values.stages .process -}}
process: {{ .process }}
values: {{ pick $stage "resources" "env" | toJson }}
scratch: {{ int $stage.scratchMiB }}
shm: {{ int .shm }}
env:
  {{- include "glioserve.wardEnv" .root | nindent 2 }}
  GLIOSERVE_STAGE__PARTITIONS: {{ .root.Values.bus.partitions | quote }}
  {{- if eq .process "fusion_segmentation" }}
  GLIOSERVE_TRITON_URL: {{ .triton | quote }}
  {{- end }}
{{- end }}

{{/* dict root, process */}}
{{- define "glioserve.pod.stage" -}}
{{- $triton := default (printf "%s:8001" (include "glioserve.fullname" (dict "root" .root "component" "triton"))) .root.Values.triton.externalAddress -}}
containers:
  - {{ include "glioserve.stageProcess" (dict "root" .root "process" .process "triton" $triton "shm" 0) | fromYaml | toJson }}
home: {{ int (get .root.Values.stages .process).scratchMiB }}
grace: {{ include "glioserve.wardGrace" . }}
{{- if eq .process "fusion_segmentation" }}
models: manifest
{{- end }}
{{- end }}

{{/* The ward's pool: Triton, and the canary whose readiness is the pod's. */}}
{{- define "glioserve.pod.triton" -}}
{{- $shm := include "glioserve.sharedMemoryMiB" (dict "root" . "mode" .Values.gpu.mode "callers" 0 "tmpfs" 0) | int -}}
containers:
  - process: sentinel
    values: {{ .Values.triton.sentinel | toJson }}
    env:
      GLIOSERVE_TRITON_URL: 127.0.0.1:8001
triton:
  values: {{ pick .Values.triton "resources" | toJson }}
  mode: {{ .Values.gpu.mode }}
  local: false
  sidecar: false
  shm: {{ $shm }}
models: all
shm: {{ $shm }}
home: 64
grace: {{ add 15 (int .Values.triton.drainSeconds) }}
gpu: {{ .Values.gpu.mode }}
{{- end }}

{{/* The whole ward in one pod, over one volume. Triton starts before its callers and ends after them. */}}
{{- define "glioserve.pod.machine" -}}
{{- $shm := include "glioserve.sharedMemoryMiB" (dict "root" . "mode" .Values.gpu.mode "callers" 1 "tmpfs" 0) | int -}}
{{- $root := . -}}
containers:
  - {{ include "glioserve.gatewayProcess" . | fromYaml | toJson }}
  {{- range include "glioserve.stages" . | fromYamlArray }}
  - {{ include "glioserve.stageProcess" (dict "root" $root "process" . "triton" "127.0.0.1:8001" "shm" (ternary $shm 0 (eq . "fusion_segmentation"))) | fromYaml | toJson }}
  {{- end }}
triton:
  values: {{ pick .Values.triton "resources" | toJson }}
  mode: {{ .Values.gpu.mode }}
  local: true
  sidecar: true
  shm: {{ $shm }}
models: all
shm: {{ $shm }}
claim: {{ default (include "glioserve.fullname" (dict "root" . "component" "machine")) .Values.machine.existingClaim }}
grace: {{ add 15 (include "glioserve.wardGrace" . | int) (int .Values.triton.drainSeconds) }}
gpu: {{ .Values.gpu.mode }}
{{- end }}

{{/* root, component -> the pod of a component */}}
{{- define "glioserve.pod" -}}
{{- if has .component (include "glioserve.stages" .root | fromYamlArray) -}}
{{ include "glioserve.pod.stage" (dict "root" .root "process" .component) }}
{{- else -}}
{{ include (printf "glioserve.pod.%s" .component) .root }}
{{- end -}}
{{- end }}
