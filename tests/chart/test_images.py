"""The images that the chart names are those that the Dockerfile makes, from pinned bases, for an ordinary user."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.chart.chart import ROOT, VALUE_SETS, containers, objects

pytestmark = pytest.mark.integration
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTALL = ROOT / "helm" / "images" / "install.sh"
NO_EXTRA = {"models", "triton"}


def targets() -> dict[str, str]:
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return {parts[i + 1]: parts[i + 2] for i in range(1, len(parts), 3) if parts[i + 1] != "base"}


def test_every_base_is_pinned_by_digest() -> None:
    bases = re.findall(r"^FROM (\S+) AS", DOCKERFILE, flags=re.MULTILINE)
    assert bases
    assert all(base == "base" or re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", base) for base in bases)


def test_every_image_of_the_chart_has_a_target_and_every_target_is_used() -> None:
    named = {
        match[1]
        for values in VALUE_SETS
        for container in containers(objects(values))
        if (match := re.fullmatch(r"registry\.example/glioserve/([a-z_]+)[:@].+", container.spec["image"]))
    }
    assert named == set(targets())


def test_every_target_is_one_run_of_the_install_script_for_an_ordinary_user() -> None:
    for target, steps in targets().items():
        assert f"/src/helm/images/install.sh {target}\n" in steps
        assert "USER 10001:10001" in steps
        assert steps.rstrip().splitlines()[-1].startswith(("ENTRYPOINT", "#"))


def test_every_service_target_has_an_extra_of_its_own() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(targets()) - NO_EXTRA <= set(extras)
    assert {"otlp", "s3"} <= set(extras)


def test_every_command_of_the_chart_is_there_in_its_image() -> None:
    for values in VALUE_SETS:
        for container in containers(objects(values)):
            command = container.spec["command"]
            if command[0] == "/opt/glioserve/bin/python":
                module = ROOT.joinpath(*command[2].split("."))
                assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), container.name
            elif "glioserve-triton" in " ".join(command):
                assert "/bin/glioserve-triton" in INSTALL.read_text()


def test_the_list_of_parts_names_debian_packages_and_python_distributions(tmp_path: Path) -> None:
    if subprocess.run(["which", "dpkg-query"], capture_output=True, check=False).returncode:
        pytest.skip("needs dpkg-query: this is no Debian")
    listed = subprocess.run(
        [sys.executable, ROOT / "helm" / "images" / "sbom.py", "gateway", ROOT / ".venv"],
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(listed.stdout)
    assert document["bomFormat"] == "CycloneDX"
    purls = {component["purl"].partition("@")[0] for component in document["components"]}
    assert {"pkg:pypi/numpy", "pkg:pypi/pydicom", "pkg:deb/debian/dpkg"} <= purls
