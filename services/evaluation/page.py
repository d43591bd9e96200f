"""One page without outside parts: the bars, the figures by what they depend on, and plots as inline SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.evaluation.bars import Bar
from services.evaluation.pictures import COLOURS as LABEL_COLOURS
from services.evaluation.pictures import NAMES

REGIONS = ("WT", "TC", "ET")
PLOTTED = ("size", "kind")
UNITS = {"hd95": "mm"}
COLOURS = {"WT": "#2a6f97", "TC": "#bc4749", "ET": "#e09f3e"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
.notice { background: #fff3cd; border-left: 6px solid #e0a800; padding: .6rem 1rem; font-weight: 600 }
table { border-collapse: collapse; margin: .6rem 0 1.4rem }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd }
th { text-align: left } td.n { text-align: right; font-variant-numeric: tabular-nums }
.yes { color: #1a7f37; font-weight: 600 } .no { color: #b42318; font-weight: 600 } .open { color: #666 }
figure { margin: 0 0 1.6rem }
figure img { width: 100%; background: #000 }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em }
svg { max-width: 100%; height: auto } figcaption, .small { color: #555; font-size: .9rem }
"""


def page(
    report: Mapping[str, Any], reached: Sequence[Bar], made_at: str, pictures: Mapping[int, bytes] | None = None
) -> str:
    """The page as HTML. `pictures`: PNG of phantoms by their number."""
    parts = [
        f"<h1>Evaluation of the fusion networks</h1><p class='notice'>{escape(str(report['notice']))}</p>",
        _origin(report, made_at),
        "<h2>Bars</h2>",
        _bars(reached),
    ]
    if "phantoms" in report:
        parts += _phantoms(report["phantoms"])
        parts += ["<h2>The five worst</h2>", *_worst(report["phantoms"]["worst"], pictures or {})]
    if "operated" in report:
        parts += ["<h2>After a resection</h2>", _dice_table({"operated phantoms": report["operated"]})]
        parts.append(f"<p>Dice of the cavity: {report['operated']['cavity']:.2f}</p>")
    if "synthetic" in report:
        parts += ["<h2>Domain-randomised cases</h2>", _dice_table(report["synthetic"]["protocols"])]
    if "healthy" in report:
        parts += ["<h2>Brains without a tumour</h2>", _pairs(report["healthy"])]
    if "template" in report:
        parts += ["<h2>A real healthy template, T1 only</h2>", _pairs(report["template"])]
    if "markers" in report:
        parts += ["<h2>Markers</h2>", _markers(report["markers"])]
    body = "\n".join(parts)
    title = "GlioServe: evaluation"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><body>{body}</body></html>\n"
    )


def _origin(report: Mapping[str, Any], made_at: str) -> str:
    digests = ", ".join(f"{escape(name)} <code>{escape(d[:19])}</code>" for name, d in report["models"].items())
    version = report["generator_version"]
    return (
        f"<p class='small'>Made {escape(made_at)}. Models: {digests}. Phantom generator version {version}, frozen "
        "seeds. The cases come prepared: errors of preparation are not in these figures. Empty masks: both empty is "
        "Dice 1, one empty is 0.</p>"
    )


def _bars(reached: Sequence[Bar]) -> str:
    rows = []
    for bar in reached:
        value = "not measured" if bar.value is None else f"{bar.value:.3f}"
        sign = "at least" if bar.at_least else "at most"
        word, style = {True: ("reached", "yes"), False: (f"missed by {bar.missing:.3f}", "no"), None: ("open", "open")}[
            bar.reached
        ]
        rows.append(
            f"<tr><td>{escape(bar.name)}</td><td class='n'>{value}</td><td>{sign} {bar.bar:g}</td>"
            f"<td class='{style}'>{word}</td></tr>"
        )
    return "<table><tr><th>what</th><th>value</th><th>bar</th><th></th></tr>" + "".join(rows) + "</table>"


def _phantoms(found: Mapping[str, Any]) -> list[str]:
    parts = [
        f"<h2>{found['cases']} phantoms with a tumour</h2>",
        _dice_table({"served mask": found, "coarse mask alone": {"dice": found["coarse"], "cases": found["cases"]},
                     "Otsu thresholds (the peer)": {"dice": found["baseline"], "cases": found["cases"]}}),
        _figure(_calibration_plot, found["bins"], f"Confidence and accuracy near the tumour; ECE {found['ece']:.3f}"),
        _figure(_risk_plot, found["risk_coverage"], "Most certain cases first: mean WT error (1 - Dice) up to there; "
                f"mean over the curve {found['risk_coverage']['area']:.3f}"),
    ]  # fmt: skip
    if found["protocols"]:
        parts += ["<h2>By what was sent</h2>", _dice_table(found["protocols"]),
                  _figure(_dice_plot, found["protocols"], "Mean Dice by set of sequences")]  # fmt: skip
    if found["two_missing"] is not None:
        lost = {name: {"WT Dice lost": loss} for name, loss in found["two_missing"]["lost_wt"].items()}
        parts += ["<h3>When two are missing</h3>", _table(lost, digits=3)]
    for name, groups in found["by"].items():
        parts += [f"<h3>By {escape(name)}</h3>", _dice_table(groups)]
        if name in PLOTTED:
            parts.append(_figure(_dice_plot, groups, f"Mean Dice by {name}"))
    return [*parts, "<h2>Surfaces, lesions and volumes</h2>", *_closely(found)]


def _closely(found: Mapping[str, Any]) -> list[str]:
    surface = {r: {f"{k} {UNITS.get(k, '')}".strip(): v for k, v in found["surfaces"][r].items()} for r in REGIONS}
    lesions, instances = found["lesions"], found["instances"]
    names = {"bias_ml": "bias ml", "bias_percent": "bias %", "sensitivity": "sensitivity", "specificity": "specificity"}
    volumes = {r: {text: found[key][r] for key, text in names.items()} for r in REGIONS}
    sections = {
        "Surfaces: mean HD95, and share within 1 and 2 mm (one mask empty: the box's diagonal, and 0).": surface,
        "Lesion by lesion (BraTS 2023): parts per case, mean Dice and HD95 over true and false ones.": lesions,
        "Instances one to one from an IoU of 0.5 (panoptica): parts per case, F1, Dice of the pairs.": instances,
        "Volumes: median of predicted less true. Voxels: mean, inside the brain.": volumes,
    }
    return [f"<p class='small'>{text}</p>{_table(rows)}" for text, rows in sections.items()]


def _dice_table(groups: Mapping[str, Any]) -> str:
    head = "<tr><th></th><th>cases</th>" + "".join(f"<th>{region}</th>" for region in REGIONS) + "</tr>"
    rows = [
        f"<tr><td>{escape(name)}</td><td class='n'>{group['cases']}</td>"
        + "".join(f"<td class='n'>{group['dice'][region]:.3f}</td>" for region in REGIONS)
        + "</tr>"
        for name, group in groups.items()
    ]
    return f"<table>{head}{''.join(rows)}</table>"


def _table(rows: Mapping[str, Mapping[str, float | None]], digits: int = 2) -> str:
    names = list(next(iter(rows.values())))
    head = "<tr><th></th>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"
    body = [
        f"<tr><td>{escape(label)}</td>"
        + "".join(f"<td class='n'>{_number(row[name], digits)}</td>" for name in names)
        + "</tr>"
        for label, row in rows.items()
    ]
    return f"<table>{head}{''.join(body)}</table>"


def _pairs(values: Mapping[str, Any]) -> str:
    rows = [f"<tr><td>{escape(k)}</td><td class='n'>{_number(v)}</td></tr>" for k, v in values.items()]
    return f"<table>{''.join(rows)}</table>"


def _number(value: Any, digits: int = 3) -> str:
    if value is None or value == []:
        return "none"
    return f"{value:.{digits}f}" if isinstance(value, float) else escape(str(value))


def _markers(found: Mapping[str, Any]) -> str:
    keys = ("auc", "ece", "answered", "accuracy_of_answered")
    head = "<tr><th>sequences</th><th>marker</th>" + "".join(f"<th>{key}</th>" for key in keys) + "</tr>"
    rows = [
        f"<tr><td>{escape(name)}</td><td>{escape(marker)}</td>"
        + "".join(f"<td class='n'>{_number(figures[key])}</td>" for key in keys)
        + "</tr>"
        for name, part in found.items()
        for marker, figures in part.items()
        if isinstance(figures, Mapping)
    ]
    return f"<table>{head}{''.join(rows)}</table>"


def _worst(rows: Sequence[Mapping[str, Any]], pictures: Mapping[int, bytes]) -> list[str]:
    key = "".join(
        f"<span class='key' style='background:{colour}'></span>{NAMES[label]}"
        for label, colour in LABEL_COLOURS.items()
    )
    parts = [f"<p class='small'>FLAIR, T1c, truth, answer; the head's left is on the right.{key}</p>"]
    for row in rows:
        scores = ", ".join(f"{region} {row['dice'][region]:.2f}" for region in REGIONS)
        text = (
            f"phantom {row['number']}: {row['kind']}, {row['truth_ml']['WT']:.0f} ml, {row['noise']}, "
            f"{row['slices']} slices, {row['motion']}. Dice: {scores}"
        )
        png = pictures.get(row["number"])
        data = "" if png is None else base64.b64encode(png).decode()
        image = f"<img alt='' src='data:image/png;base64,{data}'>" if data else ""
        parts.append(f"<figure>{image}<figcaption>{escape(text)}</figcaption></figure>")
    return parts


def _figure(draw: Any, data: Any, caption: str) -> str:
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "glioserve", "font.size": 9}):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        draw(figure.subplots(), data)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{escape(caption)}</figcaption></figure>"


def _calibration_plot(axes: Axes, bins: Mapping[str, Sequence[float]]) -> None:
    rows = [
        (c / n, r / n, n) for n, c, r in zip(bins["count"], bins["confidence"], bins["right"], strict=True) if n > 0
    ]
    axes.plot([0, 1], [0, 1], color="#999", linestyle=":")
    axes.plot([row[0] for row in rows], [row[1] for row in rows], marker="o", color="#2a6f97")
    axes.set(xlabel="confidence of the label", ylabel="share that is right", xlim=(0.2, 1.0), ylim=(0.0, 1.02))


def _risk_plot(axes: Axes, data: Mapping[str, Sequence[float]]) -> None:
    axes.plot(data["coverage"], data["risk"], color="#bc4749")
    axes.set(xlabel="share of cases kept, most certain first", ylabel="mean 1 - Dice of WT", xlim=(0, 1), ylim=(0, 1))


def _dice_plot(axes: Axes, groups: Mapping[str, Any]) -> None:
    names = list(groups)[:14]
    for offset, region in enumerate(REGIONS):
        at = [n + 0.27 * (offset - 1) for n in range(len(names))]
        axes.bar(at, [groups[n]["dice"][region] for n in names], width=0.25, color=COLOURS[region], label=region)
    axes.set_xticks(
        range(len(names)), names, rotation=35 if len(names) > 5 else 0, ha="right" if len(names) > 5 else "center"
    )
    axes.set(ylim=(0, 1), ylabel="mean Dice")
    axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
