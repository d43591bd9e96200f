{{/*
Triton as a container, alone in its pod or beside its callers. dict root, values (resources), mode (gpu mode), local (only
callers in this pod), shm, sidecar. The name under which models could be changed is made at start and told to nobody.
Its HTTP port is for probes alone: models and inference are locked there, so it is not among the ports of the pod.
*/}}
{{- define "glioserve.tritonContainer" -}}
{{- $values := .root.Values -}}
{{- $cpu := eq .mode "none" -}}
- name: triton
  image: {{ if $cpu }}{{ include "glioserve.image" (dict "root" .root "image" "triton") }}{{ else }}{{ $values.triton.gpuImage }}{{ end }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  {{- if .sidecar }}
  restartPolicy: Always
  {{- end }}
  command:
    - /bin/sh
    - -c
    - |
      key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
      exec {{ if $cpu }}/opt/triton/bin/glioserve-triton{{ else }}tritonserver{{ end }} "$@" \
        "--grpc-restricted-protocol=model-repository,trace,logging:glioserve-$key=$key" \
        "--http-restricted-api=inference,shared-memory,model-repository,trace,logging:glioserve-$key=$key"
    - triton
    - --model-repository=/models
    - --model-control-mode=explicit
    {{- range $values.triton.models }}
    - --load-model={{ . }}
    {{- end }}
    - --disable-auto-complete-config
    - --grpc-address={{ ternary "127.0.0.1" "0.0.0.0" .local }}
    - --grpc-port=8001
    - --http-address=0.0.0.0
    - --http-port=8000
    - --http-thread-count=2
    - --metrics-address=0.0.0.0
    - --metrics-port=8002
    - --exit-timeout-secs={{ int $values.triton.drainSeconds }}
    {{- if $cpu }}
    - --model-config-name=cpu
    - --allow-gpu-metrics=false
    - --pinned-memory-pool-byte-size=0
    - --backend-config=python,shm-region-prefix-name=glioserve-triton
    {{- end }}
    {{- if $values.otlpEndpoint }}
    - --trace-config=mode=opentelemetry
    - --trace-config=opentelemetry,url={{ $values.otlpEndpoint }}
    - --trace-config=rate=0
    - --trace-config=level=TIMESTAMPS
    {{- end }}
  ports:
    - {name: triton-grpc, containerPort: 8001, protocol: TCP}
    - {name: triton-metrics, containerPort: 8002, protocol: TCP}
  {{- /* Ready here means loaded. That it computes is the canary's word: the sentinel or the process beside it. */}}
  startupProbe:
    httpGet: {path: /v2/health/ready, port: 8000}
    periodSeconds: 2
    timeoutSeconds: 3
    failureThreshold: {{ div (int $values.triton.startSeconds) 2 }}
  readinessProbe:
    httpGet: {path: /v2/health/ready, port: 8000}
    periodSeconds: 5
    timeoutSeconds: 4
    failureThreshold: 2
  livenessProbe:
    httpGet: {path: /v2/health/live, port: 8000}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  {{- if not .local }}
  lifecycle:
    preStop: {sleep: {seconds: 5}}
  {{- end }}
  resources:
    {{- $gpu := ternary "" (get $values.gpu.resources .mode) $cpu }}
    {{- include "glioserve.resources" (dict "values" .values "shm" .shm "shmOwner" true "scratch" 0 "gpu" $gpu) | nindent 4 }}
  securityContext:
    {{- include "glioserve.securityContext" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models, readOnly: true}
    - {name: tmp, mountPath: /tmp}
    - {name: shm, mountPath: /dev/shm}
{{- end }}

{{/*
MiB of /dev/shm. dict root, mode (gpu mode), callers (processes that send tensors through it), tmpfs (MiB of files).
Callers keep `setsPerCaller` tensor sets registered; the python backend (CPU) maps `setsPerModel` for each model.
*/}}
{{- define "glioserve.sharedMemoryMiB" -}}
{{- $shared := .root.Values.triton.sharedMemory -}}
{{- $set := float64 $shared.tensorSetMiB -}}
{{- $callers := mulf (float64 .callers) (float64 $shared.setsPerCaller) $set -}}
{{- $models := ternary (mulf (float64 (len .root.Values.triton.models)) (float64 $shared.setsPerModel) $set) 0.0 (eq .mode "none") -}}
{{- ceil (addf $callers $models 16 (float64 .tmpfs)) | int -}}
{{- end }}

{{/* root -> gpu mode of theatre pods. */}}
{{- define "glioserve.theatreGpu" -}}
{{- default .Values.gpu.mode .Values.gpu.theatreMode -}}
{{- end }}

{{/* The init container that checks the models by digest before anything reads them. dict root, what: all | manifest. */}}
{{- define "glioserve.modelsContainer" -}}
{{- $values := .root.Values -}}
- name: models
  image: {{ include "glioserve.image" (dict "root" .root "image" "models") }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  command: [/opt/glioserve/bin/python, -m, services.core.triton.delivery, deliver]
  args:
    - --from={{ ternary "/source" "/opt/glioserve/triton_models" (ne $values.models.existingClaim "") }}
    - --to=/models
    {{- if eq .what "manifest" }}
    - --only-manifest
    {{- end }}
    {{- if $values.models.treeDigest }}
    - --digest={{ $values.models.treeDigest }}
    {{- end }}
  resources:
    requests: {cpu: 100m, memory: 256Mi, ephemeral-storage: {{ int $values.models.sizeMiB }}Mi}
    limits: {cpu: "1", memory: 256Mi, ephemeral-storage: {{ int $values.models.sizeMiB }}Mi}
  securityContext:
    {{- include "glioserve.securityContext" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    {{- if $values.models.existingClaim }}
    - {name: models-source, mountPath: /source, readOnly: true}
    {{- end }}
{{- end }}
