{{/*
One process as a container. dict:
  root, process   what runs (glioserve.processes)
  values          `resources` and `env` of the site
  env             names and values that its place in the pod gives it
  shm             MiB of shared memory that it maps (0: none); counted in its memory limit, because the pages belong to
                  whoever writes them first
  shmOwner        counts them in its request too, once a pod
  scratch         MiB of the home that it may fill
  address         knows the pod's address as $(POD_IP)
  linger          seconds for which it waits, before its stop, until no session is open
  sidecar         starts before and ends after the others
*/}}
{{- define "glioserve.container" -}}
{{- $facts := get (include "glioserve.processes" .root | fromYaml) .process -}}
{{- $health := int $facts.health -}}
- name: {{ .process | replace "_" "-" }}
  image: {{ include "glioserve.image" (dict "root" .root "image" $facts.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  {{- if .sidecar }}
  restartPolicy: Always
  {{- end }}
  command: [/opt/glioserve/bin/python, -m, {{ $facts.module }}]
  env:
    {{- if .address }}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    {{- end }}
    {{- include "glioserve.env" (dict "root" .root "facts" $facts "own" .env "site" .values.env) | trim | nindent 4 }}
  ports:
    - {name: health, containerPort: {{ $health }}, protocol: TCP}
    {{- range $name, $port := .ports }}
    - {name: {{ $name }}, containerPort: {{ int $port }}, protocol: TCP}
    {{- end }}
  {{- /* A dependency that is away is no reason to restart: start and life ask the process alone, readiness asks all. */}}
  startupProbe:
    httpGet: {path: /live, port: {{ $health }}}
    periodSeconds: 2
    timeoutSeconds: 3
    failureThreshold: 90
  readinessProbe:
    httpGet: {path: /ready, port: {{ $health }}}
    periodSeconds: 5
    timeoutSeconds: 4
    failureThreshold: 2
  livenessProbe:
    httpGet: {path: /live, port: {{ $health }}}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  {{- if .linger }}
  lifecycle:
    preStop:
      exec:
        command: [/opt/glioserve/bin/python, -m, services.navigation.linger, --port={{ .lingerPort }}, --within={{ .linger }}]
  {{- else if $facts.serves }}
  lifecycle:
    preStop: {sleep: {seconds: 5}}
  {{- end }}
  resources:
    {{- include "glioserve.resources" . | nindent 4 }}
  securityContext:
    {{- include "glioserve.securityContext" . | nindent 4 }}
  volumeMounts:
    - {name: home, mountPath: /var/lib/glioserve}
    - {name: tmp, mountPath: /tmp}
    {{- if $facts.models }}
    - {name: models, mountPath: /models, readOnly: true}
    {{- end }}
    {{- if .shm }}
    - {name: shm, mountPath: /dev/shm}
    {{- end }}
    {{- range $volume, $secret := include "glioserve.secretsOf" . | fromJson }}
    - {name: {{ $volume }}, mountPath: /secrets/{{ $volume }}, readOnly: true}
    {{- end }}
{{- end }}

{{/* dict values.resources, shm, shmOwner, scratch, gpu (resource name) -> requests and limits. Memory is both in one. */}}
{{- define "glioserve.resources" -}}
{{- $resources := .values.resources -}}
{{- $memory := int $resources.memoryMiB -}}
{{- $shm := int .shm -}}
{{- $disk := add 256 (int .scratch) -}}
requests:
  cpu: {{ $resources.cpu | quote }}
  memory: {{ add $memory (ternary $shm 0 (default false .shmOwner)) }}Mi
  ephemeral-storage: {{ $disk }}Mi
limits:
  cpu: {{ $resources.cpuLimit | quote }}
  memory: {{ add $memory $shm }}Mi
  ephemeral-storage: {{ $disk }}Mi
  {{- if .gpu }}
  {{ .gpu }}: 1
  {{- end }}
{{- end }}

{{- define "glioserve.securityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end }}

{{/* dict root, facts, own, site -> the environment: shared names, the health port, the place's own, the site's last. */}}
{{- define "glioserve.env" -}}
{{- $values := .root.Values -}}
{{- $prefix := printf "GLIOSERVE_%s__" .facts.settings -}}
{{- $env := dict
  "GLIOSERVE_HOME" "/var/lib/glioserve"
  "GLIOSERVE_LOG_LEVEL" $values.logLevel
  "GLIOSERVE_RETRY_BUDGET_S" (toString $values.retryBudgetSeconds)
  (printf "%sHEALTH_HOST" $prefix) "0.0.0.0"
  (printf "%sHEALTH_PORT" $prefix) (toString .facts.health)
  "MALLOC_ARENA_MAX" "2" -}}
{{- if $values.otlpEndpoint }}{{ $_ := set $env "GLIOSERVE_OTLP_ENDPOINT" $values.otlpEndpoint }}{{ end -}}
{{- if .facts.models }}{{ $_ := set $env "GLIOSERVE_MODELS" "/models" }}{{ end -}}
{{- $env = mergeOverwrite $env (default dict .own) (default dict .site) }}
{{- range $name, $value := $env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
- name: OMP_NUM_THREADS
  valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: "1"}}
{{- end }}

{{/* root -> the ward's bus and blobs. */}}
{{- define "glioserve.wardEnv" -}}
{{- $values := .Values -}}
GLIOSERVE_BUS: {{ if $values.bus.bootstrapServers }}{{ printf "kafka://%s" (join "," $values.bus.bootstrapServers) }}{{ else }}embedded{{ end }}
{{ include "glioserve.blobsEnv" . }}
{{- end }}

{{/* root -> where blobs lie: an object store, or a folder of the home. */}}
{{- define "glioserve.blobsEnv" -}}
{{- $blobs := .Values.blobs -}}
{{- if $blobs.bucket -}}
GLIOSERVE_BLOBS: {{ printf "s3://%s/%s" $blobs.bucket $blobs.prefix | trimSuffix "/" }}
{{- with $blobs.endpoint }}
GLIOSERVE_S3__ENDPOINT: {{ . }}
{{- end }}
GLIOSERVE_S3__REGION: {{ $blobs.region }}
GLIOSERVE_S3__CREDENTIALS: /secrets/object-store
{{- if $blobs.ownAuthority }}
GLIOSERVE_S3__CA: /secrets/object-store/ca.crt
{{- end }}
{{- else -}}
GLIOSERVE_BLOBS: local
{{- end }}
{{- end }}

{{/* root -> how processes of GlioServe prove themselves to each other over gRPC (role `stage`). */}}
{{- define "glioserve.tlsEnv" -}}
GLIOSERVE_TLS__CERTIFICATE: /secrets/grpc-tls/tls.crt
GLIOSERVE_TLS__KEY: /secrets/grpc-tls/tls.key
GLIOSERVE_TLS__AUTHORITIES: /secrets/grpc-tls/ca.crt
{{- if .Values.theatre.clientsSecret }}
GLIOSERVE_TLS__CLIENT_AUTHORITIES: /secrets/grpc-clients/ca.crt
{{- end }}
{{- end }}

{{/* dict root, env -> volume -> secret, for the paths that an environment names: a secret goes where it is read. */}}
{{- define "glioserve.secretsOf" -}}
{{- $values := .root.Values -}}
{{- $known := dict
  "gateway-tls" $values.gateway.tlsSecret "gateway-tokens" $values.gateway.tokensSecret "dicom-tls" $values.gateway.dicom.tlsSecret
  "object-store" $values.blobs.existingSecret "postgresql" $values.state.existingSecret "pseudonym-key" $values.vault.existingSecret "vault" $values.vault.databaseSecret
  "grpc-tls" $values.theatre.tlsSecret "grpc-clients" $values.theatre.clientsSecret -}}
{{- $used := dict -}}
{{- range .env -}}
{{- if hasPrefix "/secrets/" . -}}
{{- $name := index (splitList "/" .) 2 -}}
{{- $_ := set $used $name (get $known $name) -}}
{{- end -}}
{{- end -}}
{{ toJson $used }}
{{- end }}
