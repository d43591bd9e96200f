"""An operation: one session, its series one after the other, and how well each mask agrees with the truth.

Every series waits for the answer to the one before it and then for `pause_s`, as a surgeon does.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from glioserve.navigation.v1 import answers_pb2

from loadtests.figures import Row
from loadtests.studies import Studies
from loadtests.theatre_client import Answered, SeriesFile, TheatreSession
from services.core.contracts.enums import Modality
from tests.system.stack import Stack

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A series of an operation: a NIfTI file and the labels that its mask should show (on any grid, RAS mm)."""

    series: str
    path: str
    modality: str
    anatomy_changed: bool
    truth: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Where and for which study of the gateway; the session stays open for `hold_s` from the first answer on."""

    address: str
    study: str
    moves: Sequence[Move]
    deadline_s: float = 30.0
    pause_s: float = 15.0
    hold_s: float = 0.0

    def write(self, path: Path) -> Path:
        """As a file for the generator."""
        path.write_text(json.dumps(asdict(self)))
        return path

    @staticmethod
    def read(path: Path) -> Operation:
        """The inverse of `write`."""
        document = json.loads(path.read_text())
        return Operation(**document | {"moves": [Move(**move) for move in document["moves"]]})


def resection(studies: Studies, person: int) -> list[Move]:
    """T1c before the resection; T2f and T1c after it, both flagged as changed."""
    case = studies.theatre(person)

    def move(name: str, modality: Modality, *, changed: bool) -> Move:
        files, truth = (case.series_after, case.labels_after) if changed else (case.series_before, case.labels_before)
        return Move(
            series=name, path=str(files[modality]), modality=str(modality), anatomy_changed=changed, truth=str(truth)
        )

    return [
        move("t1c-before", Modality.T1C, changed=False),
        move("t2f-after", Modality.T2F, changed=True),
        move("t1c-after", Modality.T1C, changed=True),
    ]


def ward_study(stack: Stack, file: Path, patient: str) -> str:
    """Sends the study before the operation and waits for its result; gives the gateway's id."""
    study = stack.submit(file, patient=patient, acquired="2031-04-01")
    stack.wait_done(study, within_s=900)
    return study


def perform(plan: Path) -> Iterator[Row]:
    """Runs the operation of a file; a row for the session's start, each series, and the end."""
    operation = Operation.read(plan)
    began = time.time()
    with TheatreSession(operation.address, operation.study, operation.deadline_s) as session:
        welcome = session.opened()
        yield {
            "event": "session", "began": began, "ended": time.time(), "modalities": list(welcome.modalities),
            "limit": answers_pb2.Reason.Name(welcome.limit.reason) if welcome.HasField("limit") else None,
            "token": welcome.resume_token, "poses": welcome.poses_address,
        }  # fmt: skip
        until = math.inf
        for number, move in enumerate(operation.moves):
            if number:
                time.sleep(operation.pause_s)
            yield _made(session, move, operation.deadline_s)
            until = min(until, time.time() + operation.hold_s)
        time.sleep(max(0.0, min(until, time.time() + operation.hold_s) - time.time()))
    yield {"event": "session-end", "began": began, "ended": time.time()}


def _made(session: TheatreSession, move: Move, deadline_s: float) -> Row:
    series = SeriesFile(
        name=move.series, path=Path(move.path), modality=move.modality, anatomy_changed=move.anatomy_changed
    )
    began = time.time()
    answered = session.wait(session.send(series), deadline_s + 30.0)
    row = {"event": "series", "series": move.series, "began": began, "ended": time.time(), **told(answered)}
    mask = answered.final or answered.coarse
    if mask is not None:
        row["names_its_series"] = mask.series_digest == answered.digest
        row["dice"] = agreement(mask.mask, Path(move.truth))
        row["used"], row["unavailable"] = list(mask.used), list(mask.unavailable)
        row["needs_review"] = mask.needs_review
    return row


def told(answered: Answered) -> Row:
    """An answer as numbers for a report."""
    seconds = {
        name: None if value is None else round(value, 3)
        for name, value in (
            ("coarse_s", answered.coarse_s), ("final_s", answered.final_s), ("last_word_s", answered.last_word_s),
        )
    }  # fmt: skip
    return {**seconds, "word": answered.word, "reasons": answered.reasons, "last_byte_at": answered.last_byte_at}


def agreement(mask: answers_pb2.Mask, truth: Path) -> dict[str, float]:
    """Dice of WT, TC and ET on the mask's grid, the truth taken at its voxel centres (nearest neighbour)."""
    shape = tuple(mask.grid.shape)
    labels = np.frombuffer(zlib.decompress(mask.labels_zlib), np.uint8).reshape(shape)
    image: Any = nibabel.load(truth)
    affine = np.linalg.inv(image.affine) @ np.array(mask.grid.affine).reshape(4, 4)
    points = np.indices(shape).reshape(3, -1)
    nearest = np.rint(affine[:3, :3] @ points + affine[:3, 3:]).astype(int)
    data = np.asanyarray(image.dataobj)
    inside = np.all((nearest >= 0) & (nearest < np.array(data.shape)[:, None]), axis=0)
    wanted = np.zeros(points.shape[1], np.uint8)
    wanted[inside] = data[tuple(nearest[:, inside])]
    found = labels.ravel()
    return {name: round(_dice(np.isin(found, region), np.isin(wanted, region)), 3) for name, region in REGIONS.items()}


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    """1 when both are empty."""
    both = int(a.sum() + b.sum())
    return 1.0 if both == 0 else 2 * int((a & b).sum()) / both
