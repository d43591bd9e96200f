"""Logs hold event names and allow-listed keys; nothing else gets through (rule 10)."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from services.core.telemetry.logs import JsonFormatter

pytestmark = pytest.mark.unit

NAME = "Zebrowska^Quirina"


def line(logger: str, message: object, *args: object, **extra: object) -> dict[str, object]:
    record = logging.getLogger(logger).makeRecord(logger, logging.INFO, "f.py", 1, message, args, None, extra=extra)
    document: dict[str, object] = json.loads(JsonFormatter("gateway").format(record))
    return document


def test_allowed_keys_are_written_and_others_are_named_but_dropped() -> None:
    written = line("services.gateway", "study.accepted", study="abc", patient_name=NAME)
    assert (written["event"], written["study"], written["dropped"]) == ("study.accepted", "abc", ["patient_name"])
    assert NAME not in json.dumps(written)


def test_values_in_a_librarys_message_are_left_out() -> None:
    written = line("pydicom", "cannot read %s", NAME)
    assert written["event"] == "pydicom: cannot read %s"
    assert NAME not in json.dumps(line("pydicom", ValueError(NAME)))


def test_an_exception_is_given_by_type_and_place_not_by_text() -> None:
    try:
        raise ValueError(NAME)
    except ValueError as error:
        record = logging.getLogger("services.x").makeRecord(
            "services.x", logging.ERROR, "f.py", 1, "work.failed", (), (type(error), error, error.__traceback__)
        )
    text = JsonFormatter("gateway").format(record)
    assert NAME not in text
    exception = json.loads(text)["exception"]
    assert exception["type"] == "ValueError"
    assert exception["at"][0].startswith(Path(__file__).name)


def test_the_end_of_a_process_by_an_exception_is_logged_without_its_text() -> None:
    crash = f"""
from services.core.telemetry.logs import setup_logging
setup_logging("gateway", "INFO")
raise ValueError("{NAME}")
"""
    ended = subprocess.run([sys.executable, "-c", crash], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert NAME not in ended.stderr
    logged = json.loads(ended.stderr)
    assert (logged["event"], logged["exception"]["type"]) == ("process.crashed", "ValueError")


def test_so_is_the_end_of_a_thread(tmp_path: Path) -> None:
    crash = f"""
import threading
from pathlib import Path
from services.core.telemetry.logs import setup_logging
def body():
    raise ValueError("{NAME}")
setup_logging("gateway", "INFO", Path("{tmp_path}/log.jsonl"))
thread = threading.Thread(target=body)
thread.start()
thread.join()
"""
    ended = subprocess.run([sys.executable, "-c", crash], capture_output=True, text=True, check=False)
    assert NAME not in ended.stderr
    assert "ValueError" in ended.stderr
    logged = json.loads((tmp_path / "log.jsonl").read_text())
    assert (logged["event"], logged["exception"]["type"]) == ("process.crashed", "ValueError")
