"""What became of the studies: accepted = finished + explained. And how long they took, from documents of the gateway.

A latency counts from the moment at which the upload was due, not from when it could be sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime

from loadtests.figures import Row, summary
from services.cli.gateway_client import Document
from tests.system.stack import ENDED, Stack

PAGE = 500


def documents(stack: Stack) -> dict[str, Document]:
    """Every study that the gateway knows, by id."""
    found: dict[str, Document] = {}
    with closing(stack.client()) as client:
        before = ""
        while True:
            page = json.loads(client.text(f"/studies?limit={PAGE}{before}"))
            found |= {study["id"]: study for study in page["studies"]}
            if page["next"] is None:
                return found
            before = f"&before={page['next'].replace('+', '%2B')}"


def accepted(uploads: Sequence[Row]) -> list[Row]:
    """Uploads that were acknowledged."""
    return [row for row in uploads if row["event"] == "upload" and row["status"] in (200, 201)]


def all_ended(uploads: Sequence[Row], known: Mapping[str, Document]) -> bool:
    """True once every accepted study has its last word."""
    return all(row["study"] in known and known[row["study"]]["state"] in ENDED for row in accepted(uploads))


def account(uploads: Sequence[Row], known: Mapping[str, Document]) -> Row:
    """The sum. `open`: without an answer when time was up; `lost`: acknowledged, and the gateway does not know it."""
    taken = accepted(uploads)
    lost = [row["study"] for row in taken if row["study"] not in known]
    states = [known[row["study"]] for row in taken if row["study"] in known]
    finished = [d for d in states if d["state"] == "done"]
    explained = [d for d in states if d["state"] == "failed" and _problems(d)]
    refused: dict[str, int] = {}
    for row in uploads:
        if row["event"] == "upload" and row["status"] not in (200, 201):
            key = row["code"] or f"HTTP {row['status']}"
            refused[key] = refused.get(key, 0) + 1
    return {
        "sent": sum(row["event"] == "upload" for row in uploads),
        "refused_at_the_door": refused,
        "accepted": len(taken),
        "finished": len(finished),
        "explained": len(explained),
        "open": len(states) - len(finished) - len(explained),
        "lost": len(lost),
        "holds": len(taken) == len(finished) + len(explained),
        "degraded_or_insufficient": sum(d["completeness"] != "complete" for d in finished),
        "needs_review": sum(d["verdict"] == "needs_review" for d in finished),
        "problems": sorted({code for document in states for code in _problems(document)}),
    }


def latencies(uploads: Sequence[Row], known: Mapping[str, Document]) -> Row:
    """Seconds by lane: whole studies (due to last output stored), each stage (request to outcome, queue included),
    uploads (due to acknowledged).
    """
    ended = [(row, known[row["study"]]) for row in accepted(uploads) if row["study"] in known]
    ended = [(row, document) for row, document in ended if document["state"] == "done"]
    lanes = sorted({row["lane"] for row in uploads if row["event"] == "upload"})
    told: Row = {}
    for lane in lanes:
        mine = [(row, document) for row, document in ended if row["lane"] == lane]
        stages: dict[str, list[float]] = {}
        for _, document in mine:
            for stage in document["stages"]:
                if stage["seconds"] is not None:
                    stages.setdefault(stage["stage"], []).append(stage["seconds"])
        told[lane] = {
            "study_s": summary([finished_at(document) - row["scheduled"] for row, document in mine], 2),
            "upload_s": summary(
                [row["ended"] - row["scheduled"] for row in accepted(uploads) if row["lane"] == lane], 2
            ),
            "stages_s": {name: summary(values, 2) for name, values in stages.items()},
        }
    return told


def finished_at(document: Document) -> float:
    """When the last stage of a study ended, as seconds since 1970."""
    ends = [stage["finished_at"] for stage in document["stages"] if stage["finished_at"] is not None]
    return max(datetime.fromisoformat(end).timestamp() for end in ends)


def _problems(document: Document) -> list[str]:
    return [stage["problem"]["code"] for stage in document["stages"] if stage["problem"] is not None]
