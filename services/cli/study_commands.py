"""`submit`, `status`, `results` and `replay`: conversations with the gateway. Each gives an exit code."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from services.cli.exit_codes import Exit
from services.cli.gateway_client import Document, GatewayClient, Submission
from services.cli.progress import progress, said, seconds_of
from services.cli.source import assignments, collect
from services.core.contracts.errors import Refused
from services.core.contracts.result_model import PROVENANCE_SCHEMA

POLL_S = 0.5
COLUMNS = ("id", "version", "lane", "state", "revision", "completeness", "verdict")
ENDED = frozenset({"done", "failed"})


def submit(gateway: GatewayClient, options: argparse.Namespace) -> int:
    """Uploads a study; with --wait or --out follows it to its end and fetches the results."""
    document = gateway.submit(
        Submission(
            files=collect(Path(options.path)),
            lane=options.lane,
            patient=options.patient,
            acquired=options.acquired,
            sequences=assignments(options.sequence),
        )
    )
    if not (options.wait or options.out):
        _print(document, options.json, taken(document))
        return Exit.OK
    if not options.json:
        sys.stderr.write(f"{taken(document)}\n")
    ended = follow(gateway, document["id"], timeout_s=options.timeout, quiet=options.json)
    if ended is None:
        _print(gateway.study(document["id"]), options.json, "the wait was given up; the study goes on")
        return Exit.TIMED_OUT
    if options.out and ended["revision"] is not None:  # without any report there is nothing to fetch
        fetch_all(gateway, ended["id"], Path(options.out))
    _print(ended, options.json, ending(ended) + (f"\nresults lie in {options.out}" if options.out else ""))
    return exit_of(ended)


def status(gateway: GatewayClient, options: argparse.Namespace) -> int:
    """Shows one study, or all."""
    if options.study:
        document = gateway.study(options.study)
        _print(document, options.json, summary(document))
        return Exit.OK
    listing = gateway.studies()
    if options.json:
        sys.stdout.write(json.dumps(listing, indent=2) + "\n")
        return Exit.OK
    print(table(listing["studies"]) if listing["studies"] else "no study yet; send one: glioserve submit FOLDER")
    if listing["next"] is not None:
        print("older studies are not shown")
    return Exit.OK


def results(gateway: GatewayClient, options: argparse.Namespace) -> int:
    """Fetches the current results into a folder."""
    names = fetch_all(gateway, options.study, Path(options.out))
    _print({"study": options.study, "out": options.out, "files": names}, options.json, "\n".join(names))
    return Exit.OK if names else Exit.NOT_FOUND


def replay(gateway: GatewayClient, options: argparse.Namespace) -> int:
    """Asks for a stage to run once more."""
    document = gateway.replay(options.study, options.stage)
    _print(document, options.json, f"study {options.study} runs again")
    return Exit.OK


def follow(gateway: GatewayClient, study: str, *, timeout_s: float, quiet: bool) -> Document | None:
    """Shows progress until the study has ended; None when the time is over first."""
    deadline = time.monotonic() + timeout_s
    with progress(quiet=quiet) as view:
        while True:
            for document in gateway.events(study):
                if document is not None:
                    view.show(document)
                    if document["state"] in ENDED:
                        return document
                if time.monotonic() > deadline:
                    return None
            document = gateway.study(study)  # the stream broke: ask, then listen again
            view.show(document)
            if document["state"] in ENDED:
                return document
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_S)


def fetch_all(gateway: GatewayClient, study: str, out: Path) -> list[str]:
    """Fetches every current result into a folder; gives the names.

    All files are of one report: when another becomes current meanwhile they are fetched again. What an earlier report
    left in the folder and this one does not have is removed, for nobody could tell that it is old.
    """
    out.mkdir(parents=True, exist_ok=True)
    former = _outputs_before(out)
    current = gateway.results(study)
    while True:
        names = [item["name"] for item in current["results"]]
        if strange := [name for name in names if Path(name).name != name]:
            raise Refused("STRANGE_NAME", f"the gateway names a result {strange[0]!r}, which is no file name")
        for name in names:
            gateway.fetch(f"/studies/{study}/results/{name}", out / name)
        fetched, current = current["run_id"], gateway.results(study)
        if current["run_id"] == fetched:
            break
    for name in former - set(names):
        (out / name).unlink(missing_ok=True)
    return names


def _outputs_before(out: Path) -> set[str]:
    """What the provenance that lies in a folder says that lies beside it; nothing where there is none of ours."""
    try:
        document = json.loads((out / "provenance.json").read_text())
        named = document["outputs"] if document["schema"] == PROVENANCE_SCHEMA else ()
        return {name for name in named if Path(name).name == name}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def taken(study: Document) -> str:
    """What became of an upload, in one line."""
    upload = study["upload"]
    word = "accepted" if upload["new_version"] else "known already, nothing new"
    ignored = "".join(f"; ignored: {count} ({reason})" for reason, count in upload["ignored"].items())
    return f"study {study['id']} {word}, version {study['version']}{ignored}"


def table(studies: Sequence[Document]) -> str:
    """Studies, one a line, ids whole: they are copied from here."""
    rows = [COLUMNS, *(tuple("" if study[key] is None else str(study[key]) for key in COLUMNS) for study in studies)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summary(study: Document) -> str:
    """A study in a few lines."""
    stages = [
        f"  {stage['stage']:<10} {stage['status']:<10} {seconds_of(stage):>8}".rstrip() for stage in study["stages"]
    ]
    return "\n".join([ending(study), *stages])


def standing(result: Document) -> str:
    """Completeness and verdict of a result; where there is no number there is nothing to trust or to review."""
    insufficient = result["completeness"] == "insufficient"
    return str(result["completeness"]) if insufficient else f"{result['completeness']}, {result['verdict']}"


def ending(study: Document) -> str:
    """How a study stands, without its stages: they were shown as they ended."""
    lines = [f"study {study['id']} version {study['version']}: {study['state']}"]
    if study.get("completeness"):
        lines.append(f"result {standing(study)}, revision {study['revision']}")
    problems = {(stage["problem"]["code"], said(stage["problem"])) for stage in study["stages"] if stage.get("problem")}
    return "\n".join([*lines, *(f"  {code}: {words}" for code, words in sorted(problems))])


def exit_of(study: Document) -> Exit:
    """OK when there is a result with numbers in it."""
    usable = study["state"] == "done" and study.get("completeness") in ("complete", "degraded")
    return Exit.OK if usable else Exit.NO_RESULT


def _print(document: Document, as_json: bool, text: str) -> None:
    sys.stdout.write((json.dumps(document, indent=2) if as_json else text) + "\n")
