"""`glioserve`: arguments to commands, errors to exit codes."""

from __future__ import annotations

import os
import sys

from services.cli.arguments import parse
from services.cli.dispatch import run
from services.cli.exit_codes import Exit


def main() -> int:
    """Entry point of the console script."""
    try:
        return run(parse(sys.argv[1:]), dict(os.environ))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
