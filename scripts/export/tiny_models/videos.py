"""A clip with several objects, and what transformers' Sam3TrackerVideoModel answers for it, call by call."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

from sam3_export.model import Sam3

from .fixtures import make_picture
from .model import RESOLUTION
from .reference import preprocess

HEIGHT, WIDTH, FRAMES = 60, 84, 14
POINT_LABELS = {"positive": 1, "negative": 0, "upper left": 2, "lower right": 3}


@dataclass
class Prompt:
    """What an object is told on a frame: points [P,2] in pixels with labels, or a mask."""

    object: int
    points: list[tuple[float, float, str]] = field(default_factory=list)
    mask: tuple[int, int, int, int] | None = None  # x1, y1, x2, y2 of a filled rectangle


@dataclass
class Step:
    """One call of the model."""

    frame: int
    prompts: list[Prompt] = field(default_factory=list)
    reverse: bool = False


def steps() -> list[Step]:
    """Objects of every kind born on different frames, one refined later, then half of the clip backward."""
    born = {
        0: [
            Prompt(1, [(20, 30, "positive")]),
            Prompt(2, [(40, 8, "upper left"), (80, 50, "lower right")]),
        ],
        3: [Prompt(3, mask=(10, 5, 45, 50))],
        5: [Prompt(4, [(60, 40, "positive"), (10, 10, "negative"), (70, 50, "positive")])],
        6: [Prompt(5, mask=(30, 30, 30, 30))],
    }
    forward = [Step(frame, born.get(frame, [])) for frame in range(FRAMES)]
    refined = [Step(9, [Prompt(2, [(50, 30, "positive"), (5, 5, "negative")])])]
    again = [Step(frame) for frame in range(10, FRAMES)]
    backward = [Step(frame, reverse=True) for frame in range(FRAMES - 1, 4, -1)]
    return [*forward, *refined, *again, *backward]


def make_clip(random: torch.Generator) -> Tensor:
    """[T,H,W,3] uint8: a picture that drifts."""
    large = make_picture(HEIGHT + 2 * FRAMES, WIDTH + 3 * FRAMES, random)
    return torch.stack([large[2 * t : 2 * t + HEIGHT, 3 * t : 3 * t + WIDTH] for t in range(FRAMES)])


def _features(model: Sam3, pixels: Tensor) -> dict[str, list[Tensor]]:
    """As Sam3VideoModel.get_vision_features_for_tracker: [1,3,R,R] to flat maps and positions."""
    tracker = model.tracker_model
    side = tracker.backbone_feature_sizes[-1][0]
    hidden = model.detector_model.vision_encoder.backbone(pixels).last_hidden_state
    maps, positions = model.tracker_neck(hidden.view(1, side, side, -1).permute(0, 3, 1, 2))
    maps = [tracker.mask_decoder.conv_s0(maps[0]), tracker.mask_decoder.conv_s1(maps[1]), maps[2]]

    def flat(levels: list[Tensor]) -> list[Tensor]:
        return [level.flatten(2).permute(2, 0, 1) for level in levels]

    return {"vision_feats": flat(maps), "vision_pos_embeds": flat(list(positions[:3]))}


def _tell(session: Sam3TrackerVideoInferenceSession, frame: int, prompt: Prompt) -> None:
    """As Sam3TrackerVideoProcessor puts inputs into a session."""
    index = session.obj_id_to_idx(prompt.object)
    if prompt.mask is not None:
        mask = F.interpolate(
            rectangle(prompt.mask)[None, None], size=(RESOLUTION,) * 2, mode="bilinear", antialias=True
        )
        session.add_mask_inputs(index, frame, (mask >= 0.5).float())
        return
    scale = torch.tensor([RESOLUTION / WIDTH, RESOLUTION / HEIGHT])
    points = torch.tensor([[x, y] for x, y, _ in prompt.points]) * scale
    labels = torch.tensor([POINT_LABELS[label] for _, _, label in prompt.points])
    session.add_point_inputs(index, frame, {"point_coords": points[None, None], "point_labels": labels[None, None]})


def rectangle(corners: tuple[int, int, int, int]) -> Tensor:
    """[H,W] of 0 and 1."""
    mask = torch.zeros(HEIGHT, WIDTH)
    x1, y1, x2, y2 = corners
    mask[y1:y2, x1:x2] = 1
    return mask


@torch.no_grad()
def build_video(model: Sam3, seed: int) -> dict[str, Tensor]:
    """Inputs and expected outputs, by the names listed in the README of a fixture folder."""
    tracker = model.tracker_model
    clip = make_clip(torch.Generator().manual_seed(seed))
    session = Sam3TrackerVideoInferenceSession(
        torch.zeros(FRAMES, 3, RESOLUTION, RESOLUTION),
        HEIGHT,
        WIDTH,
        dtype=torch.float32,
        max_vision_features_cache_size=FRAMES,
    )
    for frame in range(FRAMES):
        session.cache.cache_vision_features(frame, _features(model, preprocess(clip[frame], RESOLUTION)))
    tensors: dict[str, Tensor] = {"clip": clip}
    plan = steps()
    for number, step in enumerate(plan):
        for prompt in step.prompts:
            _tell(session, step.frame, prompt)
        session.obj_with_new_inputs = [prompt.object for prompt in step.prompts]
        output = tracker(session, frame_idx=step.frame, reverse=step.reverse)
        tensors[f"masks_{number}"] = output.pred_masks[:, 0]
        tensors[f"scores_{number}"] = output.object_score_logits[:, 0]
        for row, prompt in enumerate(step.prompts):
            tensors[f"object_{number}_{row}"] = torch.tensor(prompt.object)
            if prompt.mask is not None:
                tensors[f"mask_{number}_{row}"] = rectangle(prompt.mask).to(torch.uint8)
            else:
                tensors[f"points_{number}_{row}"] = torch.tensor([[x, y] for x, y, _ in prompt.points])
                tensors[f"labels_{number}_{row}"] = torch.tensor([POINT_LABELS[kind] for *_, kind in prompt.points])
    tensors["frames"] = torch.tensor([step.frame for step in plan])
    tensors["prompts"] = torch.tensor([len(step.prompts) for step in plan])
    tensors["reverse"] = torch.tensor([step.reverse for step in plan])
    return tensors
