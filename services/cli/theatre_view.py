"""Answers of a session in words for a person, or as one JSON document a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from glioserve.navigation.v1 import answers_pb2
from google.protobuf.json_format import MessageToDict
from rich.console import Console

from services.cli.theatre_client import Response

BULK = ("labels_zlib", "vacuity_zlib")
Document = dict[str, Any]


class Show(Protocol):
    """What a person or a program sees of the answers."""

    def answer(self, response: Response) -> None:
        """An answer of the session."""

    def pose(self, answer: Document) -> None:
        """An answer to a pose."""


class Documents:
    """One JSON document a line; voxels stay out (`--out` writes them)."""

    def answer(self, response: Response) -> None:
        """Prints it."""
        print(json.dumps(_without_voxels(_document(response))), flush=True)

    def pose(self, answer: Document) -> None:
        """Prints it."""
        print(json.dumps({"pose": answer}), flush=True)


class Lines:
    """One line an answer."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def answer(self, response: Response) -> None:
        """Prints it."""
        self._print(_line(response))

    def pose(self, answer: Document) -> None:
        """Prints it."""
        refusal = answer.get("limit", {}).get("message", "")
        distance = answer.get("tumour_mm")
        near = "" if distance is None else f"{distance:6.1f} mm to the tumour"
        self._print(f"pose {answer.get('number', 0):>6} {answer.get('tissue', refusal)} {near}".rstrip())

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _line(response: Response) -> str:
    body = response.WhichOneof("body")
    return _LINES[body](response) if body else ""


def _accepted_line(response: Response) -> str:
    told = response.accepted
    known = f" with {', '.join(told.modalities)} of earlier" if told.modalities else ""
    return f"session open{known}" + (f"; {_said(told.limit)}" if told.HasField("limit") else "")


def _degraded_line(response: Response) -> str:
    told = response.degraded
    best = f"; best so far: {_mask_line(told.best)}" if told.HasField("best") else ""
    return f"{told.series}: DEGRADED, {_said(told.limit)}{best}"


def _mask_line(answer: answers_pb2.MaskAnswer) -> str:
    kind = "final" if answer.kind == answers_pb2.MASK_KIND_FINAL else "coarse"
    ml = ", ".join(f"{name} {answer.mask.volumes_ml[name]:.1f}" for name in ("WT", "TC", "ET"))
    left = answer.time_left.ToNanoseconds() / 1e9
    review = " (needs review)" if answer.needs_review else ""
    limits = "".join(f"\n    {_said(limit)}" for limit in answer.limits)
    return f"{answer.series}: {kind} mask{review}, ml: {ml}; {left:.1f} s left; {answer.notice}{limits}"


def _said(limit: answers_pb2.Limit) -> str:
    name = answers_pb2.Reason.Name(limit.reason).removeprefix("REASON_")
    return f"{limit.message} [{name}] {limit.advice}".strip()


def _document(response: Response) -> Document:
    return MessageToDict(response, preserving_proto_field_name=True)


def _without_voxels(document: Document) -> Document:
    return {
        key: _without_voxels(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if key not in BULK
    }


_LINES: Mapping[str, Callable[[Response], str]] = {
    "accepted": _accepted_line,
    "progress": lambda response: f"{response.progress.series}: {response.progress.step}",
    "mask": lambda response: _mask_line(response.mask),
    "degraded": _degraded_line,
    "refused": lambda response: f"{response.refused.series}: refused, {_said(response.refused.limit)}",
    "cancelled": lambda response: f"{response.cancelled.series}: cancelled",
    "ended": lambda response: f"stream ended: {_said(response.ended.limit)}",
}
