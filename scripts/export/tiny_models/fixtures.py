"""Cases with inputs and expected outputs, stored so that C++ libtorch can read them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sam3_export.model import Sam3
from sam3_export.trace import save

from .model import RESOLUTION, VOCABULARY
from .reference import Prompts, finish, preprocess, run_detector

START, END = VOCABULARY - 2, VOCABULARY - 1


@dataclass
class Case:
    """One picture and its prompts; every prompt is (words in tokens, labels of its boxes)."""

    name: str
    height: int
    width: int
    prompts: list[tuple[int, list[int]]]


CASES = [
    Case("text", 48, 80, [(3, [])]),
    Case("text_and_boxes", 120, 90, [(2, [1, 1])]),
    Case("negative_box", 64, 64, [(4, [1, 0])]),
    Case("boxes_of_many_sizes", 31, 217, [(1, [1, 0, 1, 1, 0, 1])]),
    Case("prompts_of_different_length", 200, 160, [(1, []), (6, []), (30, [])]),
    Case("mixed_prompts", 77, 101, [(2, [1]), (5, []), (3, [0, 1, 1]), (1, [1, 0])]),
    Case("small_picture", 5, 7, [(2, []), (2, [1])]),
]


def make_picture(height: int, width: int, random: torch.Generator) -> Tensor:
    """[H,W,3] uint8: smooth colour with noise, so that resizing and mask borders have something to do."""
    coarse = torch.rand(1, 3, 4, 4, generator=random)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].permute(1, 2, 0)
    noise = torch.randn(height, width, 3, generator=random) * 0.1
    return ((smooth + noise).clamp(0, 1) * 255).round().to(torch.uint8)


def make_prompts(case: Case, random: torch.Generator) -> Prompts:
    """Random tokens between start and end token, random boxes from slivers to nearly the whole picture."""
    length = max(words for words, _ in case.prompts) + 2
    count = max(len(labels) for _, labels in case.prompts)
    n = len(case.prompts)
    ids = torch.zeros(n, length, dtype=torch.int64)
    mask = torch.zeros(n, length, dtype=torch.bool)
    boxes = torch.zeros(n, count, 4)
    box_labels = torch.zeros(n, count, dtype=torch.int64)
    box_mask = torch.zeros(n, count, dtype=torch.bool)
    for row, (words, labels) in enumerate(case.prompts):
        tokens = torch.randint(0, START, (words,), generator=random).tolist()
        ids[row, : words + 2] = torch.tensor([START, *tokens, END])
        mask[row, : words + 2] = True
        corners = torch.rand(len(labels), 2, 2, generator=random).sort(dim=1).values
        size = corners[:, 1] - corners[:, 0]
        boxes[row, : len(labels)] = torch.cat((corners[:, 0] + size / 2, size), dim=1)
        box_labels[row, : len(labels)] = torch.tensor(labels, dtype=torch.int64)
        box_mask[row, : len(labels)] = True
    return Prompts(ids, mask, boxes, box_labels, box_mask)


def build_case(model: Sam3, case: Case, seed: int) -> dict[str, Tensor]:
    """Inputs and expected outputs of one case, by the names listed in the README of a fixture folder."""
    random = torch.Generator().manual_seed(seed)
    picture = make_picture(case.height, case.width, random)
    prompts = make_prompts(case, random)
    pixels = preprocess(picture, RESOLUTION)
    raw = run_detector(model.detector_model, pixels, prompts)
    return {"picture": picture, "pixels": pixels, **vars(prompts), **raw, **finish(raw, case.height, case.width)}


class Fixture(nn.Module):
    """Named buffers; TorchScript is only the container, because libtorch reads it without further ado."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone().contiguous())

    def forward(self) -> int:
        return 0


def save_fixture(tensors: dict[str, Tensor], path: Path) -> None:
    """C++: `torch::jit::load(path).named_buffers()`."""
    save(torch.jit.script(Fixture(tensors)), path)


def save_for_javascript(tensors: dict[str, Tensor], path: Path) -> None:
    """The same as a safetensors file, which a test in JavaScript reads in a few lines."""
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)
