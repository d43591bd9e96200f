"""Building blocks of the networks: residual convolutions, the U-Net trunk and attention among its coarsest tokens."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv3d:
    """3 x 3 x 3 convolution that keeps the grid (or halves it)."""
    return nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)


class Block(nn.Module):
    """Residual: norm, activation, convolution; twice. Instance norm: no running statistics to drift between sites."""

    def __init__(self, channels: int, convolutions: int = 2) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.InstanceNorm3d(channels, affine=True) for _ in range(convolutions)])
        self.convs = nn.ModuleList([conv3(channels, channels) for _ in range(convolutions)])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(functional.leaky_relu(norm(y), 0.01))
        return x + y


class TokenMixer(nn.Module):
    """Self-attention and a small MLP over all voxels of a coarse grid. Starts as the identity.

    The place of a token comes from a depthwise convolution (whose borders see the zero padding), so that the grid may
    have any size: training cuts parts out of the box, serving sees it whole.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.place = nn.Conv3d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.into = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))
        for last in (self.out, self.mlp[2]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, x, y, z) to the same."""
        batch, channels = x.shape[:2]
        placed = (x + self.place(x)).flatten(2).transpose(1, 2)
        parts = self.into(self.norm(placed)).reshape(batch, -1, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = x.flatten(2).transpose(1, 2) + self.out(mixed.transpose(1, 2).reshape(batch, -1, channels))
        tokens = tokens + self.mlp(self.mlp_norm(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


class Trunk(nn.Module):
    """U-Net: strided convolutions down, attention at the bottom, trilinear up, skips by addition."""

    def __init__(self, levels: tuple[int, ...], attention: bool = True) -> None:
        super().__init__()
        pairs = list(pairwise(levels))
        self.down = nn.ModuleList([conv3(a, b, stride=2) for a, b in pairs])
        self.encode = nn.ModuleList([Block(b) for b in levels[1:]])
        self.mix = TokenMixer(levels[-1]) if attention else nn.Identity()
        self.up = nn.ModuleList([nn.Conv3d(b, a, 1) for a, b in pairs])
        self.decode = nn.ModuleList([Block(a) for a in levels[:-1]])

    def forward(self, x: Tensor, second: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features on the grid of `x`, and the bottom of the U. `second` joins after the first halving."""
        skips = []
        for index, (down, encode) in enumerate(zip(self.down, self.encode, strict=True)):
            skips.append(x)
            x = down(x)
            if index == 0 and second is not None:
                x = x + second
            x = encode(x)
        bottom = x = self.mix(x)
        for index in reversed(range(len(skips))):
            skip = skips[index]
            raised = functional.interpolate(
                self.up[index](x), size=skip.shape[2:], mode="trilinear", align_corners=False
            )
            x = self.decode[index](skip + raised)
        return x, bottom
