"""`sam3::roi_align`: the one operation of SAM 3 that libtorch lacks, with its reference implementation.

The schema is torchvision's (`torchvision::roi_align`); the C++ core registers a twin under the same name. Traced
parts contain a `sam3::roi_align` node, so a runtime must register the twin before it loads `concept_decoder`.
"""

import torch
from torch import Tensor

SCHEMA = (
    "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor"
)


def _bin_weights(start: float, size: float, bins: int, extent: int, sampling_ratio: int) -> Tensor:
    """Weights [bins, extent] that average one axis of a feature map into bins.

    Bilinear sampling is a product of a weight in y and a weight in x, and the sampling grid is a product of two
    axes, so RoIAlign (Mask R-CNN, He et al. 2017) is `rows @ features @ columns.T` with one such matrix per axis.
    A sample further than one cell outside the map counts as zero; nearer ones are moved to the border.
    """
    step = size / bins
    samples = sampling_ratio if sampling_ratio > 0 else int(torch.ceil(step))
    if samples < 1:
        return torch.zeros(bins, extent)
    offsets = (torch.arange(samples, dtype=torch.float32) + 0.5) * (step / samples)
    at = start + torch.arange(bins, dtype=torch.float32)[:, None] * step + offsets
    inside = (at >= -1) & (at <= extent)
    at = at.clamp(0, extent - 1)
    low = at.floor().clamp(max=max(extent - 2, 0))
    fraction = at - low
    weights = torch.zeros(bins, samples, extent)
    weights.scatter_add_(2, low.long()[..., None], ((1 - fraction) * inside)[..., None])
    weights.scatter_add_(2, (low.long() + 1).clamp(max=extent - 1)[..., None], (fraction * inside)[..., None])
    return weights.mean(1)


def roi_align_reference(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool boxes of feature maps to a fixed size, as `torchvision.ops.roi_align` does.

    input [N,C,H,W]; rois [K,5]: picture index, x1, y1, x2, y2. Returns [K,C,pooled_height,pooled_width].
    `sampling_ratio <= 0` takes ceil(box / bins) samples per bin and axis. Without `aligned` a box is at least one
    cell wide and high.
    """
    height, width = input.shape[-2:]
    pooled = input.new_zeros(rois.shape[0], input.shape[1], pooled_height, pooled_width)
    for index, roi in enumerate(rois.float().cpu()):
        x1, y1, x2, y2 = roi[1:] * spatial_scale - (0.5 if aligned else 0.0)
        box_width, box_height = (x2 - x1, y2 - y1) if aligned else ((x2 - x1).clamp(min=1), (y2 - y1).clamp(min=1))
        rows = _bin_weights(y1, box_height, pooled_height, height, sampling_ratio).to(input)
        columns = _bin_weights(x1, box_width, pooled_width, width, sampling_ratio).to(input)
        pooled[index] = rows @ input[int(roi[0])] @ columns.T
    return pooled


_library = torch.library.Library("sam3", "DEF")
_library.define(SCHEMA)
_library.impl("roi_align", roi_align_reference, "CompositeExplicitAutograd")

roi_align = torch.ops.sam3.roi_align
