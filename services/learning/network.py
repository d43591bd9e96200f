"""The two fusion networks, with the inputs and outputs of the Triton contract.

Coarse: the whole canonical box at 2 mm, up to ten sequences: `fusion.Fusion`, a residual U-Net with attention at its
bottom (`blocks.Trunk`), evidence per label, and the marker head (`markers.MarkerHead`).
Fine: 1 mm crops; starts as "trust the coarse evidence" and learns corrections.
Evidence e >= 0 makes the Dirichlet alpha = e + 1; vacuity = classes / sum(alpha).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.learning.blocks import Trunk, conv3
from services.learning.chain import pooled
from services.learning.fusion import FLAT, QUALITY, SHARP, SLOTS, Fusion, FusionMode, Gate
from services.learning.markers import CLASSES, MARKERS, MarkerHead, habitats, tumour_ml

__all__ = [
    "CLASSES", "FINE_SLOTS", "FLAT", "MARKERS", "QUALITY", "SLOTS",
    "CoarseNet", "CoarseWidths", "FineNet", "FusionMode", "Gate", "Summary", "evidence_of",
]  # fmt: skip

FINE_SLOTS = SHARP
MAX_LOG_EVIDENCE = 9.0  # exp(9) = 8103, far from the largest FP16


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarseWidths:
    """Channels: of the stem per slot, and of the levels at 2, 4, 8, 16 and 32 mm."""

    stem: int = 8
    levels: tuple[int, ...] = (16, 32, 64, 96, 128)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """What the marker head sees of one case: habitats (1, classes, n), tokens (1, tokens, c), tumour ml (1,)."""

    habitat: Tensor
    bottom: Tensor
    ml: Tensor


class CoarseNet(nn.Module):
    """`fusion_coarse`. Its scores are softmax logits in the warm-up and log evidence afterwards (same weights).

    `mode` chooses the fusion, `attention` the mixing of tokens at the bottom: switches for the bench and ablations.
    """

    def __init__(
        self, widths: CoarseWidths | None = None, mode: FusionMode = FusionMode.GATED, *, attention: bool = True
    ) -> None:
        super().__init__()
        widths = widths or CoarseWidths()
        first, second = widths.levels[:2]
        self.mode = mode
        self.fusion = Fusion(widths.stem, widths.levels, mode)
        late = mode is FusionMode.LATE
        self.halve = conv3(first, second, stride=2) if late else None
        levels = widths.levels[1:] if late else widths.levels
        self.trunk = Trunk(levels, attention)
        self.norm = nn.InstanceNorm3d(levels[0], affine=True)
        self.head = nn.Conv3d(levels[0], CLASSES, 1)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        self.head.bias.data[0] = 2.0  # most voxels are background
        self.markers = MarkerHead(widths.levels[-1])
        self.temperature = 1.0  # divides the log evidence that is given out; set by the export

    def _scores(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.mode is FusionMode.LATE:
            return self._late(image, available, quality)
        fused, flat, weights = self.fusion(image, available, quality)
        features, bottom = self.trunk(fused, flat)
        return self.head(functional.leaky_relu(self.norm(features), 0.01)), weights, bottom

    def _late(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One trunk for every sequence by itself at 4 mm, then the weighted mean of their evidence."""
        assert self.halve is not None
        weights = self.fusion.weights(available, quality)
        apart = self.halve(self.fusion.sharp.apart(image[:, :SHARP]))
        if image.shape[1] > SHARP:
            apart = torch.cat([apart, self.fusion.flat.apart(pooled(image[:, SHARP:]))])
        features, bottom = self.trunk(apart)
        scores = self.head(functional.leaky_relu(self.norm(features), 0.01)).clamp(max=MAX_LOG_EVIDENCE)
        mean = (torch.exp(scores) * weights[0][:, None, None, None, None]).sum(dim=0, keepdim=True)
        mixed = (bottom * weights[0][:, None, None, None, None]).sum(dim=0, keepdim=True)
        raised = functional.interpolate(mean, scale_factor=2.0, mode="trilinear", align_corners=False)
        return torch.log(raised + 1e-3), weights, mixed

    def logits(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (1, classes, x, y, z) and gates (1, slots). Slots beyond those of `image` are absent; batch of 1."""
        scores, weights, _ = self._scores(image, available, quality)
        return scores, weights

    def summary(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Summary, Tensor, Tensor]:
        """What the marker head needs (before any temperature), evidence and gates."""
        scores, weights, bottom = self._scores(image, available, quality)
        held = _summary_of(image, available, scores, bottom)
        return held, evidence_of(scores / self.temperature), weights

    def summary_at_half(self, image: Tensor, available: Tensor, quality: Tensor) -> Summary:
        """The summary with the convolutions in bfloat16 (half the time on a CPU), everything after them in FP32."""
        with torch.autocast(image.device.type, dtype=torch.bfloat16):
            scores, _, bottom = self._scores(image, available, quality)
        return _summary_of(image, available, scores.float(), bottom.float())

    def forward(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evidence (1, classes, x, y, z), marker evidence (1, MARKERS, 2), gates (1, slots)."""
        held, evidence, weights = self.summary(image, available, quality)
        return evidence, self.markers(held.habitat, held.bottom, held.ml), weights


def _summary_of(image: Tensor, available: Tensor, scores: Tensor, bottom: Tensor) -> Summary:
    alpha = evidence_of(scores) + 1.0
    probability = alpha / alpha.sum(dim=1, keepdim=True)
    return Summary(
        habitat=habitats(image, available, probability)[None],
        bottom=bottom.flatten(2).transpose(1, 2),
        ml=tumour_ml(probability),
    )


def evidence_of(logits: Tensor) -> Tensor:
    """Non-negative evidence whose shares are the softmax where there is much of it: e = exp(min(logit, 9))."""
    return torch.exp(torch.clamp(logits, max=MAX_LOG_EVIDENCE))


class FineNet(nn.Module):
    """`fusion_fine`: log evidence of the coarse model plus a correction that starts at zero."""

    def __init__(self, levels: tuple[int, int, int] = (8, 16, 32)) -> None:
        super().__init__()
        self.enter = conv3(FINE_SLOTS + CLASSES, levels[0])
        self.trunk = Trunk(levels, attention=False)
        self.head = nn.Conv3d(levels[0], CLASSES, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def logits(self, image: Tensor, available: Tensor, coarse: Tensor) -> Tensor:
        """Log evidence after correction."""
        trusted = torch.log(coarse + 0.01)
        given = image * available[:, :, None, None, None]
        features, _ = self.trunk(self.enter(torch.cat([given, 0.25 * trusted], dim=1)))
        correction = self.head(functional.leaky_relu(features, 0.01))
        return torch.clamp(trusted + correction, max=MAX_LOG_EVIDENCE)

    def forward(self, image: Tensor, available: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Labels uint8 and vacuity uint8 (255 = no evidence at all), (1, x, y, z) each."""
        evidence = torch.exp(self.logits(image, available, coarse))
        label = evidence.argmax(dim=1).to(torch.uint8)
        vacuity = CLASSES / (evidence.sum(dim=1) + CLASSES)
        return label, torch.round(vacuity * 255.0).to(torch.uint8)
