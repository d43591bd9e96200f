"""`python -m services.gateway`: serves one home until SIGTERM."""

from __future__ import annotations

import sys

from services.core.runtime.process import run_process
from services.gateway.bootstrap import run


def main() -> int:
    """Gives the exit code."""
    return run_process("gateway", run)


if __name__ == "__main__":
    sys.exit(main())
