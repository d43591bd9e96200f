"""Rewrites manifest.json beside this file after a model changed. Run from the repository root."""

from __future__ import annotations

from pathlib import Path

from services.core.triton.catalog import write_manifest

if __name__ == "__main__":
    write_manifest(Path(__file__).parent)
