"""`sam3::roi_align` against a plain reading of its definition, and against torchvision where that is installed."""

import math

import pytest
import torch
from support import NOT_RUN
from torchvision_import import TORCHVISION

from sam3_export.roi_align import roi_align


# Positions of up to 18 cells round at 1e-6 in fp32, and a feature changes by a few units from cell to cell.
CLOSE = {"atol": 1e-5, "rtol": 0}


def by_definition(features, rois, scale, bins_y, bins_x, ratio, aligned):
    """Mask R-CNN's RoIAlign sample by sample, in float64: the mean of bilinear samples in every bin."""
    height, width = features.shape[-2:]
    out = torch.zeros(len(rois), features.shape[1], bins_y, bins_x, dtype=torch.float64)

    def sample(picture, y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return torch.zeros(features.shape[1], dtype=torch.float64)
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        y0, x0 = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
        y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
        fy, fx = y - y0, x - x0
        top = picture[:, y0, x0] * (1 - fx) + picture[:, y0, x1] * fx
        bottom = picture[:, y1, x0] * (1 - fx) + picture[:, y1, x1] * fx
        return top * (1 - fy) + bottom * fy

    for k, roi in enumerate(rois.double()):
        picture = features[int(roi[0])].double()
        x1, y1, x2, y2 = (float(v) * scale - (0.5 if aligned else 0.0) for v in roi[1:])
        w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1.0), max(y2 - y1, 1.0))
        ny = ratio if ratio > 0 else math.ceil(h / bins_y)
        nx = ratio if ratio > 0 else math.ceil(w / bins_x)
        for i in range(bins_y):
            for j in range(bins_x):
                samples = [
                    sample(picture, y1 + h / bins_y * (i + (a + 0.5) / ny), x1 + w / bins_x * (j + (b + 0.5) / nx))
                    for a in range(ny)
                    for b in range(nx)
                ]
                out[k, :, i, j] = sum(samples) / max(len(samples), 1)
    return out


def random_case(seed: int):
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 9, 12, generator=random)
    corners = torch.rand(8, 4, generator=random) * torch.tensor([18.0, 15, 18, 15]) - 3
    rois = torch.cat((torch.randint(0, 2, (8, 1), generator=random).float(), corners), dim=1)
    rois[0, 1:] = torch.tensor([0.0, 0, 12, 9])
    rois[1, 1:] = torch.tensor([4.0, 4, 4, 4])
    rois[2, 1:] = torch.tensor([-8.0, -8, -4, -4])
    return features, rois


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("scale", "bins", "ratio"), [(1.0, (7, 7), -1), (0.5, (2, 3), -1), (1.0, (3, 2), 2)])
def test_equals_the_definition(seed, scale, bins, ratio):
    features, rois = random_case(seed)
    ours = roi_align(features, rois, scale, *bins, ratio, False)
    torch.testing.assert_close(ours.double(), by_definition(features, rois, scale, *bins, ratio, False), **CLOSE)


def test_aligned_shifts_by_half_a_cell():
    features, rois = random_case(0)
    rois = rois[:1]
    expected = by_definition(features, rois, 1.0, 3, 3, -1, True)
    torch.testing.assert_close(roi_align(features, rois, 1.0, 3, 3, -1, True).double(), expected, **CLOSE)


def test_no_boxes():
    assert roi_align(torch.randn(1, 4, 5, 5), torch.zeros(0, 5), 1.0, 7, 7, -1, False).shape == (0, 4, 7, 7)


def test_equals_torchvision(torchvision):
    """Inside the map; torchvision's Python version treats samples outside unlike its own kernels."""
    features, _ = random_case(5)
    random = torch.Generator().manual_seed(5)
    corners = torch.rand(20, 2, 2, generator=random).sort(1).values.flatten(1) * torch.tensor([11.0, 8, 11, 8])
    rois = torch.cat((torch.arange(20)[:, None] % 2, corners), dim=1)
    reference = torchvision.ops.roi_align(features, rois, (7, 7), 1.0, -1, False)
    torch.testing.assert_close(roi_align(features, rois, 1.0, 7, 7, -1, False), reference, **CLOSE)


@pytest.mark.usefixtures("torchvision")
def test_resize_equals_torchvision():
    from torchvision.transforms import v2

    from tiny_models.reference import preprocess

    for height, width, seed in [(48, 80, 0), (5, 7, 1), (300, 200, 2), (64, 64, 3)]:
        picture = torch.randint(
            0, 256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
        )
        steps = [v2.Resize((64, 64)), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
        reference = v2.Compose(steps)(picture.permute(2, 0, 1))[None]
        # The same fixed-point resize; /255 and the normalisation in another order round differently in the last bit.
        torch.testing.assert_close(preprocess(picture, 64), reference, atol=1e-6, rtol=0)


@pytest.fixture
def torchvision():
    if TORCHVISION is None:
        NOT_RUN.append("needs torchvision (pip install --no-deps torchvision==0.28.0)")
        pytest.skip("not run: torchvision is not installed")
    # Without its compiled half, torchvision would compile the Python version of roi_align; run it as it is.
    with torch.compiler.set_stance("force_eager"):
        yield TORCHVISION
