"""The process of the preparation stage: `python -m services.preprocessing`."""

from __future__ import annotations

import sys

from services.core.runtime.stage_process import main
from services.preprocessing.bootstrap import build

if __name__ == "__main__":
    sys.exit(main("preprocessing", build))
