"""Evaluation scenes with their prompts, and writing them to a folder for programs without torch.

    python evaluation_set.py FOLDER [--scenes 300] [--seed 20261122] [--renderer scenes|plain]

writes NNNN.png and scenes.json: per scene its file, size, objects (colour, shape, box, COCO run-length mask) and
prompts (kind, text, boxes x1 y1 x2 y2 label in pixels, targets = indices of the expected objects).
"""
import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from prompts import evaluation_prompts
from scenes import draw_scene

DEFAULT_SEED = 20261122  # training uses [seed, batch] pairs, never this stream


def make_set(count, seed=DEFAULT_SEED, renderer="scenes"):
    """`count` scenes with prompts: (scene, prompts) pairs, the same for the same seed."""
    draw = draw_scene
    if renderer == "plain":
        from plain_renderer import draw_scene as draw
    made = []
    for i in range(count):
        rng = np.random.default_rng([seed, 7, i])
        scene = draw(rng, longest=700)
        made.append((scene, evaluation_prompts(scene["objects"], rng)))
    return made


def run_lengths(mask):
    """COCO compressed run lengths of a mask."""
    from pycocotools import mask as coco

    coded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in coded["size"]], "counts": coded["counts"].decode("ascii")}


def write_set(folder, count, seed, renderer="scenes"):
    """Write the set to a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for i, (scene, prompts) in enumerate(make_set(count, seed, renderer)):
        name = f"{i:04d}.png"
        cv2.imwrite(str(folder / name), np.ascontiguousarray(scene["image"][..., ::-1]))
        height, width = scene["image"].shape[:2]
        entries.append({
            "file": name, "width": width, "height": height,
            "objects": [
                {"shape": o["shape"], "colour": o["colour"], "box": o["box"], "mask": run_lengths(o["mask"])}
                for o in scene["objects"]
            ],
            "prompts": prompts,
        })
    (folder / "scenes.json").write_text(json.dumps({"seed": seed, "renderer": renderer, "scenes": entries}) + "\n")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder")
    arguments.add_argument("--scenes", type=int, default=300)
    arguments.add_argument("--seed", type=int, default=DEFAULT_SEED)
    arguments.add_argument("--renderer", choices=["scenes", "plain"], default="scenes")
    options = arguments.parse_args()
    write_set(options.folder, options.scenes, options.seed, options.renderer)
