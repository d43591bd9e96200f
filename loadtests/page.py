"""One page without outside parts from a document of `loadtests.run`: tables, and plots as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.figures import Row

Draw: TypeAlias = "Callable[[Axes, Row], None]"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
.notice { background: #fff3cd; border-left: 6px solid #e0a800; padding: .6rem 1rem; font-weight: 600 }
table { border-collapse: collapse; margin: .6rem 0 1.4rem }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
.yes { color: #1a7f37; font-weight: 600 } .no { color: #b42318; font-weight: 600 }
figure { margin: 0 0 1.6rem } svg { max-width: 100%; height: auto } figcaption, .small { color: #555; font-size: .9rem }
"""
LANES = {"stat": "#bc4749", "routine": "#2a6f97", "theatre": "#386641"}
SHARES = ("count", "p50", "p95", "p99", "max")


def page(document: Row, title: str, words: str) -> str:
    """The page as HTML; `words` say what was done."""
    parts = [
        f"<h1>{escape(title)}</h1><p class='notice'>{escape(document['notice'])}</p><p>{escape(words)}</p>",
        _where(document),
        *_rows(document.get("rows", {})),
        *_operations(document.get("operations", {})),
        "<h2>Accepted = finished + explained</h2>", _account(document["account"]),
        "<h2>Seconds by lane</h2>", _lanes(document["lanes"]),
        figure(_arrivals_plot, document, "Studies: when due (open) and when their last output was stored (filled)"),
        "<h2>Seconds inside the stages' handlers</h2>", _histograms(document["handlers_s"]),
        "<h2>Seconds of a call to Triton</h2>", _histograms(document["triton_s"]),
        "<h2>Queues, memory, processor</h2>",
        figure(_queue_plot, document, "Requests on the bus that no stage has done yet"),
        figure(_memory_plot, document, f"Memory (PSS); peak of everything {document['peak_pss_mib']['total']:.0f} MiB"),
        figure(_cpu_plot, document, "Cores in use; others: processes that do not belong to this home"),
    ]  # fmt: skip
    body = "\n".join(parts)
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>GlioServe: {escape(title)}</title><style>{STYLE}</style><body>{body}</body></html>\n"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers are shown as they are, None as a dash."""
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    lines = ("".join(f"<td>{_cell(value)}</td>" for value in row) for row in rows)
    return f"<table><tr>{top}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def figure(draw: Draw, document: Row, caption: str) -> str:
    """A plot as inline SVG with its caption."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "glioserve", "font.size": 9}):
        drawing = Figure(figsize=(7.2, 2.8), layout="constrained")
        draw(drawing.subplots(), document)
        out = io.StringIO()
        drawing.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{escape(caption)}</figcaption></figure>"


def _cell(value: object) -> str:
    if value is None:
        return "&ndash;"
    if isinstance(value, bool):
        return f"<span class='{'yes' if value else 'no'}'>{'yes' if value else 'no'}</span>"
    return escape(f"{value:g}" if isinstance(value, float) else str(value))


def _where(document: Row) -> str:
    machine, load, cpu = document["machine"], document["load"], document["cpu"]
    others = f" Other processes of this machine used {cpu['cores_of_others']:g} cores meanwhile." if cpu else ""
    return (
        f"<p class='small'>{machine['cpus']} cores, {machine['memory_gib']} GiB, loopback, one machine. "
        f"{load['studies']} studies in {load['seconds']:g} s; the generator was at most {load['lateness_s']:g} s late."
        f"{escape(others)}</p>"
    )


def _rows(rows: Mapping[str, Row]) -> list[str]:
    """Rows of the table of objectives: measured, bar, reached."""
    if not rows:
        return []
    lines = [(name, row["measured"], row["bar"], row["reached"]) for name, row in rows.items()]
    return ["<h2>Objectives</h2>", table(("what", "measured", "bar", "reached"), lines)]


def _operations(operations: Mapping[str, Sequence[Row]]) -> list[str]:
    parts: list[str] = []
    for name, rows in operations.items():
        heads = ("series", "coarse s", "final s", "word", "reasons", "WT", "TC", "ET", "names its series")
        lines = [
            (
                row["series"], row["coarse_s"], row["final_s"], row["word"], ", ".join(row["reasons"]),
                *(row.get("dice", {}).get(region) for region in ("WT", "TC", "ET")), row.get("names_its_series"),
            )
            for row in rows if row["event"] == "series"
        ]  # fmt: skip
        parts += [f"<h2>Theatre: {escape(name)}</h2>", table(heads, lines)]
    return parts


def _account(account: Row) -> str:
    return table(("", "studies"), [(name.replace("_", " "), _plain(value)) for name, value in account.items()])


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or 0
    return ", ".join(map(str, value)) or 0 if isinstance(value, list) else value


def _lanes(lanes: Mapping[str, Row]) -> str:
    lines: list[Sequence[object]] = []
    for lane, row in lanes.items():
        lines.append((f"{lane}: study, due to last output", *(row["study_s"].get(share) for share in SHARES)))
        lines.append((f"{lane}: upload, due to acknowledged", *(row["upload_s"].get(share) for share in SHARES)))
        for stage, found in row["stages_s"].items():
            lines.append((f"{lane}: {stage}, queue included", *(found.get(share) for share in SHARES)))
    return table(("", *SHARES), lines)


def _histograms(found: Mapping[str, Row]) -> str:
    heads = ("", "count", "mean", "p50 below", "p95 below", "p99 below")
    keys = ("count", "mean", "p50_below", "p95_below", "p99_below")
    return table(heads, [(name, *(row[key] for key in keys)) for name, row in sorted(found.items())])


def _arrivals_plot(axes: Axes, document: Row) -> None:
    for number, study in enumerate(sorted(document["studies"], key=lambda study: study["due_s"])):
        colour = LANES[study["lane"]]
        axes.plot(study["due_s"], number, marker="o", fillstyle="none", color=colour, markersize=3)
        if study["ended_s"] is not None:
            axes.plot([study["due_s"], study["ended_s"]], [number, number], color=colour, linewidth=0.6)
            axes.plot(study["ended_s"], number, marker="o", color=colour, markersize=3)
    _theatre_spans(axes, document)
    axes.set(xlabel="s from the start of the load", ylabel="study")


def _theatre_spans(axes: Axes, document: Row) -> None:
    """Green where a series was being answered, pale where the session was open."""
    for row in document.get("operations", {}).get("flooded", []):
        if row["event"] == "series" and row["last_byte_at"] is not None:
            axes.axvspan(row["from_s"], row["to_s"], color=LANES["theatre"], alpha=0.35, linewidth=0)
        elif row["event"] == "session-end":
            axes.axvspan(row["from_s"], row["to_s"], color=LANES["theatre"], alpha=0.1, linewidth=0)


def _queue_plot(axes: Axes, document: Row) -> None:
    names = sorted({name for row in document["samples"] for name in row["backlog"]})
    for name in names:
        values = [row["backlog"].get(name, 0.0) for row in document["samples"]]
        if any(values):
            axes.step([row["at_s"] for row in document["samples"]], values, where="post", label=name)
    _theatre_spans(axes, document)
    axes.set(xlabel="s from the start of the load", ylabel="requests")
    if names:
        axes.legend(fontsize=7)


def _memory_plot(axes: Axes, document: Row) -> None:
    rows = document["samples"]
    names = sorted(document["peak_pss_mib"]["by_service"], key=document["peak_pss_mib"]["by_service"].get)
    stacked = [[row["pss_mib"].get(name, 0.0) for row in rows] for name in reversed(names)]
    axes.stackplot([row["at_s"] for row in rows], stacked, labels=list(reversed(names)), linewidth=0)
    axes.set(xlabel="s from the start of the load", ylabel="MiB")
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))


def _cpu_plot(axes: Axes, document: Row) -> None:
    rows = document["samples"]
    pairs = list(pairwise(rows))
    names = sorted(rows[-1]["cpu_s"])
    series: dict[str, list[float]] = {name: [] for name in [*names, "others"]}
    for a, b in pairs:
        seconds = max(b["at_s"] - a["at_s"], 0.1)
        used = {name: (b["cpu_s"][name] - a["cpu_s"][name]) if name in a["cpu_s"] and name in b["cpu_s"] else 0.0
                for name in names}  # fmt: skip
        for name in names:
            series[name].append(max(0.0, used[name]) / seconds)
        series["others"].append(max(0.0, b["machine_cpu_s"] - a["machine_cpu_s"] - sum(used.values())) / seconds)
    shown: list[Any] = [name for name in series if max(series[name], default=0.0) > 0.02]
    axes.stackplot([b["at_s"] for _, b in pairs], [series[name] for name in shown], labels=shown, linewidth=0)
    axes.set(xlabel="s from the start of the load", ylabel="cores")
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
