"""The dashboard of the operating room and of Triton: sessions, masks, poses, what the theatre takes from the ward."""

from __future__ import annotations

from helm.observability.panel import Dashboard, Panel, Row, count, level, quantile, rate, total

ROOM_ONLY = 'container="navigation"'
MASKS, POSES = "glioserve_navigation_mask_seconds", "glioserve_pose_seconds"


def per_call(duration: str) -> str:
    """Mean of one of Triton's durations (microseconds, all calls together) as seconds a call, by model."""
    return f"{rate(duration, 'model')} / 1e6 / {rate('nv_inference_request_success', 'model')}"


SERIES = Row(
    title="Series and masks",
    panels=[
        Panel(
            title="Open sessions",
            queries=[(level("glioserve_navigation_sessions", "pod", ROOM_ONLY), "{{pod}} sessions")],
        ),
        Panel(
            title="Last chunk to mask",
            queries=[
                (quantile(q, MASKS, "kind"), f"{{{{kind}}}} {name}") for q, name in ((0.5, "median"), (0.95, "95 %"))
            ],
            unit="s",
            limit=30,
            says="No answer may take more than 30 s.",
        ),
        Panel(
            title="Answers since the start",
            queries=[(total("glioserve_navigation_answers_total", "result, reason"), "{{result}} {{reason}}")],
            stacked=True,
        ),
        Panel(
            title="Deadlines missed",
            queries=[(count("glioserve_navigation_deadline_missed_total", "pod", ROOM_ONLY), "{{pod}} missed")],
            limit=1,
        ),
        Panel(
            title="Bytes received",
            queries=[(rate("glioserve_navigation_chunk_bytes_total", "pod", ROOM_ONLY), "{{pod}} chunks")],
            unit="Bps",
        ),
        Panel(
            title="Memory of sessions",
            queries=[(level("glioserve_navigation_memory_bytes", "pod", ROOM_ONLY), "{{pod}} held")],
            unit="bytes",
            limit=1.5 * 2**30,
        ),
    ],
)

POSING = Row(
    title="Poses, and what the theatre takes",
    panels=[
        Panel(
            title="Time of a pose",
            queries=[(quantile(q, POSES, ""), name) for q, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))],
            unit="s",
            limit=0.02,
            says="Inside the process; the client's own clock is in the load tests.",
        ),
        Panel(
            title="Poses", queries=[(rate("glioserve_poses_total", "result"), "{{result}}")], unit="reqps", stacked=True
        ),
        Panel(
            title="Results not acknowledged",
            queries=[(level("glioserve_navigation_spool", "pod", ROOM_ONLY), "{{pod}} spool")],
        ),
        Panel(
            title="The theatre holds the machine",
            queries=[(level("glioserve_theatre_lock_held", "instance", ROOM_ONLY, how="max"), "{{instance}}")],
            limit=1,
        ),
        Panel(
            title="The ward waits for it",
            queries=[(rate("glioserve_theatre_yield_seconds_total", "stage"), "{{stage}}")],
            unit="percentunit",
        ),
        Panel(
            title="Time of a theatre stage, 95 %",
            queries=[(quantile(0.95, "glioserve_stage_seconds", "stage", 'lane="theatre"'), "{{stage}}")],
            unit="s",
        ),
    ],
)

TRITON = Row(
    title="Triton, as its callers see it",
    panels=[
        Panel(
            title="Time of a call, 95 %",
            queries=[(quantile(0.95, "glioserve_triton_seconds", "model, transport"), "{{model}} {{transport}}")],
            unit="s",
        ),
        Panel(
            title="Failed calls since the start",
            queries=[(total("glioserve_triton_failures_total", "model, kind"), "{{model}} {{kind}}")],
            stacked=True,
        ),
        Panel(
            title="Canary: computes",
            queries=[(level("glioserve_triton_canary", "model, instance", how="min"), "{{model}} {{instance}}")],
        ),
    ],
)

SERVER = Row(
    title="Triton, as it sees itself",
    panels=[
        Panel(
            title="Calls waiting",
            queries=[
                (level("nv_inference_pending_request_count", "model"), "{{model}} in the server"),
                (level("glioserve_triton_pending", "model"), "{{model}} at its callers"),
            ],
        ),
        Panel(
            title="Time of a call: waiting and computing",
            queries=[
                (per_call("nv_inference_queue_duration_us"), "{{model}} waits"),
                (per_call("nv_inference_compute_infer_duration_us"), "{{model}} computes"),
            ],
            unit="s",
        ),
        Panel(
            title="Calls",
            queries=[
                (rate("nv_inference_request_success", "model"), "{{model}} good"),
                (rate("nv_inference_request_failure", "model"), "{{model}} failed"),
            ],
            unit="reqps",
        ),
        Panel(
            title="GPU: share in use",
            queries=[(level("nv_gpu_utilization", "pod, gpu_uuid", how="max"), "{{pod}} {{gpu_uuid}}")],
            unit="percentunit",
            says="Empty on CPU.",
        ),
        Panel(
            title="GPU memory in use",
            queries=[(level("nv_gpu_memory_used_bytes", "pod, gpu_uuid", how="max"), "{{pod}} {{gpu_uuid}}")],
            unit="bytes",
            says="Empty on CPU.",
        ),
    ],
)

ROOM = Dashboard(
    uid="glioserve-theatre",
    title="GlioServe: theatre and Triton",
    says="Research use; synthetic training data; not for diagnosis.",
    rows=[SERIES, POSING, TRITON, SERVER],
    choices={},
)
