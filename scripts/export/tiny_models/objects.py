"""Object prompts and what transformers' Sam3TrackerModel answers for them: points, boxes, masks, several at once."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.sam3_tracker.configuration_sam3_tracker import Sam3TrackerConfig
from transformers.models.sam3_tracker.modeling_sam3_tracker import Sam3TrackerModel

from sam3_export.model import Sam3

from .fixtures import make_picture
from .model import RESOLUTION
from .reference import preprocess

USED_SCALES = 3


@dataclass
class ObjectCase:
    """One picture and N objects, every one with the same kind of prompt."""

    name: str
    height: int
    width: int
    objects: int
    points: int = 0
    box: bool = False
    mask: bool = False


OBJECT_CASES = [
    ObjectCase("one_point", 48, 80, 1, points=1),
    ObjectCase("several_points", 120, 90, 1, points=5),
    ObjectCase("box", 31, 217, 1, box=True),
    ObjectCase("box_and_points", 200, 160, 2, points=2, box=True),
    ObjectCase("mask", 77, 101, 2, mask=True),
    ObjectCase("mask_and_point", 64, 64, 2, points=1, mask=True),
    ObjectCase("mask_box_and_points", 5, 7, 1, points=3, box=True, mask=True),
    ObjectCase("several_objects", 150, 220, 6, points=1),
]


def tracker_of(model: Sam3) -> Sam3TrackerModel:
    """The image half of `model`'s tracker as transformers has it, with the same weights and an image encoder.

    Three scales of features are configured instead of the default four: with four, transformers 5.18 adds the "no
    memory" embedding to the fourth, which it then drops. The official predictor adds it to the third, the last it has.
    """
    tracker = model.tracker_model.config
    vision = {**tracker.vision_config.to_dict(), "scale_factors": [4.0, 2.0, 1.0]}
    config = Sam3TrackerConfig(
        vision_config=vision,
        prompt_encoder_config=tracker.prompt_encoder_config.to_dict(),
        mask_decoder_config=tracker.mask_decoder_config.to_dict(),
    )
    state = {}
    for name, value in model.state_dict().items():
        if name.startswith("detector_model.vision_encoder.backbone."):
            state[name.removeprefix("detector_model.")] = value
        if name.startswith(tuple(f"tracker_neck.fpn_layers.{level}." for level in range(USED_SCALES))):
            state[name.replace("tracker_neck.", "vision_encoder.neck.")] = value
        state[name.removeprefix("tracker_model.")] = value
    image = Sam3TrackerModel(config)
    wanted = image.state_dict()
    image.load_state_dict({name: state[name] for name in wanted})
    return image.eval()


def _make_prompts(case: ObjectCase, mask_size: int, random: torch.Generator) -> dict[str, Tensor]:
    """Points anywhere in the picture, its outermost pixels too; corners in order; masks like earlier answers."""
    scale = torch.tensor([case.width, case.height], dtype=torch.float32)
    corners = torch.rand(case.objects, 2, 2, generator=random).sort(dim=1).values * scale
    coarse = torch.randn(case.objects, 1, 4, 4, generator=random) * 8
    masks = F.interpolate(coarse, size=(mask_size, mask_size), mode="bicubic").clamp(-32, 32)
    return {
        "points": torch.rand(case.objects, case.points, 2, generator=random) * scale,
        "labels": torch.randint(0, 2, (case.objects, case.points), generator=random),
        "corners": corners if case.box else corners[:, :0],
        "previous": masks if case.mask else masks[:0],
    }


def _to_square(points: Tensor, case: ObjectCase) -> Tensor:
    """Pixels of the picture to pixels of the model's square, as `Sam3TrackerProcessor` does."""
    points = points.clone()
    points[..., 0] = points[..., 0] * (RESOLUTION / case.width)
    points[..., 1] = points[..., 1] * (RESOLUTION / case.height)
    return points


@torch.no_grad()
def build_object_case(tracker: Sam3TrackerModel, case: ObjectCase, seed: int) -> dict[str, Tensor]:
    """Inputs and expected outputs of one case, by the names listed in the README of a fixture folder."""
    random = torch.Generator().manual_seed(seed)
    picture = make_picture(case.height, case.width, random)
    prompts = _make_prompts(case, tracker.prompt_encoder.mask_input_size[0], random)
    pixels = preprocess(picture, RESOLUTION)
    points, corners = _to_square(prompts["points"], case), _to_square(prompts["corners"], case)
    found: dict[str, list[Tensor]] = {}
    # A mask belongs to a picture in transformers, so objects with masks of their own go one at a time.
    rows = [slice(row, row + 1) for row in range(case.objects)] if case.mask else [slice(None)]
    for row in rows:
        for kind, multimask in (("three", True), ("single", False)):
            output = tracker(
                pixel_values=pixels,
                input_points=points[row][None] if case.points else None,
                input_labels=prompts["labels"][row][None] if case.points else None,
                input_boxes=corners[row].flatten(1)[None] if case.box else None,
                input_masks=prompts["previous"][row] if case.mask else None,
                multimask_output=multimask,
            )
            found.setdefault(f"{kind}_masks", []).append(output.pred_masks[0])
            found.setdefault(f"{kind}_quality", []).append(output.iou_scores[0])
        found.setdefault("object_score", []).append(output.object_score_logits[0])
    expected = {name: torch.cat(values) for name, values in found.items()}
    size = {"size": (case.height, case.width), "mode": "bilinear", "align_corners": False}
    finals = {f"{kind}_final": F.interpolate(expected[f"{kind}_masks"], **size) > 0 for kind in ("three", "single")}
    corner_labels = torch.tensor([[2, 3]]).expand(case.objects, -1) if case.box else prompts["labels"][:, :0]
    return {
        "picture": picture,
        "points": torch.cat((prompts["points"], prompts["corners"]), dim=1),
        "labels": torch.cat((prompts["labels"], corner_labels), dim=1),
        "previous": prompts["previous"],
        **expected,
        **finals,
    }
