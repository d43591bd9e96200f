"""Rules of the ward.

Urgent studies are few: each failure counts. Errors of all lanes and of HTTP have a budget, seen over two windows each
(Site Reliability Workbook, chapter 5), with a least number of events: one of two is no rate.
"""

from __future__ import annotations

from helm.observability.rule import SELF, Alert, Recording, burns, events, happened, share

WINDOWS = ("5m", "30m", "1h", "6h")
STAGE_BUDGET = 0.01
HTTP_BUDGET = 0.005
FAST, SLOW = 14.4, 6.0
OUTCOMES = f"glioserve_outcomes_total{{{SELF}}}"
FAILED = f'glioserve_outcomes_total{{{SELF},status="failed"}}'
HTTP = f"glioserve_http_requests_total{{{SELF}}}"
HTTP_BROKEN = f'glioserve_http_requests_total{{{SELF},status=~"5..",status!="507"}}'
LAG = f"glioserve_lag_seconds{{{SELF},topic=~"

RECORDINGS: list[Recording] = [
    events("glioserve_outcomes_failed", "glioserve_outcomes_total", 'status="failed"'),
    events("glioserve_outcomes_failed_stat", "glioserve_outcomes_total", 'status="failed"', 'lane="stat"'),
    events("glioserve_dead_letters", "glioserve_dead_letters_total"),
    events("glioserve_http_broken", "glioserve_http_requests_total", 'status=~"5.."', 'status!="507"'),
    events("glioserve_http_no_room", "glioserve_http_requests_total", 'status="507"'),
    *share("glioserve_outcomes_failed", FAILED, OUTCOMES, WINDOWS),
    *share("glioserve_http_broken", HTTP_BROKEN, HTTP, WINDOWS),
]

STUDIES: list[Alert] = [
    Alert(
        name="GlioServeStatFailed",
        expr=f"{happened('glioserve_outcomes_failed_stat', '15m')} > 0",
        severity="critical",
        lane="stat",
        says="A stage failed on an urgent study.",
    ),
    Alert(
        name="GlioServeStatLate",
        expr=f'max by (namespace, topic) ({LAG}"glioserve[.]study[.].+[.]stat[.]v1"}}) > 120',
        lasts="1m",
        severity="critical",
        lane="stat",
        says="An urgent request has waited {{ $value | humanizeDuration }} in {{ $labels.topic }}.",
    ),
    Alert(
        name="GlioServeRoutineLate",
        expr=f'max by (namespace, topic) ({LAG}"glioserve[.]study[.].+[.]routine[.]v1"}}) > 1800',
        lasts="10m",
        severity="warning",
        lane="routine",
        says="A routine request has waited {{ $value | humanizeDuration }} in {{ $labels.topic }}.",
    ),
    Alert(
        name="GlioServeStagesFailingFast",
        expr=f"{burns('glioserve_outcomes_failed', ('1h', '5m'), FAST * STAGE_BUDGET)}\n"
        f"and\n{happened('glioserve_outcomes_failed', '1h')} >= 3",
        lasts="2m",
        severity="critical",
        lane="all",
        says="{{ $value | humanizePercentage }} of the stages of the last hour failed.",
    ),
    Alert(
        name="GlioServeStagesFailingSlowly",
        expr=f"{burns('glioserve_outcomes_failed', ('6h', '30m'), SLOW * STAGE_BUDGET)}\n"
        f"and\n{happened('glioserve_outcomes_failed', '6h')} >= 3",
        lasts="15m",
        severity="warning",
        lane="all",
        says="{{ $value | humanizePercentage }} of the stages of the last six hours failed.",
    ),
]

BUS: list[Alert] = [
    Alert(
        name="GlioServeDeadLetters",
        expr=f"{happened('glioserve_dead_letters', '15m')} > 0",
        severity="warning",
        lane="all",
        says="Messages were given up and lie in a dead-letter topic.",
    ),
    Alert(
        name="GlioServeDeadLetterBrake",
        expr=f"max by (namespace, group) (glioserve_dead_letter_brake{{{SELF}}}) > 0",
        severity="critical",
        lane="all",
        says="{{ $labels.group }} has stopped consuming: too many messages in a row failed unexpectedly.",
    ),
    Alert(
        name="GlioServeRetries",
        expr=f"sum by (namespace, stage) (increase(glioserve_retries_total{{{SELF}}}[15m])) > 10",
        lasts="5m",
        severity="warning",
        lane="all",
        says="Stage {{ $labels.stage }} has put off more than 10 requests in 15 minutes.",
    ),
    Alert(
        name="GlioServeBacklogNotMoving",
        expr=f"sum by (namespace, stage, lane) (glioserve_backlog{{{SELF}}}) > 0\n"
        f"unless\nsum by (namespace, stage, lane) (rate({OUTCOMES}[15m])) > 0",
        lasts="15m",
        severity="critical",
        lane="all",
        says="{{ $value }} {{ $labels.lane }} requests wait for stage {{ $labels.stage }}, and none is finished.",
    ),
    Alert(
        name="GlioServeOutboxStuck",
        expr=f"max by (namespace) (min_over_time(glioserve_outbox_pending{{{SELF}}}[5m])) > 0",
        severity="critical",
        lane="all",
        says="{{ $value }} requests have not reached the bus for 5 minutes.",
    ),
    Alert(
        name="GlioServeOutcomesNotTaken",
        expr=f'max by (namespace) ({LAG}"glioserve[.]study[.]outcome[.]v1"}}) > 60',
        lasts="2m",
        severity="critical",
        lane="all",
        says="The gateway is {{ $value | humanizeDuration }} behind with what the stages report.",
    ),
]

GATEWAY: list[Alert] = [
    Alert(
        name="GlioServeHttpErrorsFast",
        expr=f"{burns('glioserve_http_broken', ('1h', '5m'), FAST * HTTP_BUDGET)}\n"
        f"and\n{happened('glioserve_http_broken', '1h')} >= 5",
        lasts="2m",
        severity="critical",
        lane="all",
        says="{{ $value | humanizePercentage }} of the HTTP answers of the last hour are errors of ours.",
    ),
    Alert(
        name="GlioServeHttpErrorsSlow",
        expr=f"{burns('glioserve_http_broken', ('6h', '30m'), SLOW * HTTP_BUDGET)}\n"
        f"and\n{happened('glioserve_http_broken', '6h')} >= 5",
        lasts="15m",
        severity="warning",
        lane="all",
        says="{{ $value | humanizePercentage }} of the HTTP answers of the last six hours are errors of ours.",
    ),
    Alert(
        name="GlioServeUploadsRefusedForRoom",
        expr=f"{happened('glioserve_http_no_room', '10m')} > 0",
        severity="critical",
        lane="all",
        says="Uploads were refused because the disk is nearly full.",
    ),
    Alert(
        name="GlioServeDiskFilling",
        expr=f"min by (namespace, folder) (glioserve_free_bytes{{{SELF}}}) < 10 * 2 ^ 30\nor\n"
        f"min by (namespace, folder) (predict_linear(glioserve_free_bytes{{{SELF}}}[6h], 24 * 3600)"
        f" and glioserve_free_bytes{{{SELF}}} offset 6h) < 2 ^ 30",
        lasts="15m",
        severity="warning",
        lane="all",
        says="The folder {{ $labels.folder }} has less than 10 GiB left, or will be full within a day.",
    ),
]

ALERTS = STUDIES + BUS + GATEWAY
