"""The process of the report stage: `python -m services.reporting`."""

from __future__ import annotations

import sys

from services.core.runtime.stage_process import main
from services.reporting.bootstrap import build

if __name__ == "__main__":
    sys.exit(main("reporting", build))
