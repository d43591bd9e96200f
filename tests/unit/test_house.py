"""Rules of the house that no other tool checks."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"
MAX_LINES = 400
README_LINES = 30
PINNED_TOGETHER = (
    "tritonclient",
    "protobuf",
    "grpcio",
    "grpcio-tools",
    "grpcio-health-checking",
    "kafka-python",
    "numpy",
)
MACHINE = re.compile(r"/work/|/root/|/home/[a-z]|\.\./shared|https?://[^ ]*(pypi|maven|npmjs|goproxy)[^ ]*/simple")


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_is_too_long_to_read() -> None:
    own = (p for folder in ("services", "tests", "loadtests") for p in (ROOT / folder).rglob("*.py"))
    long = {str(p.relative_to(ROOT)): n for p in own if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert not long, f"files above {MAX_LINES} lines: {long}"


def test_every_service_says_what_it_is_for_in_a_short_readme() -> None:
    services = [folder for folder in SERVICES.iterdir() if (folder / "__init__.py").exists() and folder.name != "core"]
    for folder in services:
        readme = folder / "README.md"
        assert readme.exists(), f"{folder.name} has no README.md"
        assert len(readme.read_text().splitlines()) <= README_LINES, f"{readme} is too long"


def test_versions_that_only_work_together_are_the_pinned_ones() -> None:
    pins = dict(
        re.findall(r"^([a-z0-9-]+)(?:\[[a-z]+\])?==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    )
    assert {name: version(name) for name in PINNED_TOGETHER} == {name: pins[name] for name in PINNED_TOGETHER}


def test_nothing_committed_names_the_machine_it_was_written_on() -> None:
    kinds = {".py", ".md", ".toml", ".sh", ".txt", ".yaml", ".yml", ".json", ".proto", ".pbtxt", ""}
    texts = (path for path in tracked() if path.suffix in kinds and ".ci" not in path.parts and path != Path(__file__))
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in texts
        if (match := MACHINE.search(path.read_text(errors="ignore")))
    }
    assert not found


def test_only_settings_read_the_environment() -> None:
    readers = {
        str(path.relative_to(SERVICES))
        for path in SERVICES.rglob("*.py")
        if "os.environ" in path.read_text() and "learning" not in path.parts
    }
    assert readers <= {"cli/__main__.py", "core/runtime/process.py"}
