"""Rules of the operating room: few events, each of them counts, so numbers of events and no shares of errors.

Every process shows every gauge without labels, at 0 where it is none of its business: no minimum over processes.
"""

from __future__ import annotations

from helm.observability.rule import SELF, Alert, Recording, events, happened

OUR_FAULT = "DEADLINE_NEAR|PREPARATION_FAILED|INFERENCE_UNAVAILABLE|INFERENCE_FAILED"
SLOW_POSES = (
    f"(sum by (namespace) (rate(glioserve_pose_seconds_count{{{SELF}}}[W]))"
    f' - sum by (namespace) (rate(glioserve_pose_seconds_bucket{{{SELF},le="0.02"}}[W])))'
    f" / sum by (namespace) (rate(glioserve_pose_seconds_count{{{SELF}}}[W])) > 0.01"
)
FINAL = f'glioserve_navigation_mask_seconds_count{{{SELF},kind="final"}}'
FINAL_IN_TIME = f'glioserve_navigation_mask_seconds_bucket{{{SELF},kind="final",le="13.0"}}'

RECORDINGS: list[Recording] = [
    events(
        "glioserve_navigation_degraded",
        "glioserve_navigation_answers_total",
        'result="degraded"',
        f'reason=~"{OUR_FAULT}"',
    ),
]

ALERTS: list[Alert] = [
    Alert(
        name="GlioServeTheatreDeadlineMissed",
        expr=f"sum by (namespace) (increase(glioserve_navigation_deadline_missed_total{{{SELF}}}[10m])) > 0",
        severity="critical",
        lane="theatre",
        says="A series was answered after its deadline.",
    ),
    Alert(
        name="GlioServeTheatreDegraded",
        expr=f"{happened('glioserve_navigation_degraded', '15m')} > 0",
        severity="critical",
        lane="theatre",
        says="A series got a degraded answer for a reason that lies with us, not with its images.",
    ),
    Alert(
        name="GlioServeTheatreSlow",
        expr=f"1 - sum by (namespace) (increase({FINAL_IN_TIME}[30m]))"
        f" / sum by (namespace) (increase({FINAL}[30m])) > 0.2\n"
        f"and\nsum by (namespace) (increase({FINAL}[30m])) >= 2",
        severity="warning",
        lane="theatre",
        says="{{ $value | humanizePercentage }} of the final masks of the last 30 minutes took more than 13 s.",
    ),
    Alert(
        name="GlioServePosesSlow",
        expr=f"{SLOW_POSES.replace('W', '5m')}\nand\n{SLOW_POSES.replace('W', '1m')}\n"
        f"and\nsum by (namespace) (rate(glioserve_pose_seconds_count{{{SELF}}}[1m])) > 1",
        severity="critical",
        lane="theatre",
        says="{{ $value | humanizePercentage }} of the pose answers take more than 20 ms.",
    ),
    Alert(
        name="GlioServePosesStale",
        expr=f'sum by (namespace) (rate(glioserve_poses_total{{{SELF},result="stale"}}[5m]))'
        f" > 0.5 * sum by (namespace) (rate(glioserve_poses_total{{{SELF}}}[5m]))",
        lasts="5m",
        severity="warning",
        lane="theatre",
        says="More than half of the poses are answered as stale.",
    ),
    Alert(
        name="GlioServeNavigationMemory",
        expr=f"max by (namespace, pod, instance) (glioserve_navigation_memory_bytes{{{SELF}}}) > 1.25 * 2 ^ 30",
        lasts="1m",
        severity="warning",
        lane="theatre",
        says="The sessions of {{ $labels.instance }} hold {{ $value | humanize1024 }}B; 1.5 GiB should do for four.",
    ),
    Alert(
        name="GlioServeNavigationKeepsMemory",
        expr=f"max by (namespace, pod, instance) (glioserve_navigation_memory_bytes{{{SELF}}}) > 16 * 2 ^ 20\n"
        f"and\nmax by (namespace, pod, instance) (max_over_time(glioserve_navigation_sessions{{{SELF}}}[10m])) == 0",
        lasts="5m",
        severity="warning",
        lane="theatre",
        says="{{ $labels.instance }} has had no session for 10 minutes and still holds {{ $value | humanize1024 }}B.",
    ),
    Alert(
        name="GlioServeNavigationSpool",
        expr=f"min by (namespace, pod, instance) (min_over_time(glioserve_navigation_spool{{{SELF}}}[10m])) > 0",
        lasts="1m",
        severity="warning",
        lane="theatre",
        says="{{ $value }} results of {{ $labels.instance }} have waited 10 minutes for the gateway's word.",
    ),
    Alert(
        name="GlioServeTheatreNoSpare",
        expr=f'min by (namespace) (glioserve_navigation_sessions{{{SELF},container="navigation",pod!=""}}) > 0',
        lasts="15m",
        severity="warning",
        lane="theatre",
        says="Every theatre pod has open sessions: the warm spare is gone.",
    ),
    Alert(
        name="GlioServeTheatreLockStuck",
        expr=f"min by (namespace, pod, instance) (min_over_time(glioserve_theatre_lock_held{{{SELF}}}[10m])) > 0",
        lasts="1m",
        severity="warning",
        lane="theatre",
        says="The theatre has kept the machine from the ward for more than 10 minutes without a pause.",
    ),
    Alert(
        name="GlioServeWardStarved",
        expr=f"max by (namespace, stage) (rate(glioserve_theatre_yield_seconds_total{{{SELF}}}[30m])) > 0.5",
        lasts="10m",
        severity="warning",
        lane="routine",
        says="Stage {{ $labels.stage }} has waited {{ $value | humanizePercentage }} of its time for the theatre.",
    ),
]
