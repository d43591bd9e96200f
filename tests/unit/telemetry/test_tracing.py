"""A span says that its block failed and how, never with the error's text (rule 10)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

PROGRAM = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from services.core.contracts.errors import Refused
from services.core.telemetry.tracing import continued

kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
for error in (ValueError("Zebrowska^Quirina"), Refused("NOT_MR", "Zebrowska^Quirina")):
    try:
        with continued("block", {}):
            raise error
    except type(error):
        pass
with continued("fine", {}):
    pass
print(json.dumps([json.loads(span.to_json()) for span in kept.get_finished_spans()]))
"""


def test_a_failed_span_names_the_kind_of_its_error_and_not_its_text() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    spans = json.loads(said.stdout)
    assert [span["status"].get("description") for span in spans] == ["ValueError", "NOT_MR", None]
    assert [span["status"]["status_code"] for span in spans] == ["ERROR", "ERROR", "UNSET"]
    assert "Quirina" not in said.stdout
