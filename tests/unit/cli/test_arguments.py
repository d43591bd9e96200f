"""What a person types, and what the shell gets back."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.arguments import parse
from services.cli.dispatch import exit_for, run
from services.cli.exit_codes import Exit
from services.cli.gateway_client import NotFound
from services.cli.source import assignments, collect
from services.cli.study_commands import exit_of, standing, table, taken
from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.security.tokens import BearerTokens

pytestmark = pytest.mark.unit


def test_a_folder_is_collected_with_relative_names_and_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for name in ("series/b.dcm", "a.dcm", ".DS_Store", "series/.hidden"):
        (tmp_path / name).write_bytes(b"x")
    assert [file.name for file in collect(tmp_path)] == ["a.dcm", "series/b.dcm"]


def test_an_empty_or_absent_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(Refused):
            collect(path)


def test_sequences_are_assigned_by_slot() -> None:
    assert assignments(["t1c=post.nii.gz", "t2f=a=b.nii"]) == {"t1c": "post.nii.gz", "t2f": "a=b.nii"}


@pytest.mark.parametrize("text", ["t1c", "t9=x.nii", "t1c=", "adc=x.nii"])
def test_a_malformed_assignment_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="SLOT=FILE"):
        assignments([text])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Transient("UNREACHABLE", "away"), Exit.UNREACHABLE),
        (Refused("BAD", "no"), Exit.REFUSED),
        (NotFound("NOT_FOUND", "no"), Exit.NOT_FOUND),
        (Permanent("BROKEN", "no"), Exit.UNEXPECTED),
    ],
)
def test_each_class_of_error_has_its_exit_code(error: GlioServeError, code: Exit) -> None:
    assert exit_for(error) is code


def test_an_insufficient_result_is_not_a_success() -> None:
    assert exit_of({"state": "done", "completeness": "degraded"}) is Exit.OK
    assert exit_of({"state": "done", "completeness": "insufficient"}) is Exit.NO_RESULT
    assert exit_of({"state": "failed", "completeness": None}) is Exit.NO_RESULT


def test_without_a_running_gateway_the_command_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(parse(["status"]), {"GLIOSERVE_HOME": str(tmp_path / "home")})
    assert code is Exit.UNREACHABLE
    assert "glioserve up" in capsys.readouterr().err


def test_an_unknown_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(parse(["status"]), {"GLIOSERVE_HOEM": "x"}) is Exit.USAGE
    assert "GLIOSERVE_HOEM" in capsys.readouterr().err


def test_a_token_is_shown_once_and_only_its_hash_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    assert run(parse(["token", "pacs", "--file", str(file)]), {}) is Exit.OK
    token = capsys.readouterr().out.strip()
    assert BearerTokens.from_file(file).owner_of(token) == "pacs"
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert run(parse(["token", "pacs", "--file", str(file)]), {}) is Exit.REFUSED
    assert f"{file} has a token of pacs already" in capsys.readouterr().err
    assert BearerTokens.from_file(file).owner_of(token) == "pacs"


def test_a_place_that_cannot_be_written_is_named_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "absent" / "tokens"
    assert run(parse(["token", "pacs", "--file", str(file)]), {}) is Exit.UNEXPECTED
    said = capsys.readouterr().err
    assert str(file.parent) in said
    assert "No such file or directory" in said


def test_a_stage_is_offered_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["replay", "s", "--stage", "paint"])
    assert "'segment'" in capsys.readouterr().err


def test_a_wrong_folder_is_told_before_a_demo_starts_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    demo = parse(["demo", "--study", str(tmp_path / "absent")])
    assert run(demo, {"GLIOSERVE_HOME": str(home)}) in (Exit.REFUSED, Exit.MACHINE)  # the latter where Triton is not
    assert "Starting" not in capsys.readouterr().out
    assert not home.exists()


def test_the_list_of_studies_shows_ids_whole_and_columns_aligned() -> None:
    row = {"version": 1, "lane": "stat", "state": "done", "revision": None, "completeness": None, "verdict": None}
    ids = ["6b10de70-864e-5835-8869-dfebea6aac3f", "short"]
    lines = table([{"id": one, **row} for one in ids]).splitlines()
    assert [line.split()[0] for line in lines] == ["id", *ids]
    assert len({line.index("stat") for line in lines[1:]}) == 1


def test_an_upload_of_known_images_says_so_and_what_was_ignored() -> None:
    upload = {"new_version": False, "ignored": {"not an image": 2}}
    said = taken({"id": "s", "version": 3, "upload": upload})
    assert said == "study s known already, nothing new, version 3; ignored: 2 (not an image)"


def test_without_a_number_nothing_is_called_trusted() -> None:
    assert standing({"completeness": "insufficient", "verdict": "trusted"}) == "insufficient"
    assert standing({"completeness": "degraded", "verdict": "needs_review"}) == "degraded, needs_review"
