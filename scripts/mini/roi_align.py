"""A differentiable roi_align in plain torch, and a stand-in for torchvision where that is not installed.

transformers' SAM 3 asks for torchvision only for `torchvision.ops.roi_align`. `ensure_torchvision()` puts a
module of that name with just this function into sys.modules when the real one is missing; call it before
importing transformers.
"""
import enum
import importlib.machinery
import importlib.util
import sys
import types

import torch
import torch.nn.functional as F


def roi_align(features, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    """torchvision's roi_align (aligned False, sampling_ratio -1) for boxes up to twice `output_size` cells wide.

    features: [B, C, H, W]; boxes: list of [K, 4] per picture, x1 y1 x2 y2 in cells. Up to two samples per bin
    and axis: where torchvision takes one, both of ours fall on the same point, so the mean is the same.
    """
    assert not aligned and sampling_ratio == -1 and spatial_scale == 1.0
    n = int(output_size)
    counts = [len(b) for b in boxes]
    boxes = torch.cat(list(boxes))
    rows = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    if len(boxes) == 0:
        return features.new_zeros(0, features.shape[1], n, n)
    height, width = features.shape[-2:]

    def samples(low, high, size):
        step = (high - low).clamp(min=1.0) / n
        two = (step > 1.0)[:, None, None]
        bins = torch.arange(n, dtype=low.dtype)[None, :, None]
        offsets = torch.where(two, torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5]))
        at = (low[:, None, None] + (bins + offsets) * step[:, None, None]).flatten(1)
        inside = (at >= -1) & (at <= size)
        return at.clamp(0, size - 1), inside

    x, x_inside = samples(boxes[:, 0], boxes[:, 2], width)
    y, y_inside = samples(boxes[:, 1], boxes[:, 3], height)
    grid_x = (2 * x / max(width - 1, 1) - 1)[:, None, :].expand(-1, 2 * n, -1)
    grid_y = (2 * y / max(height - 1, 1) - 1)[:, :, None].expand(-1, -1, 2 * n)
    grid = torch.stack([grid_x, grid_y], dim=-1)
    sampled = F.grid_sample(features[rows], grid, mode="bilinear", padding_mode="border", align_corners=True)
    sampled = sampled * (y_inside[:, None, :, None] & x_inside[:, None, None, :])
    return F.avg_pool2d(sampled, 2)


def ensure_torchvision():
    """Make `import torchvision` give at least ops.roi_align (and the few names transformers imports on the way)."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return

    def add(name, **content):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
        module.__path__ = []
        module.__dict__.update(content)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)

    modes = ["NEAREST", "NEAREST_EXACT", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS"]
    add("torchvision", __version__="0.0.0")
    add("torchvision.ops", roi_align=roi_align)
    add("torchvision.io", ImageReadMode=None, decode_image=None)
    add("torchvision.transforms", InterpolationMode=enum.Enum("InterpolationMode", modes))
    add("torchvision.transforms.functional", pil_to_tensor=None)
