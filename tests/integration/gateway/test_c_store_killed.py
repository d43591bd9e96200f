"""kill -9 amid an association: what was acknowledged is there, what was not leaves nothing half done."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.core.runtime.failpoints import arm
from services.core.runtime.home import Home, read_endpoints
from tests.integration.gateway.dicom_files import mr_study
from tests.integration.gateway.running import eventually
from tests.integration.gateway.senders import TITLE
from tests.integration.gateway.test_killed import WITHIN_S, Supervised

pytestmark = pytest.mark.integration
SETTINGS = {
    "GLIOSERVE_GATEWAY__DICOM__PORT": "0",
    "GLIOSERVE_GATEWAY__DICOM__CALLING": TITLE,
    "GLIOSERVE_GATEWAY__QUIET_S": "3600",
}


def acknowledged(home: Home, files: Sequence[str]) -> Iterator[str]:
    """Sends files over one association; yields each that was acknowledged."""
    host, _, port = read_endpoints(home)["gateway"]["dicom"].rpartition(":")
    command = [sys.executable, "-m", "tests.integration.gateway.store_scu", host, port, TITLE, *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as sender:
        assert sender.stdout is not None
        for line in sender.stdout:
            yield line.strip()


def test_killed_amid_an_association_all_that_was_acknowledged_is_there(home: Home, tmp_path: Path) -> None:
    home.prepare()
    for point in ("gateway.before_row", "gateway.after_row"):  # not committed; committed and not acknowledged
        arm(home.root, point, ["kill"])
    left = []
    for name, data in mr_study(6, 2).items():
        path = tmp_path / name.replace("/", "-")
        path.write_bytes(data)
        left.append(str(path))
    everything = len(left)
    supervised = Supervised(home, **SETTINGS)
    with supervised.running():
        while left:
            eventually(lambda: supervised.call("GET", "/health/ready"), WITHIN_S)
            assert not list(home.staging.iterdir()), "what a crash left is gone before a door opens"
            for file in acknowledged(home, left):
                left.remove(file)
                if len(left) == everything - 5:
                    supervised.kill()
        (entry,) = eventually(lambda: supervised.call("GET", "/studies"), WITHIN_S).json()["studies"]
        assert supervised.call("POST", f"/studies/{entry['id']}/close")
        found = eventually(lambda: supervised.call("GET", f"/studies/{entry['id']}"), WITHIN_S).json()
    assert [version["instances"] for version in found["versions"]] == [everything]
    assert supervised.ends == [-signal.SIGKILL] * 3 + [0]
    assert not list(home.staging.iterdir())
