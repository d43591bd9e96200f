"""Copies KEDA's source with only the scalers that this project's chart uses: the others are most of its build time.

Nothing else is changed; a trigger of a removed type is answered by KEDA's own "no scaler found".
Usage: trim_keda.py SOURCE TARGET
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

KEPT_FILES = frozenset(
    f"{name}_scaler.go"
    for name in ("cpu_memory", "cron", "external", "kafka", "kubernetes_workload", "metrics_api", "prometheus")
)
KEPT_CASES = frozenset(
    ("cpu", "cron", "external", "external-push", "kafka", "kubernetes-workload", "memory", "metrics-api", "prometheus")
)
# A constant that every scaler reads stands in the file of one that goes.
SHARED = 'package scalers\n\nconst externalMetricType = "External"\n'
CASE = re.compile(r'(?:\t// TODO[^\n]*\n)?\tcase "([^"]+)":\n\t\treturn [^\n]*\n')


def copy(source: Path, target: Path) -> None:
    """The module's files without tests and pictures, writable."""
    for path in source.rglob("*"):
        if (
            path.is_file()
            and not path.name.endswith("_test.go")
            and path.suffix in {".go", ".mod", ".sum", ".yaml", ".pem"}
        ):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def trim(root: Path) -> None:
    """Removes the scalers that are not kept, and the cases that build them."""
    scalers = root / "pkg" / "scalers"
    for path in scalers.glob("*_scaler.go"):
        if path.name not in KEPT_FILES:
            path.unlink()
    (scalers / "shared.go").write_text(SHARED)
    builder = root / "pkg" / "scaling" / "scalers_builder.go"
    builder.write_text(CASE.sub(lambda found: found[0] if found[1] in KEPT_CASES else "", builder.read_text()))


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(target, ignore_errors=True)
    copy(source, target)
    trim(target)


if __name__ == "__main__":
    main()
