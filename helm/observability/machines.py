"""Rules of Triton and of the processes themselves."""

from __future__ import annotations

from helm.observability.rule import SELF, Alert, Recording, events, happened

REJECTED = f'glioserve_triton_failures_total{{{SELF},kind="rejected"}}'

RECORDINGS: list[Recording] = [
    events("glioserve_triton_damaged", "glioserve_triton_failures_total", 'kind=~"internal|unavailable"'),
]

ALERTS: list[Alert] = [
    Alert(
        name="GlioServeTritonCanary",
        expr=f"min by (namespace, pod, instance, model) (glioserve_triton_canary{{{SELF}}}) < 1",
        lasts="1m",
        severity="critical",
        lane="all",
        says="{{ $labels.model }} does not compute for {{ $labels.instance }}, whatever Triton says of itself.",
    ),
    Alert(
        name="GlioServeTritonFailing",
        expr=f"{happened('glioserve_triton_damaged', '10m')} >= 5",
        lasts="1m",
        severity="warning",
        lane="all",
        says="Five or more calls to Triton in 10 minutes found it away or broken.",
    ),
    Alert(
        name="GlioServeTritonRejecting",
        expr=f"sum by (namespace, model) (increase({REJECTED}[10m])) > 10",
        lasts="5m",
        severity="warning",
        lane="all",
        says="{{ $labels.model }} turns calls away: its queue is full.",
    ),
    Alert(
        name="GlioServeTritonQueue",
        expr=f"sum by (namespace, model) (nv_inference_pending_request_count{{{SELF}}}) > 10",
        lasts="10m",
        severity="warning",
        lane="all",
        says="{{ $value }} calls wait for {{ $labels.model }}.",
    ),
    Alert(
        name="GlioServeTargetDown",
        expr=f"min by (namespace, pod, container, instance) (up{{{SELF}}}) < 1",
        lasts="5m",
        severity="warning",
        lane="all",
        says="Prometheus cannot read {{ $labels.instance }}: the process is gone, hangs or is cut off.",
    ),
    Alert(
        name="GlioServeGatewayGone",
        expr=f"absent(glioserve_studies{{{SELF}}})",
        lasts="5m",
        severity="critical",
        lane="all",
        says="No gateway reports: nothing can be uploaded or fetched.",
    ),
]
