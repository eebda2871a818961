"""A whole tracking loop made of bundle parts, against transformers' Sam3TrackerVideoModel over a dozen frames.

It is here to prove the recipe in `docs/bundle.md` ("The tracker's loop"), step by step.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from test_tracker_parts import choose

from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

CLOSE = {"atol": 2e-5, "rtol": 2e-5}
MEMORIES, POINTERS = 7, 16


class Loop:
    """One object, forward in time, prompted on frame 0."""

    def __init__(self, parts, config, resolution, pointers):
        self.parts, self.constants, self.config = parts, parts["tracker_constants"], config
        self.resolution = resolution
        self.pointers = pointers
        self.memories = {}
        self.object_pointers = {}

    def remember(self, frame, coarse, mask, score, clicked):
        large = F.interpolate(mask[:, None], size=(self.resolution,) * 2, mode="bilinear", align_corners=False)
        side = 16 * coarse.shape[-1]
        large = F.interpolate(large, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        scaled = (large > 0).float() if clicked else large.sigmoid()
        scaled = scaled * self.config.sigmoid_scale_for_mem_enc + self.config.sigmoid_bias_for_mem_enc
        memory, position = self.parts["memory_encoder"](coarse, scaled)
        memory = memory + (score <= 0)[..., None, None] * self.constants.no_object_spatial[..., None, None]
        memory = memory.to(torch.bfloat16).float()
        self.memories[frame] = (memory.flatten(2).transpose(1, 2), position.flatten(2).transpose(1, 2))

    def recall(self, frame, coarse):
        """Frame 0 is the conditioning frame: its time index is the last row of the table."""
        chosen = [(0, MEMORIES - 1)] + [
            (frame - back, back - 1) for back in range(MEMORIES - 1, 0, -1) if frame - back > 0
        ]
        memory = torch.cat([self.memories[at][0] for at, _ in chosen], 1)
        position = torch.cat([self.memories[at][1] + self.constants.memory_temporal[row] for at, row in chosen], 1)
        times = [0] + [frame - back for back in range(1, self.pointers) if frame - back > 0]
        tokens, places = [], []
        width = coarse.shape[1]
        splits = width // memory.shape[2]
        for at in times:
            tokens.append(self.object_pointers[at].unflatten(1, (splits, -1)))
            place = self.sine(torch.tensor([(frame - at) / (self.pointers - 1)]), width)
            place = F.linear(place, self.constants.pointer_temporal_weight, self.constants.pointer_temporal_bias)
            places.append(place[:, None].expand(-1, splits, -1))
        return self.parts["memory_attention"](coarse, memory, position, torch.cat(tokens, 1), torch.cat(places, 1))

    @staticmethod
    def sine(times, width):
        index = torch.arange(width // 2, dtype=torch.float32)
        angles = times[:, None] / 10000 ** (2 * (index // 2) / (width // 2))
        return torch.cat((angles.sin(), angles.cos()), -1)

    def step(self, frame, features, points, labels):
        fine, middle, coarse = features
        clicked = frame == 0
        conditioned = coarse + self.constants.no_memory if clicked else self.recall(frame, coarse)
        side = fine.shape[-1]
        no_mask = (torch.zeros(1, 1, side, side), torch.tensor([False]))
        outputs = self.parts["object_decoder"](fine, middle, conditioned, points, labels, *no_mask)
        mask, _, pointer = choose(outputs, self.constants, multimask=True)
        self.object_pointers[frame] = pointer
        self.remember(frame, coarse, mask, outputs[2], clicked)
        return mask, outputs[2]


@torch.no_grad()
@pytest.mark.parametrize("frames", [12, 20])
def test_loop_equals_transformers(model, parts, frames):
    tracker = model.tracker_model
    side = tracker.backbone_feature_sizes[-1][0]
    width = tracker.hidden_dim
    random = torch.Generator().manual_seed(frames)
    base = [
        torch.randn(1, c, s * side, s * side, generator=random)
        for c, s in ((width // 8, 4), (width // 4, 2), (width, 1))
    ]
    video = [[b + 0.3 * torch.randn(b.shape, generator=random) for b in base] for _ in range(frames)]
    position = model.tracker_neck.position_encoding((1, width, side, side), torch.device("cpu"), torch.float32)

    pixels = torch.zeros(frames, 3, tracker.image_size, tracker.image_size)
    session = Sam3TrackerVideoInferenceSession(
        pixels, 64, 64, dtype=torch.float32, max_vision_features_cache_size=frames
    )
    for frame, features in enumerate(video):
        flat = [feature.flatten(2).permute(2, 0, 1) for feature in features]
        embeds = [position.flatten(2).permute(2, 0, 1)] * 3
        session.cache.cache_vision_features(frame, {"vision_feats": flat, "vision_pos_embeds": embeds})
    points, labels = torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]])
    index = session.obj_id_to_idx(1)
    session.add_point_inputs(index, 0, {"point_coords": points[:, None], "point_labels": labels[:, None]})
    session.obj_with_new_inputs = [1]

    loop = Loop(parts, tracker.config, tracker.image_size, pointers=min(frames, POINTERS))
    nothing = (torch.zeros(1, 1, 2), torch.tensor([[-1]]))
    scores = []
    for frame, features in enumerate(video):
        theirs = tracker(session, frame_idx=frame)
        mask, score = loop.step(frame, features, *((points, labels) if frame == 0 else nothing))
        scores.append(float(score))
        torch.testing.assert_close(score[:, 0], theirs.object_score_logits[:, 0], **CLOSE)
        torch.testing.assert_close(mask, theirs.pred_masks[:, 0], **CLOSE)
        # Memories are stored in bf16, where a last bit of fp32 can make a difference of 2^-8: compare them as such and
        # go on with transformers' own, or the differences would add up over the frames.
        stored = session.output_dict_per_obj[index]["cond_frame_outputs" if frame == 0 else "non_cond_frame_outputs"]
        memory = stored[frame]["maskmem_features"].float().transpose(0, 1)
        torch.testing.assert_close(loop.memories[frame][0], memory, atol=1e-2, rtol=1e-2)
        loop.memories[frame] = (memory, loop.memories[frame][1])
    assert len(set(scores)) == frames and math.isfinite(sum(scores))
