"""Measure how well objects are followed through fresh clips; and write such clips as files.

    python video_evaluation.py FOLDER [--clips 30] [--frames 60] [--seed 991211]

writes clipNN/NNNN.png and clips.json: per clip its folder, size, frames and objects (shape, colour, COCO run-length mask
per frame, null where it is not visible). J is the mean IoU over objects and the frames on which they are visible or
found.
"""
import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from clips import LEAST_VISIBLE, box_of, clickable, draw_clip

SEED = 991211  # training uses [seed, window, 11], never this stream
GONE_AFTER = 2  # frames that an object which left may still be found on


def make_clips(count, frames, seed=SEED, longest=400):
    """`count` clips, the same for the same seed."""
    return [draw_clip(np.random.default_rng([seed, 5, i]), list(range(frames)), longest=longest) for i in range(count)]


def measure_video(net, video, count, frames, kinds=("click", "mask"), seed=SEED + 1):
    """J, the share of frames without the object on which it is still found, and of those with it on which it is lost."""
    import torch
    import torch.nn.functional as F

    from batches import MASK_CELLS, squash, squash_mask
    from network import coverage_tensor, pixel_tensor
    from video_losses import follow

    rows = {kind: {"iou": [], "late": [], "lost": []} for kind in kinds}
    for clip in make_clips(count, frames, seed):
        size = clip["frames"][0].shape[:2]
        resolution, objects = net.grid * net.patch, [clip["objects"][i] for i in clickable(clip)]
        if not objects:
            continue
        cells = net.grid * MASK_CELLS
        data = {
            "masks": coverage_tensor(np.stack([squash_mask(o["masks"][0], cells) for o in objects]))[:, None],
            "boxes": torch.tensor([box_of(o["masks"][0]) for o in objects], dtype=torch.float32),
        }
        with torch.no_grad():
            made = [video.features(net.backbone(pixel_tensor(squash(f, resolution))[None])) for f in clip["frames"]]
        for kind in kinds:
            found = follow(video, lambda t: made[t], frames, data, kind, np.random.default_rng(0))
            for thing, logits in zip(objects, found):
                absent = 0
                for t in range(1, frames):
                    gold = thing["masks"][t]
                    mask = (F.interpolate(logits[t][None, None], size, mode="bilinear", align_corners=False)[0, 0] > 0).numpy()
                    absent = 0 if gold.any() else absent + 1
                    if gold.any():
                        rows[kind]["lost"].append(not mask.any())
                    elif absent > GONE_AFTER:
                        rows[kind]["late"].append(mask.any())
                    if gold.any() or (absent > GONE_AFTER and mask.any()):
                        rows[kind]["iou"].append((gold & mask).sum() / (gold | mask).sum())
    return {
        kind: {"J": mean(r["iou"]), "found though gone": mean(r["late"]), "lost": mean(r["lost"])} for kind, r in rows.items()
    }


def mean(values):
    """Rounded; 0 of nothing."""
    return round(float(np.mean(values)), 4) if values else 0.0


def write_clips(folder, count, frames, seed):
    """Write clips to a folder."""
    from evaluation_set import run_lengths

    entries = []
    for number, clip in enumerate(make_clips(count, frames, seed)):
        own = folder / f"clip{number:02d}"
        own.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(clip["frames"]):
            cv2.imwrite(str(own / f"{index:04d}.png"), np.ascontiguousarray(frame[..., ::-1]))
        height, width = clip["frames"][0].shape[:2]
        entries.append({
            "folder": own.name, "width": width, "height": height, "frames": frames, "clickable": clickable(clip),
            "objects": [
                {"shape": o["shape"], "colour": o["colour"], "masks": [run_lengths(m) if m.any() else None for m in o["masks"]]}
                for o in clip["objects"]
            ],
        })
    (folder / "clips.json").write_text(json.dumps({"seed": seed, "leastVisible": LEAST_VISIBLE, "clips": entries}) + "\n")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--clips", type=int, default=30)
    arguments.add_argument("--frames", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=SEED)
    options = arguments.parse_args()
    write_clips(options.folder, options.clips, options.frames, options.seed)
