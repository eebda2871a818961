"""Positional tables, computed once at export so that the traced graphs hold them as buffers.

Formulas: sine encodings of DETR (Carion et al. 2020), with transformers' order of operations so that results are
equal bit for bit; axial rotary encodings of SAM 2's memory attention (Ravi et al. 2024).
"""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000


def sine_divisors(features: int) -> Tensor:
    """[features]: T^(2 floor(i / 2) / features)."""
    index = torch.arange(features, dtype=torch.int64).to(torch.float32)
    return TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / features)


def sine_encode(positions: Tensor, divisors: Tensor) -> Tensor:
    """positions [...] in radians -> [..., features]: sine on even, cosine on odd places."""
    angles = positions[..., None] / divisors
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1).flatten(-2)


def sine_grid(side: int, channels: int) -> Tensor:
    """[1, channels, side, side]: y in the first half of the channels, x in the second, normalised to 2 pi."""
    steps = torch.arange(1, side + 1, dtype=torch.float32)
    encoded = sine_encode(steps / (steps[-1] + 1e-6) * (2 * math.pi), sine_divisors(channels // 2))
    y = encoded[:, None, :].expand(side, side, -1)
    x = encoded[None, :, :].expand(side, side, -1)
    return torch.cat((y, x), dim=2).permute(2, 0, 1)[None].contiguous()


def rotary_tables(side: int, head_channels: int, theta: float, scale: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine [1, side * side, head_channels] of axial RoPE on a square grid.

    Half of the channels turn with x, the other half with y; `scale` multiplies the grid positions (global blocks of
    the image encoder squeeze theirs into the window's range).
    """
    half = head_channels // 2
    frequencies = 1.0 / (theta ** (torch.arange(0, half, 2, dtype=torch.float) / half))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    positions = torch.stack([x.flatten(), y.flatten()], dim=-1) * scale
    angles = (positions[..., None].float() * frequencies).flatten(1).repeat_interleave(2, dim=-1)[None]
    return angles.cos(), angles.sin()
