"""The dashboard of the ward: where studies are, how long stages take by lane, what waits, what fails."""

from __future__ import annotations

from helm.observability.panel import Dashboard, Panel, Row, level, quantile, rate, total
from services.core.contracts.enums import Lane

LANE = 'lane=~"$lane"'

STUDIES = Row(
    title="Studies",
    panels=[
        Panel(
            title="Studies by state",
            queries=[(level("glioserve_studies", "state", how="max"), "{{state}}")],
            stacked=True,
            says="Current versions, as the gateway counts them.",
        ),
        Panel(
            title="Uploads since the start, by door and end",
            queries=[(total("glioserve_uploads_total", "door, result"), "{{door}} {{result}}")],
        ),
        Panel(title="Bytes received", queries=[(rate("glioserve_intake_bytes_total", "door"), "{{door}}")], unit="Bps"),
    ],
)

STAGES = Row(
    title="Stages by lane",
    panels=[
        Panel(
            title="Time of a stage, median",
            queries=[(quantile(0.5, "glioserve_stage_seconds", "stage, lane", LANE), "{{stage}} {{lane}}")],
            unit="s",
        ),
        Panel(
            title="Time of a stage, 95 %",
            queries=[(quantile(0.95, "glioserve_stage_seconds", "stage, lane", LANE), "{{stage}} {{lane}}")],
            unit="s",
        ),
        Panel(
            title="Outcomes since the start, by status",
            queries=[(total("glioserve_outcomes_total", "lane, status", LANE), "{{lane}} {{status}}")],
            stacked=True,
        ),
    ],
)

WAITING = Row(
    title="What waits",
    panels=[
        Panel(
            title="Requests waiting",
            queries=[(level("glioserve_backlog", "stage, lane", LANE, how="max"), "{{stage}} {{lane}}")],
            stacked=True,
        ),
        Panel(
            title="Age of the oldest message",
            queries=[(level("glioserve_lag_seconds", "topic", 'topic!~".+[.](retry|dead)"', how="max"), "{{topic}}")],
            unit="s",
        ),
        Panel(
            title="Requests not on the bus yet",
            queries=[(level("glioserve_outbox_pending", "pod", 'container="gateway"', how="max"), "outbox {{pod}}")],
        ),
    ],
)

FAILING = Row(
    title="What fails",
    panels=[
        Panel(
            title="Retries and dead letters since the start",
            queries=[
                (total("glioserve_retries_total", "stage, lane", LANE), "retry {{stage}} {{lane}}"),
                (total("glioserve_dead_letters_total", "code"), "dead {{code}}"),
            ],
        ),
        Panel(
            title="Dead-letter brake",
            queries=[(level("glioserve_dead_letter_brake", "group", how="max"), "{{group}}")],
            limit=1,
        ),
        Panel(
            title="Share of failed outcomes",
            queries=[
                ("namespace:glioserve_outcomes_failed:ratio_rate1h", "1 h"),
                ("namespace:glioserve_outcomes_failed:ratio_rate6h", "6 h"),
            ],
            unit="percentunit",
            says="From the recording rules of this chart.",
        ),
    ],
)

DOORS = Row(
    title="Doors and processes",
    panels=[
        Panel(
            title="HTTP answers",
            queries=[(rate("glioserve_http_requests_total", "status"), "{{status}}")],
            unit="reqps",
        ),
        Panel(
            title="Time of an HTTP answer, 95 %",
            queries=[(quantile(0.95, "glioserve_http_seconds", "route"), "{{route}}")],
            unit="s",
        ),
        Panel(
            title="Room for blobs",
            queries=[(level("glioserve_free_bytes", "folder", how="min"), "{{folder}}")],
            unit="bytes",
        ),
        Panel(
            title="CPU by process",
            queries=[(rate("process_cpu_seconds_total", "instance, container"), "{{container}} {{instance}}")],
        ),
        Panel(
            title="Memory by process",
            queries=[(level("process_resident_memory_bytes", "instance, container"), "{{container}} {{instance}}")],
            unit="bytes",
        ),
        Panel(title="Processes that answer", queries=[(level("up", "container"), "{{container}}")]),
    ],
)

FLOW = Dashboard(
    uid="glioserve-flow",
    title="GlioServe: flow by lane",
    says="Research use; synthetic training data; not for diagnosis.",
    rows=[STUDIES, STAGES, WAITING, FAILING, DOORS],
    choices={"lane": [str(lane) for lane in Lane]},
)
