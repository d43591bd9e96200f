"""`python -m services.navigation`: serves the operating room until SIGTERM."""

from __future__ import annotations

import sys

from services.core.runtime.process import run_process
from services.navigation.bootstrap import run


def main() -> int:
    """Gives the exit code."""
    return run_process("navigation", run)


if __name__ == "__main__":
    sys.exit(main())
