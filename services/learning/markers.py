"""The marker head: learned queries ask the tumour's habitats and the bottom of the U-Net for molecular evidence.

A habitat is one class of the predicted mask: means and spread of every sequence in it, its size and place. The head is
trained on stored summaries with the trunk held still, because one case a step teaches a classifier next to nothing.
Marker evidence from synthetic images carries no biological information about a real tumour.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.core.contracts.enums import STRUCTURAL
from services.learning.fusion import SLOTS

MARKERS = 8
CLASSES = 5
SHARP = len(STRUCTURAL)
PLACE = 5  # log volume in ml, |x|, y, z of the centre and the spread, in units of 40 mm
HABITAT = 3 * SLOTS + PLACE
VOXEL_ML = 0.008  # at 2 mm
HALF_EVIDENCE_ML = 0.5  # a tumour of this size carries half of its evidence


def habitats(image: Tensor, available: Tensor, probability: Tensor) -> Tensor:
    """(classes, HABITAT) of one case: mean and spread of each slot, which slots there are, size and place.

    `image` (1, slots, x, y, z) at 2 mm in the canonical box, `probability` (1, classes, x, y, z). A class that is
    hardly there has means near 0 and a very negative log volume.
    """
    share = probability[0].flatten(1)
    mass = share.sum(dim=1, keepdim=True)
    voxels = functional.pad(image[0].flatten(1), (0, 0, 0, SLOTS - image.shape[1]))
    mean = share @ voxels.T / (mass + 20.0)
    spread = torch.sqrt(torch.clamp(share @ (voxels * voxels).T / (mass + 20.0) - mean * mean, min=0.0) + 1e-4)
    known = functional.pad(available[0], (0, SLOTS - available.shape[1])).expand(mean.shape[0], -1)
    place = _place(share, mass, image.shape[2:])
    return torch.cat([mean * known, spread * known, known, place], dim=1)


def _place(share: Tensor, mass: Tensor, space: torch.Size) -> Tensor:
    axes = [(torch.arange(n, device=share.device, dtype=share.dtype) - (n - 1) / 2) / 20.0 for n in space]
    grid = torch.stack([a.flatten() for a in torch.meshgrid(*axes, indexing="ij")])
    centre = share @ grid.T / (mass + 1.0)
    second = (share @ (grid * grid).sum(dim=0, keepdim=True).T) / (mass + 1.0)
    spread = torch.sqrt(torch.clamp(second - (centre * centre).sum(dim=1, keepdim=True), min=0.0) + 1e-4)
    size = torch.log(mass * VOXEL_ML + 0.01)
    return torch.cat([size, centre[:, :1].abs(), centre[:, 1:], spread], dim=1)


def tumour_ml(probability: Tensor) -> Tensor:
    """Expected millilitres of tumour, shape (1,)."""
    return probability[:, 1:4].sum(dim=(1, 2, 3, 4)) * VOXEL_ML


class MarkerHead(nn.Module):
    """Evidence (absent, present) >= 0 per marker. Exactly zero until `trained` is set, so that subtyping abstains."""

    def __init__(self, bottom: int, width: int = 48) -> None:
        super().__init__()
        self.bottom_norm = nn.LayerNorm(bottom)
        self.bottom = nn.Linear(bottom, width)
        self.habitat = nn.Sequential(nn.Linear(HABITAT, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.kind = nn.Parameter(0.02 * torch.randn(CLASSES, width))
        self.query = nn.Parameter(0.02 * torch.randn(MARKERS, width))
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.direct = nn.Sequential(nn.Linear(CLASSES * width, width), nn.GELU())
        self.drop = nn.Dropout(0.1)
        self.out = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, 2))
        self.register_buffer("middle", torch.zeros(CLASSES, HABITAT))
        self.register_buffer("scale", torch.ones(CLASSES, HABITAT))
        self.register_buffer("trained", torch.zeros(1))

    def logits(self, habitat: Tensor, bottom: Tensor) -> Tensor:
        """(batch, MARKERS, 2) log evidence from (batch, classes, HABITAT) and tokens (batch, n, bottom)."""
        batch = habitat.shape[0]
        known = self.habitat(((habitat - self.middle) / self.scale).clamp(-4.0, 4.0)) + self.kind
        tokens = self.drop(torch.cat([known, self.bottom(self.bottom_norm(bottom))], dim=1))
        query = self.query.expand(batch, -1, -1)
        found = functional.scaled_dot_product_attention(
            query[:, None], self.key(tokens)[:, None], self.value(tokens)[:, None]
        )[:, 0]
        whole = self.direct(self.drop(known).flatten(1))[:, None].expand(-1, MARKERS, -1)
        return self.out(torch.cat([query, found, whole], dim=2))

    def forward(self, habitat: Tensor, bottom: Tensor, ml: Tensor) -> Tensor:
        """Evidence that shrinks to nothing with the tumour (`ml`, shape (batch,))."""
        weight = (ml / (ml + HALF_EVIDENCE_ML))[:, None, None]
        return torch.exp(self.logits(habitat, bottom).clamp(max=5.0)) * weight * self.trained
