"""Whole evaluations: cases in order, one line each to a file; lines that are there already are not measured again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from services.core.contracts.enums import STRUCTURAL, Marker, Modality
from services.core.imaging.labels import volumes_ml
from services.evaluation.cases import read_volume, reference_case
from services.evaluation.measure import GRID, Row, about, flagged, measured
from services.evaluation.metrics import region_dices
from services.evaluation.origin import Origin
from services.evaluation.pictures import draw, picture_path
from services.evaluation.served import ServedModels
from services.evaluation.thinning import CLINICAL, FULL, Case, all_dropped, two_dropped, with_only
from services.phantom import frozen
from services.phantom.anatomy import load_atlas
from services.phantom.prepared import PreparedCase, prepared, prepared_volumes
from services.phantom.randomised import CaseOptions, TrainingCase, randomised_case
from services.phantom.randomised_atlas import tissue_atlas

NOTICE = "research use; synthetic training data; not for diagnosis"
REFERENCE_LOG = Path(__file__).with_name("reference_log.jsonl")
PAIR = (Modality.T1C, Modality.T2F)
SYNTHETIC_SEEDS = 30_000_000
"""The randomised cases that training keeps for tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How far a run goes: cases `first` to `first + count`; the first `deep` of them under every protocol."""

    count: int
    first: int = 0
    deep: int = 0
    all_drops: bool = False


def lines(path: Path) -> list[Row]:
    """What a file of lines holds; nothing where there is none. A last line that was cut off does not count."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def resumed(path: Path, numbers: Iterable[int], origin: Origin, measure: Callable[[int], Row]) -> None:
    """Measures every number that `path` has no line for of this origin."""
    done = {row["number"] for row in lines(path) if origin.made(row)}
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend(path)
    for number in numbers:
        if number not in done:
            row = {"number": number, **origin.stated(), **measure(number)}
            with path.open("a") as file:
                file.write(json.dumps(row, sort_keys=True) + "\n")


def _mend(path: Path) -> None:
    """Takes off what an interrupted run left of a line."""
    if path.exists():
        whole = path.read_bytes()
        if not whole.endswith(b"\n"):
            os.truncate(path, whole.rfind(b"\n") + 1)


def phantoms(models: ServedModels, folder: Path, extent: Extent) -> None:
    """The frozen tumours: four sequences for all, every protocol for the first `deep`."""

    def measure(number: int) -> Row:
        deep = number < extent.first + extent.deep
        study = frozen.tumour_study(number, functional=deep)
        protocols: dict[str, tuple[Modality, ...]] = {FULL: STRUCTURAL}
        if deep:
            protocols = {**CLINICAL, **two_dropped(), **(all_dropped() if extent.all_drops else {})}
        case, path = prepared(study), picture_path(folder, models.digests, number)
        return {**about(study), **measured(models, case, protocols, lambda answer: draw(path, case, answer.labels))}

    numbers = range(extent.first, min(extent.first + extent.count, frozen.TUMOURS))
    resumed(folder / "phantoms.jsonl", numbers, models.origin, measure)


def operated(models: ServedModels, folder: Path, extent: Extent) -> None:
    """Phantoms after a resection, four sequences."""

    def measure(number: int) -> Row:
        study = frozen.operated_study(number)
        return {**about(study), **measured(models, prepared(study), {FULL: STRUCTURAL})}

    resumed(folder / "operated.jsonl", range(extent.first, extent.first + extent.count), models.origin, measure)


def synthetic(models: ServedModels, folder: Path, extent: Extent) -> None:
    """Domain-randomised cases that no training draws: four sequences, and t1c with t2f."""
    atlas = tissue_atlas(load_atlas(), 1.0)

    def measure(number: int) -> Row:
        drawn = randomised_case(SYNTHETIC_SEEDS + number, atlas, CaseOptions(all_sequences=True))
        row = measured(models, _all_slots(drawn), {FULL: STRUCTURAL, "t1c t2f": PAIR})
        return {"kind": "healthy" if drawn.kind is None else str(drawn.kind), **row}

    resumed(folder / "synthetic.jsonl", range(extent.first, extent.first + extent.count), models.origin, measure)


def _all_slots(drawn: TrainingCase) -> Case:
    absent = len(Modality) - len(STRUCTURAL)
    return PreparedCase(
        image=np.pad(drawn.image.astype(np.float16), ((0, absent), (0, 0), (0, 0), (0, 0))),
        available=np.pad(drawn.available, (0, absent)),
        quality=np.pad(drawn.quality, ((0, absent), (0, 0))),
        labels=drawn.labels,
        brain=drawn.brain,
    )


def healthy(models: ServedModels, folder: Path, extent: Extent, data: Path | None) -> None:
    """The frozen brains without tumour; the real template as t1n alone where the reference data are."""

    def measure(number: int) -> Row:
        study = frozen.healthy_study(number)
        return {**about(study), **_false_findings(models, prepared(study), STRUCTURAL)}

    numbers = range(extent.first, min(extent.first + extent.count, frozen.HEALTHY))
    resumed(folder / "healthy.jsonl", numbers, models.origin, measure)
    if data is not None:
        resumed(folder / "template.jsonl", [0], models.origin, lambda _: _template(models, data))


def _false_findings(models: ServedModels, case: Case, kept: tuple[Modality, ...]) -> Row:
    answer = models.answer(with_only(case, kept))
    return {"ml": volumes_ml(answer.labels, GRID)["WT"], "flags": flagged(models, answer, kept)}


def _template(models: ServedModels, data: Path) -> Row:
    head = read_volume(data / "template" / "ch2.nii.gz", Modality.T1N)
    brain = head.with_data((head.data > 0).astype(np.uint8))
    nothing = head.with_data(np.zeros(head.data.shape, dtype=np.uint8))
    case = prepared_volumes({Modality.T1N: head}, brain, nothing)
    return _false_findings(models, case, (Modality.T1N,))


def markers(models: ServedModels, folder: Path, extent: Extent, kept: Path | None) -> None:
    """Marker evidence of the frozen 2 mm phantoms, with all ten sequences and with the structural four."""

    def measure(number: int) -> Row:
        case, truth = _made(number) if kept is None else _kept(kept / f"{number}.npz")
        row: Row = {"truth": truth, "evidence": {}}
        for name, sequences in (("all ten", tuple(Modality)), (FULL, STRUCTURAL)):
            answer = models.coarse(with_only(case, sequences))
            row["evidence"][name] = {str(m.marker): [m.absent, m.present] for m in answer.markers}
        return row

    numbers = range(extent.first, min(extent.first + extent.count, frozen.MARKERS))
    resumed(folder / "markers.jsonl", numbers, models.origin, measure)


def _made(number: int) -> tuple[Case, dict[str, bool]]:
    study = frozen.marker_study(number)
    g = study.genotype
    assert g is not None
    return prepared(study, 2.0), _named((g.idh_mutant, g.codel_1p19q, g.mgmt_methylated, g.h3k27m))


def _kept(path: Path) -> tuple[Case, dict[str, bool]]:
    with np.load(path, allow_pickle=False) as stored:
        parts = {name: stored[name] for name in stored.files}
    truth = _named(tuple(bool(value) for value in parts.pop("truth")))
    space = parts["image"].shape[1:]
    case = PreparedCase(**parts, labels=np.zeros(space, dtype=np.uint8), brain=np.ones(space, dtype=bool))
    return case, truth


def _named(values: tuple[bool, ...]) -> dict[str, bool]:
    return {str(marker): value for marker, value in zip(Marker, values, strict=True)}


def reference(models: ServedModels, data: Path, log: Path = REFERENCE_LOG) -> Row:
    """One line to `log` for these weights: four sequences, and t1c with t2f. Raises ValueError when they have one."""
    if any(line["models"] == models.digests for line in lines(log)):
        raise ValueError("these weights were read on the reference case before; see the log")
    case = reference_case(data)
    whole, pair = models.answer(case), models.answer(with_only(case, PAIR))
    found = {"coarse": whole.coarse_labels, "fine": whole.labels, "t1c t2f": pair.labels}
    entry: Row = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "models": models.digests,
        "dice": {name: region_dices(labels, case.labels) for name, labels in found.items()},
        "ml": {name: volumes_ml(labels, GRID) for name, labels in {**found, "reference": case.labels}.items()},
        "reference": "an algorithm's segmentation, not a person's",
        "notice": NOTICE,
    }
    with log.open("a") as file:
        file.write(json.dumps(entry, sort_keys=True) + "\n")
    return entry
