"""The two fusion networks, with the inputs and outputs of the Triton contract.

Coarse: the whole canonical box at 2 mm, up to ten sequences. Every slot goes through one shared stem and its own
adapter, is weighted by a gate that falls with poor quality, and is mixed into a small residual U-Net.
Fine: 1 mm crops; starts as "trust the coarse evidence" and learns corrections.
Evidence e >= 0 makes the Dirichlet alpha = e + 1; vacuity = classes / sum(alpha).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOTS, CLASSES, MARKERS = 10, 5, 8
QUALITY = 3
FINE_SLOTS = 4
MAX_LOG_EVIDENCE = 9.0  # exp(9) = 8103, far from the largest FP16


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarseWidths:
    """Channels: of the stem per slot, and of the levels at 2, 4, 8, 16 and 32 mm."""

    stem: int = 8
    levels: tuple[int, ...] = (16, 32, 64, 96, 128)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)


class Block(nn.Module):
    """Residual: norm, activation, convolution; twice. Instance norm: no running statistics to drift between sites."""

    def __init__(self, channels: int, convolutions: int = 2) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.InstanceNorm3d(channels, affine=True) for _ in range(convolutions)])
        self.convs = nn.ModuleList([_conv(channels, channels) for _ in range(convolutions)])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(functional.leaky_relu(norm(y), 0.01))
        return x + y


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
        slots = available.shape[1]
        good = ((quality - self.middle) * self.sign).clamp(-3.0, 3.0)
        hidden = torch.tanh(functional.linear(good, self.inner.abs(), self.inner_bias))
        logit = (hidden * self.outer.abs()).sum(-1) + self.slot[:slots]
        logit = logit + (available - 1.0) * 1e4
        return torch.softmax(logit, dim=1) * available


class Trunk(nn.Module):
    """U-Net on fused features: strided convolutions down, trilinear up, skips by addition."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        pairs = list(pairwise(levels))
        self.down = nn.ModuleList([_conv(a, b, stride=2) for a, b in pairs])
        self.encode = nn.ModuleList([Block(b) for b in levels[1:]])
        self.up = nn.ModuleList([nn.Conv3d(b, a, 1) for a, b in pairs])
        self.decode = nn.ModuleList([Block(a) for a in levels[:-1]])

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down, encode in zip(self.down, self.encode, strict=True):
            skips.append(x)
            x = encode(down(x))
        for index in reversed(range(len(skips))):
            skip = skips[index]
            raised = functional.interpolate(
                self.up[index](x), size=skip.shape[2:], mode="trilinear", align_corners=False
            )
            x = self.decode[index](skip + raised)
        return x


class CoarseNet(nn.Module):
    """`fusion_coarse`. `evidential` switches the head from softmax logits to log evidence (same weights)."""

    def __init__(self, widths: CoarseWidths | None = None) -> None:
        super().__init__()
        widths = widths or CoarseWidths()
        first = widths.levels[0]
        self.stem_width = widths.stem
        self.stem = _conv(1, widths.stem)
        self.film_scale = nn.Parameter(torch.ones(SLOTS, widths.stem))
        self.film_shift = nn.Parameter(torch.zeros(SLOTS, widths.stem))
        self.gate = Gate()
        self.mix = nn.Parameter(torch.randn(SLOTS, first, widths.stem) * (2.0 / (4 * widths.stem)) ** 0.5)
        self.presence = nn.Linear(SLOTS, first)
        self.trunk = Trunk(widths.levels)
        self.norm = nn.InstanceNorm3d(first, affine=True)
        self.head = nn.Conv3d(first, CLASSES, 1)
        if self.head.bias is not None:  # most voxels are background
            nn.init.constant_(self.head.bias, 0.0)
            self.head.bias.data[0] = 2.0
        # untrained: exactly zero evidence, so that subtyping abstains
        self.register_buffer("markers_off", torch.zeros(1, MARKERS, 2))

    def fuse(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed features and gates. The first `image.shape[1]` slots are given, later ones are absent; batch of 1."""
        batch, slots = image.shape[:2]
        space = image.shape[2:]
        gates = self.gate(available, quality)
        features = self.stem(image.reshape(batch * slots, 1, *space))
        features = features.reshape(batch, slots, self.stem_width, -1)
        scale = self.film_scale[:slots, :, None]
        features = functional.leaky_relu(features * scale + self.film_shift[:slots, :, None], 0.1)
        count = available.sum(dim=1, keepdim=True)
        weighted = self.mix[:slots] * (gates * count)[0][:, None, None]
        flat = weighted.permute(1, 0, 2).reshape(-1, slots * self.stem_width)
        mixed = torch.matmul(flat, features.reshape(batch, slots * self.stem_width, -1))
        padded = functional.pad(available, (0, SLOTS - slots))
        mixed = mixed + self.presence(padded)[:, :, None]
        return mixed.reshape(batch, -1, *space), gates

    def logits(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores (softmax warm-up) or log evidence, and gates."""
        fused, gates = self.fuse(image, available, quality)
        features = functional.leaky_relu(self.norm(self.trunk(fused)), 0.01)
        return self.head(features), gates

    def forward(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, gates = self.logits(image, available, quality)
        return evidence_of(logits), self.markers_off + 0.0 * gates.sum(), gates


def evidence_of(logits: Tensor) -> Tensor:
    """Non-negative evidence whose shares are the softmax where there is much of it: e = exp(min(logit, 9))."""
    return torch.exp(torch.clamp(logits, max=MAX_LOG_EVIDENCE))


class FineNet(nn.Module):
    """`fusion_fine`: log evidence of the coarse model plus a correction that starts at zero."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.enter = _conv(FINE_SLOTS + CLASSES, width)
        self.down = _conv(width, 2 * width, stride=2)
        self.body = nn.Sequential(Block(2 * width), Block(2 * width))
        self.up = nn.Conv3d(2 * width, width, 1)
        self.leave = Block(width, convolutions=1)
        self.head = nn.Conv3d(width, CLASSES, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def logits(self, image: Tensor, available: Tensor, coarse: Tensor) -> Tensor:
        """Log evidence after correction."""
        trusted = torch.log(coarse + 0.01)
        given = image * available[:, :, None, None, None]
        x = self.enter(torch.cat([given, 0.25 * trusted], dim=1))
        y = self.body(self.down(functional.leaky_relu(x, 0.01)))
        y = functional.interpolate(self.up(y), scale_factor=2.0, mode="trilinear", align_corners=False)
        correction = self.head(self.leave(x + y))
        return torch.clamp(trusted + correction, max=MAX_LOG_EVIDENCE)

    def forward(self, image: Tensor, available: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        evidence = torch.exp(self.logits(image, available, coarse))
        label = evidence.argmax(dim=1).to(torch.uint8)
        vacuity = CLASSES / (evidence.sum(dim=1) + CLASSES)
        return label, torch.round(vacuity * 255.0).to(torch.uint8)
