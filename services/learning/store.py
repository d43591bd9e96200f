"""Checkpoints and the training log: each file replaces its predecessor at once, so an interruption loses nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with FP16 weights: what is exported and released."""
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """FP16 weights as FP32, ready to be loaded into a network."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def replace_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes beside the file, then renames."""
    part = path.with_suffix(".part")
    torch.save(dict(state), part)
    part.replace(path)


def load_state(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Tensors and plain values only; pickled code is refused by torch."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def report(log: Path, entry: Mapping[str, Any]) -> None:
    """One JSON line to the log and to the terminal, floats to four digits."""
    rounded = json.dumps(json.loads(json.dumps(entry), parse_float=lambda text: round(float(text), 4)))
    print(rounded, flush=True)
    with log.open("a") as file:
        file.write(rounded + "\n")
