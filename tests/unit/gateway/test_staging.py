"""Staging counts bytes as they arrive, survives a full disk, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from services.core.contracts.enums import Modality
from services.gateway.adapters.staging import StagingFolder
from services.gateway.domain.upload import Limits
from services.gateway.errors import NoSpace, TooLarge

pytestmark = pytest.mark.unit
LIMITS = Limits(total_bytes=100, file_bytes=60, unpacked_bytes=1000, files=2, depth=2, ratio=10)


@pytest.fixture
def staging(tmp_path: Path) -> StagingFolder:
    made = StagingFolder(tmp_path / "staging", LIMITS, watermark=0)
    made.clean()
    return made


def test_files_are_numbered_and_gone_at_the_end(staging: StagingFolder, tmp_path: Path) -> None:
    with staging.receive() as upload:
        upload.begin("some/name.nii", Modality.T1C)
        upload.write(b"abc")
        upload.write(b"def")
        upload.end()
        (file,) = upload.files
        assert (file.size, file.slot, file.path.read_bytes()) == (6, Modality.T1C, b"abcdef")
        assert "name" not in str(file.path)
        assert "name" not in repr(file)
    assert not list((tmp_path / "staging").iterdir())


def test_limits_hold_before_the_end_of_a_file(staging: StagingFolder) -> None:
    with pytest.raises(TooLarge, match="100"):
        staging.receive(announced=101)
    with staging.receive() as upload:
        upload.begin("a")
        with pytest.raises(TooLarge, match="60"):
            upload.write(bytes(61))
    with staging.receive() as upload:
        for name in ("a", "b"):
            upload.begin(name)
            upload.write(bytes(45))
            upload.end()
        with pytest.raises(TooLarge, match="2 files"):
            upload.begin("c")


def test_a_full_disk_is_told_and_leaves_nothing(staging: StagingFolder, tmp_path: Path) -> None:
    with staging.receive() as upload:
        (folder,) = (tmp_path / "staging").iterdir()
        (folder / "000000").symlink_to("/dev/full")
        upload.begin("a")
        upload.write(b"abc")
        with pytest.raises(NoSpace):
            upload.end()
    assert not list((tmp_path / "staging").iterdir())


def test_the_watermark_keeps_room_for_running_studies(tmp_path: Path) -> None:
    greedy = StagingFolder(tmp_path / "staging", replace(LIMITS), watermark=1 << 60)
    greedy.clean()
    with pytest.raises(NoSpace):
        greedy.receive()


def test_what_a_crash_left_is_removed_at_the_start(staging: StagingFolder, tmp_path: Path) -> None:
    upload = staging.receive()
    upload.begin("a")
    staging.clean()
    assert not list((tmp_path / "staging").iterdir())
    upload.__exit__(None, None, None)
