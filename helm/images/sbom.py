"""What an image is made of, as CycloneDX 1.5 on standard output: `sbom.py TARGET ENVIRONMENT`.

Debian's packages as dpkg has them and the Python distributions of one environment. Standard library only: it runs in
the image itself, before the installer is removed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

Component = dict[str, object]


def main(target: str, environment: str) -> int:
    """Writes the document; gives the exit code."""
    site = next(Path(environment).glob("lib/python3.*/site-packages"))
    found = {d.metadata["Name"].lower().replace("_", "-"): d for d in distributions(path=[str(site)])}
    components = [*_debian(), *(_python(name, found[name]) for name in sorted(found))]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"glioserve/{target}"}},
        "components": components,
    }
    json.dump(document, sys.stdout, indent=1)
    return 0


def _debian() -> list[Component]:
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in shown.stdout.splitlines()]
    return [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={architecture}&distro=bookworm",
        }
        for name, version, architecture in rows
    ]


def _python(name: str, distribution: Distribution) -> Component:
    component: Component = {
        "type": "library",
        "name": name,
        "version": distribution.version,
        "purl": f"pkg:pypi/{name}@{distribution.version.replace('+', '%2B')}",
    }
    metadata = distribution.metadata.json
    licence = metadata.get("license_expression") or metadata.get("license") or ""
    if isinstance(licence, str) and 0 < len(licence) < 100:  # some put the whole text there
        component["licenses"] = [{"license": {"name": licence}}]
    return component


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
