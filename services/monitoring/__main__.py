"""The process of the comparison stage: `python -m services.monitoring`."""

from __future__ import annotations

import sys

from services.core.runtime.stage_process import main
from services.monitoring.bootstrap import build

if __name__ == "__main__":
    sys.exit(main("monitoring", build))
