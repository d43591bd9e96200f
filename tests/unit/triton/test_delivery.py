"""The hand-over of models: what is served is what the manifest states and the release named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from services.core.contracts.errors import Permanent
from services.core.triton.catalog import ModelCatalog, write_manifest
from services.core.triton.delivery import EXIT_REFUSED, deliver, main, tree_digest

pytestmark = pytest.mark.unit


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name in ("fusion_coarse", "fusion_fine"):
        (root / name / "1").mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(f'name: "{name}"\n')
        (root / name / "1" / "model.onnx").write_bytes(name.encode() * 10)
    (root / "backends" / "openvino_cpu").mkdir(parents=True)
    (root / "backends" / "openvino_cpu" / "model.py").write_text("# code\n")
    write_manifest(root)
    return root


def handed(source: Path, target: Path, expected: str | None = None, *, only_manifest: bool = False) -> str:
    return deliver(source, target, expected=expected, only_manifest=only_manifest)


def test_a_sound_repository_arrives_whole(repository: Path, tmp_path: Path) -> None:
    digest = handed(repository, tmp_path / "models", tree_digest(repository))
    assert tree_digest(tmp_path / "models") == digest
    assert ModelCatalog.load(tmp_path / "models").names() == ("fusion_coarse", "fusion_fine")


def test_it_can_be_handed_over_again_when_a_pod_is_set_up_again(repository: Path, tmp_path: Path) -> None:
    first = handed(repository, tmp_path / "models")
    (tmp_path / "models" / "half-written").write_text("of an interrupted copy")
    assert handed(repository, tmp_path / "models") == first
    assert not (tmp_path / "models" / "half-written").exists()


def test_changed_weights_are_not_handed_over(repository: Path, tmp_path: Path) -> None:
    (repository / "fusion_fine" / "1" / "model.onnx").write_bytes(b"other weights")
    with pytest.raises(Permanent) as caught:
        handed(repository, tmp_path / "models")
    assert caught.value.code == "MODEL_MANIFEST_UNREADABLE"
    assert not list((tmp_path / "models").iterdir())


def test_a_stated_version_that_is_missing_is_not_handed_over(repository: Path, tmp_path: Path) -> None:
    shutil.rmtree(repository / "fusion_fine" / "1")
    with pytest.raises(Permanent) as caught:
        handed(repository, tmp_path / "models")
    assert caught.value.code == "MODEL_VERSION_MISSING"


@pytest.mark.parametrize("changed", ["backends/openvino_cpu/model.py", "fusion_coarse/config.pbtxt", "extra.py"])
def test_with_an_expected_digest_configuration_and_code_count_too(
    repository: Path, tmp_path: Path, changed: str
) -> None:
    expected = tree_digest(repository)
    (repository / changed).write_text("something else")
    with pytest.raises(Permanent) as caught:
        handed(repository, tmp_path / "models", expected)
    assert caught.value.code == "MODEL_DIGEST_MISMATCH"
    assert not list((tmp_path / "models").iterdir())


def test_a_link_is_refused(repository: Path, tmp_path: Path) -> None:
    (repository / "backends" / "other").symlink_to(tmp_path)
    with pytest.raises(Permanent) as caught:
        handed(repository, tmp_path / "models")
    assert caught.value.code == "MODEL_REPOSITORY_LINK"


def test_a_target_inside_its_source_is_refused_and_nothing_is_removed(repository: Path) -> None:
    before = tree_digest(repository)
    for target in (repository, repository / "models", repository.parent):
        with pytest.raises(Permanent):
            handed(repository, target)
    assert tree_digest(repository) == before


def test_callers_of_a_distant_server_get_the_manifest_alone(repository: Path, tmp_path: Path) -> None:
    handed(repository, tmp_path / "models", only_manifest=True)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["manifest.json"]
    assert ModelCatalog.load(tmp_path / "models").ref("fusion_fine").version == "1"


def test_the_command_says_what_is_wrong(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digest", str(repository)]) == 0
    digest = capsys.readouterr().out.strip()
    asked = ["deliver", "--from", str(repository), "--to", str(tmp_path / "models")]
    assert main([*asked, "--digest", digest]) == 0
    assert main([*asked, "--digest", "sha256:" + "0" * 64]) == EXIT_REFUSED
    assert capsys.readouterr().err.startswith("MODEL_DIGEST_MISMATCH")
