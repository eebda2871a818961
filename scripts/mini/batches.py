"""Training batches drawn in worker processes: scenes and prompts as numpy arrays, a function of (seed, index)."""
import multiprocessing
import os
from queue import Full

import cv2
import numpy as np
from PIL import Image

from prompts import KINDS, training_prompts
from scenes import draw_scene
from vocabulary import COLOURS, SHAPES

STREAMS = ["vision", "joint", "objects", "detector"]
MASK_CELLS = 8  # mask targets have 8 x 8 cells per patch


def squash(image, resolution):
    """The picture as the model sees it: antialiased bilinear, squashed to a square, uint8 [3, R, R]."""
    small = Image.fromarray(image).resize((resolution, resolution), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def squash_mask(mask, size):
    """Coverage (0..255) of a mask on a size x size grid."""
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BOX)
    return np.asarray(small)


def centre_box(box, width, height):
    """x1 y1 x2 y2 in pixels to centre x, centre y, width, height as fractions, inside the picture."""
    x1, x2 = np.clip([box[0], box[2]], 0, width) / width
    y1, y2 = np.clip([box[1], box[3]], 0, height) / height
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def make_batch(seed, index, tokenize, pictures, prompts_each, resolution, hard=0.0, easy=0.0, packed=0.0, crowded=0.0, stream=0):
    """Batch number `index`; `hard` is the share of scenes with small objects only, `easy` of easy ones,
    `packed` of ones with many objects, `crowded` of ones with objects that hide parts of each other."""
    rng = np.random.default_rng([seed, index, stream])
    size = resolution // 12 * MASK_CELLS
    pixels, masks, object_rows, pairs = [], [], [], []
    for row in range(pictures):
        kind = rng.random()
        many = rng.random()
        scene = draw_scene(
            rng, small=kind < hard, easy=kind > 1 - easy, packed=many < packed, crowded=packed <= many < packed + crowded,
        )
        height, width = scene["image"].shape[:2]
        pixels.append(squash(scene["image"], resolution))
        first = len(masks)
        for o in scene["objects"]:
            masks.append(squash_mask(o["mask"], size))
            object_rows.append([row, COLOURS.index(o["colour"]), SHAPES.index(o["shape"]), *centre_box(o["box"], width, height)])
        for p in training_prompts(scene["objects"], prompts_each, rng):
            boxes = [(centre_box(b, width, height), b[4]) for b in p["boxes"]]
            pairs.append((row, tokenize(p["text"]), boxes, [first + t for t in p["targets"]], KINDS.index(p["kind"])))
    return {
        "pixels": np.stack(pixels),
        "masks": np.stack(masks) if masks else np.zeros((0, size, size), np.uint8),
        "objects": np.array(object_rows, np.float32).reshape(-1, 7),
        "pairs": pairs,
    }


def mirrored(batch):
    """The batch with x and y exchanged."""
    swap = [1, 0, 3, 2]
    objects = batch["objects"].copy()
    objects[:, 3:] = objects[:, 3:][:, swap]
    pairs = [
        (row, ids, [([box[i] for i in swap], label) for box, label in boxes], targets, kind)
        for row, ids, boxes, targets, kind in batch["pairs"]
    ]
    turned = {name: np.ascontiguousarray(batch[name].swapaxes(-1, -2)) for name in ("pixels", "masks")}
    return {**turned, "objects": objects, "pairs": pairs}


def start_drawing():
    """What every drawing process begins with; the number of its parent.

    It leaves the run's process group: what asks the group to end (`timeout`, Ctrl-C) means the run, which wants drawn items until
    it is through.
    """
    os.setpgrp()
    os.nice(2)
    cv2.setNumThreads(1)
    return os.getppid()


def hand_over(queue, item, parent):
    """Puts an item into the queue when there is room; ends this process when its parent is gone."""
    while True:
        try:
            queue.put(item, timeout=5)
            return
        except Full:
            if os.getppid() != parent:
                os._exit(0)


def _work(queue, start, step, kind, arguments):
    from tokenizer import MiniTokenizer

    parent, tokenize = start_drawing(), MiniTokenizer()
    index, drawn = start, (-1, None)
    while True:
        # The picture side gets every scene twice, the second time mirrored: drawing it costs nearly as much as its step.
        of = index // 2 if kind == "vision" else index
        if drawn[0] != of:
            drawn = of, make_batch(index=of, tokenize=tokenize, stream=STREAMS.index(kind), **shares(kind, of), **arguments)
        item = (index, mirrored(drawn[1]) if kind == "vision" and index % 2 else drawn[1])
        hand_over(queue, item, parent)
        index += step


def shares(kind, index):
    """Share of easy, hard and packed scenes by kind of batch and its number.

    Batches for the picture side alone ("vision"): easy and packed at first, small and packed later. Joint ones are
    much like what the model is to be asked. Those for object prompts ("objects") and for the detector alone have more
    neighbours to tell apart.
    """
    if kind == "detector":
        return {"hard": 0.15, "packed": 0.15, "crowded": 0.5}
    if kind == "objects":
        return {"hard": 0.2, "packed": 0.1, "crowded": 0.5}
    if kind == "joint":
        return {"easy": float(np.interp(index, [0, 1000], [0.3, 0.0])), "hard": 0.15, "packed": 0.15, "crowded": 0.15}
    return {"easy": float(np.interp(index, [0, 1250, 2000], [0.8, 0.8, 0.0])),
            "hard": float(np.interp(index, [0, 1250, 2000], [0.0, 0.0, 0.6])),
            "packed": 0.7}


def batch_stream(start, kind, workers=1, ahead=6, **arguments):
    """Batches of a kind from number `start` on, in order whatever the number of workers."""
    context = multiprocessing.get_context("spawn")
    queues = [context.Queue(ahead) for _ in range(workers)]
    processes = [
        context.Process(target=_work, args=(q, start + i, workers, kind, arguments), daemon=True)
        for i, q in enumerate(queues)
    ]
    for p in processes:
        p.start()
    index = start
    while True:
        got, batch = queues[(index - start) % workers].get()
        assert got == index
        yield index, batch
        index += 1
