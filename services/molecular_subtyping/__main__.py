"""The process of the subtyping stage: `python -m services.molecular_subtyping`."""

from __future__ import annotations

import sys

from services.core.runtime.stage_process import main
from services.molecular_subtyping.bootstrap import build

if __name__ == "__main__":
    sys.exit(main("molecular_subtyping", build))
