{{/*
Who may talk to whom. An edge has a name, `from` (component, or `fromPeers`), `to` (component, or `toPeers`; none: any
address) and ports. It becomes one policy for the side that sends and one for the side that receives, as far as that
side is ours. All pods are denied everything else.
*/}}
{{- define "glioserve.edges" -}}
{{- $root := . -}}
{{- $v := .Values -}}
{{- $stages := include "glioserve.stages" . | fromYamlArray -}}
{{- $gateway := include "glioserve.componentOf" (dict "root" . "process" "gateway") -}}
{{- $segment := include "glioserve.componentOf" (dict "root" . "process" "fusion_segmentation") -}}
{{- $ward := eq .Values.shape "single" | ternary (list "machine") (prepend $stages "gateway") -}}
{{- $blobs := ternary (append $ward "theatre") $ward .Values.theatre.enabled -}}
- {name: clients-gateway, fromPeers: {{ toJson $v.network.clients.gateway }}, to: {{ $gateway }}, ports: [8443]}
{{- if $v.gateway.dicom.enabled }}
- {name: clients-dicom, fromPeers: {{ toJson $v.network.clients.dicom }}, to: {{ $gateway }}, ports: [11112]}
{{- end }}
{{- if $v.theatre.enabled }}
- {name: clients-navigation, fromPeers: {{ toJson $v.network.clients.navigation }}, to: theatre, ports: [7443, 7444]}
- {name: theatre-gateway, from: theatre, to: {{ $gateway }}, ports: [7445]}
- {name: theatre-theatre, from: theatre, to: theatre, ports: [7443]}
{{- end }}
{{- range include "glioserve.components" . | fromYamlArray }}
- {name: prometheus-{{ . }}, fromPeers: {{ toJson $v.network.prometheus }}, to: {{ . }}, ports: {{ include "glioserve.watchedPorts" (dict "root" $root "component" .) }}}
- {name: {{ . }}-dns, from: {{ . }}, toPeers: {{ toJson $v.network.dns }}, ports: [53], udp: true}
{{- if $v.otlpEndpoint }}
- {name: {{ . }}-otlp, from: {{ . }}, toPeers: {{ toJson $v.network.otlp }}, ports: [{{ include "glioserve.portOf" $v.otlpEndpoint }}]}
{{- end }}
{{- end }}
{{- range $ward }}
{{- if $v.bus.bootstrapServers }}
- {name: {{ . }}-kafka, from: {{ . }}, toPeers: {{ toJson $v.network.kafka }}, ports: {{ include "glioserve.kafkaPorts" $root }}}
{{- end }}
{{- end }}
{{- range $blobs }}
{{- if $v.blobs.bucket }}
- {name: {{ . }}-s3, from: {{ . }}, toPeers: {{ toJson $v.network.s3 }}, ports: [{{ include "glioserve.portOf" (default "https://s3" $v.blobs.endpoint) }}]}
{{- end }}
{{- end }}
{{- if $v.state.existingSecret }}
- {name: {{ $gateway }}-postgresql, from: {{ $gateway }}, toPeers: {{ toJson $v.network.postgresql }}, ports: [{{ int $v.state.port }}]}
{{- end }}
{{- if and (eq $v.shape "distributed") $v.triton.externalAddress }}
- {name: {{ $segment }}-triton, from: {{ $segment }}, toPeers: {{ toJson $v.network.triton }}, ports: [{{ include "glioserve.portOf" $v.triton.externalAddress }}]}
{{- else if eq $v.shape "distributed" }}
- {name: {{ $segment }}-triton, from: {{ $segment }}, to: triton, ports: [8001]}
{{- end }}
{{- end }}

{{/* The port of an address or URL; without one that of its scheme. */}}
{{- define "glioserve.portOf" -}}
{{- $port := regexFind ":[0-9]+(/|$)" . | trimPrefix ":" | trimSuffix "/" -}}
{{- if $port }}{{ $port }}{{ else if hasPrefix "https" . }}443{{ else }}80{{ end -}}
{{- end }}

{{- define "glioserve.kafkaPorts" -}}
{{- $ports := list -}}
{{- range .Values.bus.bootstrapServers }}{{ $ports = append $ports (include "glioserve.portOf" . | int) }}{{ end -}}
{{ uniq $ports | toJson }}
{{- end }}

{{/* dict root, component -> the ports that Prometheus reads */}}
{{- define "glioserve.watchedPorts" -}}
{{- $pod := include "glioserve.pod" . | fromYaml -}}
{{- $processes := include "glioserve.processes" .root | fromYaml -}}
{{- $ports := list -}}
{{- range concat (default list $pod.sidecars) $pod.containers }}{{ $ports = append $ports (int (get $processes .process).health) }}{{ end -}}
{{- if $pod.triton }}{{ $ports = append $ports 8002 }}{{ end -}}
{{ toJson $ports }}
{{- end }}

{{/* dict root, edge, side (from | to) -> the policy of one side */}}
{{- define "glioserve.edgePolicy" -}}
{{- $edge := .edge -}}
{{- $egress := eq .side "from" -}}
{{- $other := ternary $edge.to $edge.from $egress -}}
{{- $peers := ternary $edge.toPeers $edge.fromPeers $egress -}}
{{- $names := dict "root" .root "component" (get $edge .side) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ printf "%s-%s-%s" (include "glioserve.prefix" .root) ($edge.name | replace "_" "-") (ternary "out" "in" $egress) }}
  labels: {{- include "glioserve.labels" $names | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "glioserve.selectorOf" $names | nindent 6 }}
  policyTypes: [{{ ternary "Egress" "Ingress" $egress }}]
  {{ ternary "egress" "ingress" $egress }}:
    - ports:
        {{- range $edge.ports }}
        - {port: {{ int . }}, protocol: TCP}
        {{- if $edge.udp }}
        - {port: {{ int . }}, protocol: UDP}
        {{- end }}
        {{- end }}
      {{- if $other }}
      {{ ternary "to" "from" $egress }}:
        - podSelector:
            matchLabels: {{- include "glioserve.selectorOf" (dict "root" .root "component" $other) | nindent 14 }}
      {{- else if $peers }}
      {{ ternary "to" "from" $egress }}: {{- toYaml $peers | nindent 8 }}
      {{- end }}
{{- end }}
