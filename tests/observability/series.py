"""What each alert must fire on and stay quiet on, in promtool's notation (`0+1x10`: from 0, ten times one more).

Each case is the situation that a runbook speaks of; the quiet one is the nearest that must not wake anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

TARGET = 'job="glioserve",namespace="mri",pod="p-0",container="navigation",instance="10.0.0.1:9100"'
OTHER = 'job="glioserve",namespace="mri",pod="p-1",container="navigation",instance="10.0.0.2:9100"'
STAT = 'topic="glioserve.study.segment.stat.v1"'
ROUTINE = 'topic="glioserve.study.prepare.routine.v1"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Series -> values, one each `every`, `_` where none is scraped. `at`: when to look."""

    fires: dict[str, str]
    quiet: dict[str, str]
    at: str = "20m"
    every: str = "15s"


def of(metric: str, labels: str = "", target: str = TARGET) -> str:
    """A series as one process exposes it."""
    return f"{metric}{{{target}{',' if labels else ''}{labels}}}"


BYSTANDER = 'job="glioserve",namespace="mri",pod="g-0",container="gateway",instance="10.0.0.9:9100"'
SHOWN_BY_ALL = (
    "navigation_sessions",
    "navigation_memory_bytes",
    "navigation_spool",
    "theatre_lock_held",
    "outbox_pending",
)
UP = {
    of("up"): "1x300",
    of("up", target=BYSTANDER): "1x300",
    of("glioserve_studies", 'state="done"', BYSTANDER): "1x300",
    **{of(f"glioserve_{name}", target=BYSTANDER): "0x300" for name in SHOWN_BY_ALL},
}
"""A quiet installation: every process shows every gauge without labels, whose business it is not too."""


def outcomes(failed: str, completed: str, lane: str = "routine") -> dict[str, str]:
    labels = f'stage="segment",lane="{lane}",status='
    return {
        of("glioserve_outcomes_total", f'{labels}"failed"'): failed,
        of("glioserve_outcomes_total", f'{labels}"completed"'): completed,
    }


def http(status: str, errors: str, fine: str) -> dict[str, str]:
    return {
        of("glioserve_http_requests_total", f'route="/studies",method="POST",status="{status}"'): errors,
        of("glioserve_http_requests_total", 'route="/studies",method="POST",status="200"'): fine,
    }


def answers(reason: str, values: str) -> dict[str, str]:
    return {of("glioserve_navigation_answers_total", f'result="degraded",reason="{reason}"'): values}


def masks(all_of: str, in_time: str) -> dict[str, str]:
    return {
        of("glioserve_navigation_mask_seconds_count", 'kind="final"'): all_of,
        of("glioserve_navigation_mask_seconds_bucket", 'kind="final",le="13.0"'): in_time,
    }


def poses(all_of: str, in_time: str) -> dict[str, str]:
    return {
        of("glioserve_pose_seconds_count"): all_of,
        of("glioserve_pose_seconds_bucket", 'le="0.02"'): in_time,
    }


def told(fresh: str, stale: str) -> dict[str, str]:
    return {
        of("glioserve_poses_total", 'result="fresh"'): fresh,
        of("glioserve_poses_total", 'result="stale"'): stale,
    }


def session_memory(memory: str, sessions: str) -> dict[str, str]:
    return {of("glioserve_navigation_memory_bytes"): memory, of("glioserve_navigation_sessions"): sessions}


FIRST_AT_15_MIN = "_x59 1x40"
"""A labelled counter that is not there until its first event."""

THEATRE: dict[str, Case] = {
    "GlioServeTheatreDeadlineMissed": Case(
        fires={of("glioserve_navigation_deadline_missed_total"): "0x59 1x40"},
        quiet={of("glioserve_navigation_deadline_missed_total"): "3x100"},
    ),
    "GlioServeTheatreDegraded": Case(
        fires=answers("INFERENCE_UNAVAILABLE", FIRST_AT_15_MIN), quiet=answers("ANATOMY_CHANGED", FIRST_AT_15_MIN)
    ),
    "GlioServeTheatreSlow": Case(fires=masks("0+1x100", "0+0.5x100"), quiet=masks("0+1x100", "0+0.9x100")),
    "GlioServePosesSlow": Case(fires=poses("0+750x100", "0+735x100"), quiet=poses("0+750x100", "0+748x100")),
    "GlioServePosesStale": Case(fires=told("0+1x100", "0+749x100"), quiet=told("0+749x100", "0+1x100")),
    "GlioServeNavigationMemory": Case(
        fires=session_memory("1400000000x100", "4x100"), quiet=session_memory("1200000000x100", "4x100")
    ),
    "GlioServeNavigationKeepsMemory": Case(
        fires=session_memory("100000000x100", "1x9 0x90"), quiet=session_memory("100000000x100", "1x100")
    ),
    "GlioServeNavigationSpool": Case(
        fires={of("glioserve_navigation_spool"): "2x100"},
        quiet={of("glioserve_navigation_spool"): "0 2x20 0 2x20 0 2x60"},
    ),
    "GlioServeTheatreNoSpare": Case(
        fires={
            of("glioserve_navigation_sessions"): "1x100",
            of("glioserve_navigation_sessions", target=OTHER): "2x100",
        },
        quiet={
            of("glioserve_navigation_sessions"): "0x100",
            of("glioserve_navigation_sessions", target=OTHER): "2x100",
        },
    ),
    "GlioServeTheatreLockStuck": Case(
        fires={of("glioserve_theatre_lock_held"): "1x100"},
        quiet={of("glioserve_theatre_lock_held"): "1x25 0 1x25 0 1x25 0 1x20"},
    ),
    "GlioServeWardStarved": Case(
        fires={of("glioserve_theatre_yield_seconds_total", 'stage="prepare"'): "0+9x200"},
        quiet={of("glioserve_theatre_yield_seconds_total", 'stage="prepare"'): "0+3x200"},
        at="45m",
    ),
}

STUDIES: dict[str, Case] = {
    "GlioServeStatFailed": Case(
        fires=outcomes(FIRST_AT_15_MIN, "5x100", "stat"), quiet=outcomes(FIRST_AT_15_MIN, "5x100", "routine")
    ),
    "GlioServeStatLate": Case(
        fires={of("glioserve_lag_seconds", STAT): "130x100"}, quiet={of("glioserve_lag_seconds", STAT): "110x100"}
    ),
    "GlioServeRoutineLate": Case(
        fires={of("glioserve_lag_seconds", ROUTINE): "1900x100"},
        quiet={of("glioserve_lag_seconds", ROUTINE): "1700x100"},
    ),
    "GlioServeStagesFailingFast": Case(
        fires=outcomes("0+0.2x300", "0+0.8x300"), quiet=outcomes("0+0.1x300", "0+0.9x300"), at="70m"
    ),
    "GlioServeStagesFailingSlowly": Case(
        fires=outcomes("0+0.08x210", "0+0.92x210"), quiet=outcomes("0+0.04x210", "0+0.96x210"), at="7h", every="2m"
    ),
}

BUS: dict[str, Case] = {
    "GlioServeDeadLetters": Case(
        fires={of("glioserve_dead_letters_total", f'{STAT},code="BLOB_MISSING"'): FIRST_AT_15_MIN},
        quiet={of("glioserve_dead_letters_total", f'{STAT},code="BLOB_MISSING"'): "4x100"},
    ),
    "GlioServeDeadLetterBrake": Case(
        fires={of("glioserve_dead_letter_brake", 'group="glioserve.segment"'): "0x70 1x30"},
        quiet={of("glioserve_dead_letter_brake", 'group="glioserve.segment"'): "0x100"},
    ),
    "GlioServeRetries": Case(
        fires={of("glioserve_retries_total", 'stage="segment",lane="routine"'): "0+1x100"},
        quiet={of("glioserve_retries_total", 'stage="segment",lane="routine"'): "0+0.1x100"},
    ),
    "GlioServeBacklogNotMoving": Case(
        fires={of("glioserve_backlog", 'stage="segment",lane="routine"'): "3x200", **outcomes("0x200", "5x200")},
        quiet={of("glioserve_backlog", 'stage="segment",lane="routine"'): "3x200", **outcomes("0x200", "0+1x200")},
        at="40m",
    ),
    "GlioServeOutboxStuck": Case(
        fires={of("glioserve_outbox_pending"): "0x40 7x60"},
        quiet={of("glioserve_outbox_pending"): "0 7x9 0 7x9 0 7x9 0 7x9 0 7x9 0 7x9 0 7x9 0 7x9 0 7x9"},
    ),
    "GlioServeOutcomesNotTaken": Case(
        fires={of("glioserve_lag_seconds", 'topic="glioserve.study.outcome.v1"'): "90x100"},
        quiet={of("glioserve_lag_seconds", 'topic="glioserve.study.outcome.v1"'): "30x100"},
    ),
}

GATEWAY: dict[str, Case] = {
    "GlioServeHttpErrorsFast": Case(
        fires=http("500", "0+0.1x300", "0+0.9x300"), quiet=http("500", "0+0.05x300", "0+0.95x300"), at="70m"
    ),
    "GlioServeHttpErrorsSlow": Case(
        fires=http("503", "0+0.05x210", "0+0.95x210"),
        quiet=http("503", "0+0.02x210", "0+0.98x210"),
        at="7h",
        every="2m",
    ),
    "GlioServeUploadsRefusedForRoom": Case(
        fires=http("507", FIRST_AT_15_MIN, "0+1x100"), quiet=http("500", FIRST_AT_15_MIN, "0+1x100")
    ),
    "GlioServeDiskFilling": Case(  # 100 GiB that lose 80 MiB a minute are gone within a day
        fires={of("glioserve_free_bytes", 'folder="blobs"'): "107374182400-167772160x210"},
        quiet={of("glioserve_free_bytes", 'folder="blobs"'): "107374182400-16777216x210"},
        at="7h",
        every="2m",
    ),
}

MACHINES: dict[str, Case] = {
    "GlioServeTritonCanary": Case(
        fires={of("glioserve_triton_canary", 'model="fusion_fine"'): "1x70 0x30"},
        quiet={of("glioserve_triton_canary", 'model="fusion_fine"'): "1x75 0 1x25"},
    ),
    "GlioServeTritonFailing": Case(
        fires={of("glioserve_triton_failures_total", 'model="fusion_fine",kind="unavailable"'): "_x59 6x40"},
        quiet={of("glioserve_triton_failures_total", 'model="fusion_fine",kind="deadline"'): "_x59 6x40"},
    ),
    "GlioServeTritonRejecting": Case(
        fires={of("glioserve_triton_failures_total", 'model="fusion_fine",kind="rejected"'): "0+1x100"},
        quiet={of("glioserve_triton_failures_total", 'model="fusion_fine",kind="rejected"'): "0+0.1x100"},
    ),
    "GlioServeTritonQueue": Case(
        fires={of("nv_inference_pending_request_count", 'model="fusion_fine",version="1"'): "12x100"},
        quiet={of("nv_inference_pending_request_count", 'model="fusion_fine",version="1"'): "12x30 2 12x30 2 12x40"},
    ),
    "GlioServeTargetDown": Case(
        fires={of("up", target=OTHER): "1x20 0x80"}, quiet={of("up", target=OTHER): "1x60 0x10 1x40"}
    ),
    "GlioServeGatewayGone": Case(fires={of("glioserve_studies", 'state="done"', BYSTANDER): "1x9"}, quiet={}),
}

CASES: dict[str, Case] = {**THEATRE, **STUDIES, **BUS, **GATEWAY, **MACHINES}
