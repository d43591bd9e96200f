{{/* What no schema can say. Each message names the value that is missing or wrong. */}}
{{- define "glioserve.validate" -}}
{{- $v := .Values -}}
{{- if eq $v.shape "distributed" -}}
{{- if not $v.bus.bootstrapServers }}{{ fail "bus.bootstrapServers: `distributed` needs an external Kafka" }}{{ end -}}
{{- if not $v.blobs.bucket }}{{ fail "blobs.bucket: `distributed` needs an external object store" }}{{ end -}}
{{- $_ := required "state.existingSecret: `distributed` needs a Secret with the URL of an external PostgreSQL" $v.state.existingSecret -}}
{{- $_ := required "vault.existingSecret: `distributed` needs a Secret with the key of the pseudonyms" $v.vault.existingSecret -}}
{{- $_ := required "vault.databaseSecret: `distributed` needs a Secret with the URL of a database for identities" $v.vault.databaseSecret -}}
{{- end -}}
{{- if and $v.vault.databaseSecret (eq $v.vault.databaseSecret $v.state.existingSecret) }}{{ fail "vault.databaseSecret: identities need a database of their own, not that of the state" }}{{ end -}}
{{- if $v.blobs.bucket }}{{ $_ := required "blobs.existingSecret: a bucket needs a Secret with its access key" $v.blobs.existingSecret }}{{ end -}}
{{- $_ := required "gateway.tlsSecret: a Secret with the gateway's certificate; nothing is served without TLS" $v.gateway.tlsSecret -}}
{{- $_ := required "gateway.tokensSecret: a Secret with the callers' tokens; there is no default password" $v.gateway.tokensSecret -}}
{{- $_ := required "image.registry: where the images are" $v.image.registry -}}
{{- if $v.gateway.dicom.enabled -}}
{{- if not $v.gateway.dicom.calling }}{{ fail "gateway.dicom.calling: the AE titles that may call" }}{{ end -}}
{{- $_ := required "gateway.dicom.tlsSecret: a Secret with the listener's certificate and its callers' CA" $v.gateway.dicom.tlsSecret -}}
{{- end -}}
{{- if $v.theatre.enabled -}}
{{- if not $v.blobs.bucket }}{{ fail "blobs.bucket: theatre pods read the ward's volumes; a folder of the machine's pod is out of their reach" }}{{ end -}}
{{- $_ := required "vault.existingSecret: theatre pods and the gateway need the same key of the pseudonyms" $v.vault.existingSecret -}}
{{- $_ := required "theatre.tlsSecret: a Secret with the server's certificate and its clients' CA" $v.theatre.tlsSecret -}}
{{- if eq (include "glioserve.theatreGpu" .) "timeslice" }}{{ fail "gpu.theatreMode: `timeslice` isolates neither memory nor faults; the theatre needs `full`, `mig` or `none`" }}{{ end -}}
{{- end -}}
{{- range $name, $stage := $v.stages -}}
{{- if gt (int $stage.scale.max) (int $v.bus.partitions) }}{{ fail (printf "stages.%s.scale.max: a pod above bus.partitions would have nothing to do" $name) }}{{ end -}}
{{- end -}}
{{- range $component := include "glioserve.components" . | fromYamlArray -}}
{{- if ne $component "machine" -}}
{{- $names := dict "root" $ "component" $component -}}
{{- if lt (include "glioserve.maximum" $names | int) (include "glioserve.minimum" $names | int) }}{{ fail (printf "%s: scale.max is below scale.min" $component) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
