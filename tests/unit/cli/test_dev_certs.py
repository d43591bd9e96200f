"""`glioserve dev-certs`: what it writes works, and what it says can be pasted."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.arguments import parse
from services.cli.dispatch import run
from services.cli.exit_codes import Exit
from services.core.runtime.settings import load
from services.core.security.tls import TlsSettings, server_credentials

pytestmark = pytest.mark.unit


def test_the_exports_it_prints_are_settings_that_a_server_starts_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parse(["dev-certs", str(tmp_path / "certs"), "--host", "theatre.example"]), {}) == Exit.OK
    lines = [line.strip().removeprefix("export ") for line in capsys.readouterr().out.splitlines()]
    environ = dict(line.split("=", 1) for line in lines if line.startswith("GLIOSERVE_"))
    assert server_credentials(load(TlsSettings, "tls", environ), "0.0.0.0") is not None


@pytest.mark.parametrize("days", ["0", "91", "many"])
def test_certificates_for_development_do_not_last(tmp_path: Path, days: str) -> None:
    with pytest.raises(SystemExit):
        parse(["dev-certs", str(tmp_path), "--days", days])
