"""The page of the capacity model. It says on top that nothing on it was measured but what went in."""

from __future__ import annotations

from html import escape

from matplotlib.axes import Axes

from loadtests.figures import Row
from loadtests.page import LANES, STYLE, figure, table

SHARES = ("p50", "p95", "p99")
SIMULATED = (
    "Simulated. Only the service times and the runs of the check were measured; demand and start-up times of pods are "
    "assumptions."
)
PICKED = (
    "Largest numbers of pods that the chart's rules asked for on such a day; partitions follow the largest stage; "
    "spares are the fewest with which 99 % of the sessions find room at once."
)


def page(document: Row) -> str:
    """The page as HTML."""
    hospital, starts = document["assumed"]["hospital"], document["assumed"]["pod_starts_s"]
    assumed = (
        f"A hospital is assumed to send {hospital['studies']:g} studies a day, a third of them between 8 and 10, "
        f"{100 * hospital['urgent']:g} % urgent, and to run {hospital['operations']:g} operation a day of "
        f"{hospital['operation_h']:g} h with {hospital['series']} series. Pods are assumed to be ready after "
        f"{starts['stage']:g} s (stage), {starts['triton']:g} s (Triton), {starts['theatre']:g} s (theatre). Scaling "
        "follows the rules of the chart (KEDA: lag, pending requests, open sessions)."
    )
    parts = [
        f"<h1>Capacity of 1 to 1000 hospitals</h1><p class='notice'>{SIMULATED} {escape(document['notice'])}.</p>",
        f"<p>{escape(assumed)}</p>",
        f"<p class='small'>Service times from {escape(document['source'])}: {_service(document['service_s'])}</p>",
        "<h2>Check against real runs on one machine</h2>", _check(document["check"]),
        "<h2>The ward</h2>", _ward(document["days"]),
        figure(_plot, document, "p95 of a day by number of hospitals and lane; dashed: with as many pods as asked for"),
        *_theatre(document["days"]),
        "<h2>Values by size</h2>", _picked(document["picked"]),
        f"<p class='small'>{PICKED}</p>",
    ]  # fmt: skip
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>GlioServe: capacity (simulated)</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _service(seconds: Row) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_few(value)} s" for name, value in seconds.items() if value)


def _few(value: float | list[float]) -> str:
    return " / ".join(f"{one:g}" for one in value) if isinstance(value, list) else f"{value:g}"


def _check(rows: list[Row]) -> str:
    heads = (
        "run",
        "studies",
        "jobs at full speed",
        "real p50",
        "simulated p50",
        "ratio",
        "real p95",
        "simulated p95",
        "ratio",
    )
    lines = [
        (row["scenario"], row["studies"], row["jobs_at_full_speed"], *(row[s][k] for s in ("p50", "p95")
         for k in ("real_s", "simulated_s", "ratio")))
        for row in rows
    ]  # fmt: skip
    return table(heads, lines)


def _ward(days: list[Row]) -> str:
    lines = []
    for row in days:
        for name, words in (("defaults", "chart's defaults"), ("unbounded", "as many pods as asked for")):
            found = row["ward"][name]
            pods = max(found["most_pods"].values())
            lines.append((
                f"{row['hospitals']} ({row['studies_a_day']} studies), {words}",
                *(found["stat"].get(s) for s in SHARES), *(found["routine"].get(s) for s in SHARES), pods,
            ))  # fmt: skip
    heads = ("hospitals", *(f"stat {s}" for s in SHARES), *(f"routine {s}" for s in SHARES), "most pods of a component")
    return table(heads, lines)


def _theatre(days: list[Row]) -> list[str]:
    lines = []
    for row in days:
        for name, words in (("defaults", "chart's defaults"), ("picked", "enough spares")):
            found = row.get("theatre", {}).get(name)
            if found is not None:
                lines.append((
                    f"{row['hospitals']} ({row['operations_a_day']} operations), {words}", found["spare"],
                    found["most_pods"], f"{100 * found['found_no_room_at_once']:.1f} %", found["welcome_s"].get("p99"),
                    found["coarse_s"].get("p99"), found["final_s"].get("p50"), found["final_s"].get("p99"),
                ))  # fmt: skip
    if not lines:
        return ["<h2>The theatre</h2><p>No theatre series were measured: not available.</p>"]
    heads = ("hospitals", "spare pods", "most pods", "found no room at once", "welcome p99 s", "coarse p99 s",
             "final p50 s", "final p99 s")  # fmt: skip
    return ["<h2>The theatre</h2>", table(heads, lines)]


def _picked(values: Row) -> str:
    names = list(next(iter(values.values())))
    return table(("hospitals", *names), [(size, *row.values()) for size, row in values.items()])


def _plot(axes: Axes, document: Row) -> None:
    sizes = [row["hospitals"] for row in document["days"]]
    for name, style in (("defaults", "-"), ("unbounded", "--")):
        for lane in ("stat", "routine"):
            values = [row["ward"][name][lane].get("p95") for row in document["days"]]
            axes.plot(sizes, values, style, marker="o", color=LANES[lane], label=f"{lane}, {name}")
    axes.set(xscale="log", yscale="log", xlabel="hospitals", ylabel="p95, s")
    axes.legend(fontsize=7)
