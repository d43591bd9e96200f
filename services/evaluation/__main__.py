"""`python -m services.evaluation`, which `glioserve evaluate` starts."""

from __future__ import annotations

import sys

from services.evaluation.command import main

sys.exit(main(sys.argv[1:]))
