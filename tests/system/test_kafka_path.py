"""The path of the demo over a real Kafka instead of the embedded log."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.phantom import SMALL, generate, invented_patient, write_dicom
from tests.servers import kafka
from tests.servers.require import require
from tests.servers.triton import require_triton
from tests.system.invariants import assert_one_current_result
from tests.system.stack import running

pytestmark = pytest.mark.system


def test_a_dicom_study_goes_through_a_real_kafka(tmp_path: Path) -> None:
    require("kafka", kafka.missing())
    require_triton()
    write_dicom(generate(21, SMALL), tmp_path / "study", invented_patient(21))
    with (
        kafka.KafkaBroker(tmp_path / "kafka") as broker,
        running(tmp_path, {"GLIOSERVE_BUS": broker.setting}) as stack,
    ):
        study = stack.submit(tmp_path / "study")
        assert stack.wait_done(study)["state"] == "done"
        assert_one_current_result(stack, [study])
        assert not stack.home.bus.exists()
