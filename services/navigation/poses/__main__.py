"""The pose process: `python -m services.navigation.poses`."""

from __future__ import annotations

import sys

from services.navigation.poses.server import main

if __name__ == "__main__":
    sys.exit(main())
