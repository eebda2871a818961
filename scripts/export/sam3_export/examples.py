"""Inputs of every part: small ones to trace with, and others of any size to check that the trace holds for them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .model import Sam3
from .parts import PARTS


@dataclass
class Sizes:
    """Dimensions that may change from call to call, in the letters of `docs/bundle.md`."""

    pictures: int = 1
    prompts: int = 2
    tokens: int = 5
    boxes: int = 3
    points: int = 2
    memories: int = 2
    pointers: int = 8


def example_calls(model: Sam3, part: str, dtype: torch.dtype, sizes: Sizes) -> dict[str, tuple[Tensor, ...]]:
    """Inputs to trace every method of a part with."""
    return {method: example_inputs(model, part, dtype, sizes, method=method) for method in part_methods(part)}


def part_methods(part: str) -> tuple[str, ...]:
    """`forward`, and what else a part can be asked."""
    return getattr(PARTS[part], "METHODS", ("forward",))


def example_inputs(
    model: Sam3, part: str, dtype: torch.dtype, sizes: Sizes, seed: int = 0, method: str = "forward"
) -> tuple[Tensor, ...]:
    """Random inputs in the order of the part's method; the same seed gives the same numbers."""
    detector, tracker = model.detector_model, model.tracker_model
    backbone = detector.vision_encoder.config.backbone_config
    side = backbone.image_size // backbone.patch_size
    width = detector.detr_decoder.hidden_size
    track = tracker.hidden_dim
    memory = tracker.mem_dim
    n = sizes.prompts
    random = torch.Generator().manual_seed(seed)

    def noise(*shape: int, to: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape, generator=random).to(to)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=random)

    if part == "image_encoder":
        return (noise(sizes.pictures, 3, backbone.image_size, backbone.image_size),)
    if part == "text_encoder":
        mask = torch.ones(n, sizes.tokens, dtype=torch.bool)
        mask[-1, sizes.tokens // 2 + 1 :] = False
        return integers(0, detector.vocab_size, n, sizes.tokens), mask
    if part == "concept_decoder":
        boxes = torch.rand(n, sizes.boxes, 4, generator=random) * 0.5 + 0.25
        box_mask = torch.ones(n, sizes.boxes, dtype=torch.bool)
        box_mask[-1, 1:] = False
        text_mask = torch.ones(n, sizes.tokens, dtype=torch.bool)
        text_mask[0, sizes.tokens // 2 + 1 :] = False
        features = tuple(noise(n, width, scale * side, scale * side) for scale in (4, 2, 1))
        text = noise(n, sizes.tokens, width)
        return *features, text, text_mask, boxes, integers(0, 2, n, sizes.boxes), box_mask
    if part == "object_decoder":
        features = noise(n, track // 8, 4 * side, 4 * side), noise(n, track // 4, 2 * side, 2 * side)
        points = torch.rand(n, sizes.points, 2, generator=random) * backbone.image_size
        has_mask = torch.arange(n) % 2 == 0
        mask = noise(n, 1, 4 * side, 4 * side)
        return *features, noise(n, track, side, side), points, integers(-1, 4, n, sizes.points), mask, has_mask
    if part == "memory_encoder":
        return noise(n, track, side, side), noise(n, 1, 16 * side, 16 * side)
    if part == "memory_attention":
        memories, pointers = sizes.memories * side * side, sizes.pointers
        shapes = [(n, memories, memory), (n, memories, memory), (n, pointers, memory), (n, pointers, memory)]
        inputs = noise(n, track, side, side), *(noise(*shape) for shape in shapes)
        if method == "forward":
            return inputs
        there = torch.ones(n, memories, dtype=torch.bool), torch.ones(n, pointers, dtype=torch.bool)
        there[0][-1, side * side :] = False
        there[1][-1, pointers // 2 :] = False
        return *inputs, *there
    return ()
