"""What transformers tracks by points, boxes and masks, for the tiny random models: python video_parity_clicks.py MODELS OUT

MODELS is what scripts/export/tiny.py wrote. OUT gets a folder of frames for each clip, and reference.json.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from video_parity_model import (
    HEIGHT, RESOLUTION, SCALE, UNDECIDED, WIDTH, at_full_size, make_clip, run_lengths,
)
from tiny_models.model import tiny_model
from tiny_models.videos import _features
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

out = Path(sys.argv[2])


def tell(session, frame, prompt):
    """As Sam3TrackerVideoProcessor puts inputs into a session."""
    index = session.obj_id_to_idx(prompt["object"])
    if "mask" in prompt:
        x1, y1, x2, y2 = prompt["mask"]
        mask = torch.zeros(1, 1, HEIGHT, WIDTH)
        mask[..., y1:y2, x1:x2] = 1
        mask = F.interpolate(mask, size=(RESOLUTION,) * 2, mode="bilinear", antialias=True)
        session.add_mask_inputs(index, frame, (mask >= 0.5).float())
        return
    points = torch.tensor([[x, y] for x, y, _ in prompt["points"]]) * SCALE
    labels = torch.tensor([label for *_, label in prompt["points"]])
    session.add_point_inputs(index, frame, {"point_coords": points[None, None], "point_labels": labels[None, None]})


@torch.no_grad()
def track_clicks(name, seed, frames, step, steps):
    """Steps are calls of the model: [frame, prompts, reverse]."""
    model = tiny_model(seed)
    tracker = model.tracker_model
    clip = make_clip(out, name, frames, step, seed + 40)
    session = Sam3TrackerVideoInferenceSession(
        clip, HEIGHT, WIDTH, dtype=torch.float32, max_vision_features_cache_size=frames
    )
    for frame in range(frames):
        session.cache.cache_vision_features(frame, _features(model, clip[frame : frame + 1]))
    shown = []
    for frame, prompts, reverse in steps:
        for prompt in prompts:
            tell(session, frame, prompt)
        session.obj_with_new_inputs = [prompt["object"] for prompt in prompts]
        answer = tracker(session, frame_idx=frame, reverse=reverse)
        logits = at_full_size(answer.pred_masks[:, 0]).numpy()
        shown.append({
            "frame": frame,
            "objects": [
                {"id": i, "counts": run_lengths(mask > 0), "undecided": run_lengths(abs(mask) < UNDECIDED)}
                for i, mask in zip(answer.object_ids, logits)
            ],
        })
    steps = [{"frame": frame, "prompts": prompts, "reverse": reverse} for frame, prompts, reverse in steps]
    return {"name": name, "seed": seed, "steps": steps, "shown": shown}


def forward(first, last, prompts=()):
    """Frames one after the other; prompts on the first one."""
    return [[frame, list(prompts) if frame == first else [], False] for frame in range(first, last)]


def backward(first, last):
    return [[frame, [], True] for frame in range(first, last, -1)]


POINT = {"object": 0, "points": [(20, 30, 1)]}
BOX = {"object": 1, "points": [(40, 8, 2), (80, 50, 3)]}
MASK = {"object": 2, "mask": (10, 5, 45, 50)}
POINTS = {"object": 3, "points": [(60, 40, 1), (10, 10, 0), (70, 50, 1)]}
CORRECTION = {"object": 1, "points": [(50, 30, 1), (5, 5, 0)]}
OTHER_BOX = {"object": 1, "points": [(30, 20, 2), (70, 55, 3)]}

answer = [
    track_clicks("clicks-0", 0, 14, 1, [
        *forward(0, 3, [POINT, BOX]), *forward(3, 5, [MASK]), *forward(5, 14, [POINTS]),
        *forward(9, 14, [CORRECTION]),
    ]),
    track_clicks("clicks-1", 1, 12, 1, [*forward(8, 12, [POINT, BOX, MASK]), *backward(7, -1)]),
    track_clicks("clicks-2", 2, 18, 1, [*forward(0, 18, [BOX, MASK])]),
    # An object prompted anew on the frame it was first prompted on.
    track_clicks("clicks-3", 0, 8, 1, [*forward(0, 6, [POINT, BOX]), *forward(0, 8, [OTHER_BOX])]),
]
(out / "reference.json").write_text(json.dumps(answer))
