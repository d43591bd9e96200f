"""The process of the segmentation stage: `python -m services.fusion_segmentation`."""

from __future__ import annotations

import sys

from services.core.runtime.stage_process import main
from services.fusion_segmentation.bootstrap import build

if __name__ == "__main__":
    sys.exit(main("fusion_segmentation", build))
