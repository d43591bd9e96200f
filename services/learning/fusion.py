"""From up to ten sequences to one set of features: shared stem, an adapter per sequence, and one of four fusions.

`gated` (the released one) weighs each sequence by its quality; `early` is plain concatenation; `intermediate` adds
channel and spatial attention; `late` keeps the sequences apart until their evidence is averaged (`network.CoarseNet`).
The six functional maps are coarse (3 to 10 mm), so they are read at 4 mm and join the trunk one level down.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.core.contracts.enums import STRUCTURAL, Modality
from services.learning.blocks import conv3
from services.learning.chain import pooled

SLOTS, QUALITY = len(Modality), 3
SHARP = len(STRUCTURAL)  # the first slots, read at full resolution
FLAT = SLOTS - SHARP


class FusionMode(StrEnum):
    """Where sequences meet."""

    EARLY = "early"
    INTERMEDIATE = "intermediate"
    LATE = "late"
    GATED = "gated"


class Gate(nn.Module):
    """Softmax over the sequences that exist. Better quality never lowers a slot's weight: its weights are >= 0."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.inner = nn.Parameter(torch.full((hidden, QUALITY), 0.1) + 0.05 * torch.rand(hidden, QUALITY))
        self.inner_bias = nn.Parameter(torch.linspace(-1.0, 1.0, hidden))
        self.outer = nn.Parameter(torch.full((hidden,), 0.05))
        self.slot = nn.Parameter(torch.zeros(SLOTS))
        self.register_buffer("sign", torch.tensor([0.4, -2.0, -0.25]))
        self.register_buffer("middle", torch.tensor([3.0, 0.1, 2.0]))

    def forward(self, available: Tensor, quality: Tensor) -> Tensor:
        """(batch, slots) weights that sum to 1 over what is there; 0 for what is missing."""
        slots = available.shape[1]
        good = ((quality - self.middle) * self.sign).clamp(-3.0, 3.0)
        hidden = torch.tanh(functional.linear(good, self.inner.abs(), self.inner_bias))
        logit = (hidden * self.outer.abs()).sum(-1) + self.slot[:slots]
        logit = logit + (available - 1.0) * 1e4
        return torch.softmax(logit, dim=1) * available


class DualAttention(nn.Module):
    """Channel and spatial attention on stacked features of all sequences (the `intermediate` fusion)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(channels // 4, 4))
        self.excite = nn.Linear(max(channels // 4, 4), channels)
        self.spatial = nn.Conv3d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean(dim=(2, 3, 4))))))
        x = x * (2.0 * weight)[:, :, None, None, None]
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * (2.0 * torch.sigmoid(self.spatial(seen)))


class Reader(nn.Module):
    """Stem and adapters of one group of slots, mixed into `outputs` channels. Batch of 1."""

    def __init__(self, slots: int, stem: int, outputs: int, mode: FusionMode) -> None:
        super().__init__()
        self.width = stem
        self.stem = conv3(1, stem)
        self.film_scale = nn.Parameter(torch.ones(slots, stem))
        self.film_shift = nn.Parameter(torch.zeros(slots, stem))
        self.mix = nn.Parameter(torch.randn(slots, outputs, stem) * (2.0 / (4 * stem)) ** 0.5)
        self.attention = DualAttention(slots * stem) if mode is FusionMode.INTERMEDIATE else None

    def each(self, image: Tensor) -> Tensor:
        """Adapted features (slot, stem, x, y, z) of (1, slots, x, y, z)."""
        slots, space = image.shape[1], image.shape[2:]
        scale, shift = self.film_scale[:slots], self.film_shift[:slots]
        assert self.stem.bias is not None
        kernel = (self.stem.weight[None] * scale[:, :, None, None, None, None]).flatten(0, 1)  # adapter folded in
        bias = (self.stem.bias[None] * scale + shift).flatten()
        found = functional.conv3d(image, kernel, bias, padding=1, groups=slots)
        return functional.leaky_relu(found, 0.1).reshape(slots, self.width, *space)

    def forward(self, image: Tensor, weight: Tensor) -> Tensor:
        """Mixed features (1, outputs, x, y, z); `weight` (1, slots) is zero for what is missing."""
        slots, space = image.shape[1], image.shape[2:]
        found = self.each(image)
        if self.attention is not None:
            there = (weight[0] > 0).to(found.dtype)[:, None, None, None, None]
            found = self.attention((found * there).reshape(1, slots * self.width, *space))
        weighted = self.mix[:slots] * weight[0][:, None, None]
        flat = weighted.permute(1, 0, 2).reshape(-1, slots * self.width)
        return torch.matmul(flat, found.reshape(1, slots * self.width, -1)).reshape(1, -1, *space)

    def apart(self, image: Tensor) -> Tensor:
        """Each slot alone: (slot, outputs, x, y, z), by its own part of the mixing."""
        slots, space = image.shape[1], image.shape[2:]
        found = self.each(image).reshape(slots, self.width, -1)
        return torch.matmul(self.mix[:slots], found).reshape(slots, -1, *space)


class Fusion(nn.Module):
    """Features at 2 mm and 4 mm from what is there; the slots beyond those given are absent."""

    def __init__(self, stem: int, levels: tuple[int, ...], mode: FusionMode) -> None:
        super().__init__()
        self.mode = mode
        self.gate = Gate()
        self.sharp = Reader(SHARP, stem, levels[0], mode)
        self.flat = Reader(FLAT, stem, levels[1], mode)
        self.presence = nn.Linear(SLOTS, levels[0])

    def weights(self, available: Tensor, quality: Tensor) -> Tensor:
        """(1, slots): shares that sum to 1."""
        if self.mode is FusionMode.GATED:
            return self.gate(available, quality)
        share: Tensor = available / available.sum(dim=1, keepdim=True).clamp(min=1.0)
        return share

    def forward(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Features (1, c, x, y, z), those of the functional maps at half the grid or None, and the weights."""
        weights = self.weights(available, quality)
        strength = weights * available.sum(dim=1, keepdim=True)
        sharp = self.sharp(image[:, :SHARP], strength[:, :SHARP])
        known = functional.pad(available, (0, SLOTS - available.shape[1]))
        sharp = sharp + self.presence(known)[:, :, None, None, None]
        if image.shape[1] == SHARP:
            return sharp, None, weights
        return sharp, self.flat(pooled(image[:, SHARP:]), strength[:, SHARP:]), weights
