"""Training clips drawn in worker processes: a short window of a clip as numpy arrays, a function of (seed, index)."""
import multiprocessing
import os

import cv2
import numpy as np

from batches import MASK_CELLS, hand_over, squash, squash_mask
from clips import draw_clip

OBJECTS = 4  # followed per window at most
ALIKE = 0.5  # of windows: with objects that are easily taken for each other
SHORT = 16  # frames that a window has at most to jump
GIVEN = 2  # frames after a gap whose memories are made of the true masks


def window(rng, frames):
    """Times of a window's frames, and how many frames after the first are given.

    Half of the short windows jump after the first frame: the prompted frame of a long clip is far away, and what
    happened since is known of the last frames only. Long windows show every frame or every second one.
    """
    step = int(rng.choice([1, 1, 2] if frames > SHORT else [1, 1, 2, 3]))
    if frames > SHORT or rng.random() < 0.5:
        return np.arange(frames) * step, 0
    gap = int(rng.integers(8, 90))
    return np.concatenate([[0], gap + np.arange(frames - 1) * step]), GIVEN


def make_window(seed, index, frames, resolution):
    """Window number `index`: pixels uint8 [T, 3, R, R], masks uint8 coverage [N, T, S, S], visible [N, T] (2: hardly),
    boxes [N, 4] on the first frame (centre, size, 0 to 1), times [T] and given. None where nothing can be prompted."""
    rng = np.random.default_rng([seed, index, 11])
    times, given = window(rng, frames)
    clip = draw_clip(rng, times.tolist(), longest=260, alike=ALIKE)
    height, width = clip["frames"][0].shape[:2]
    first = [o["masks"][0].sum() for o in clip["objects"]]
    seen = [i for i, area in enumerate(first) if area > 0.0015 * height * width]
    if not seen:
        return None
    # Those that come and go are fewer, and harder: they come first.
    changes = [float(not clip["objects"][i]["masks"].any((1, 2)).all()) + rng.random() for i in seen]
    chosen = [seen[i] for i in np.argsort(changes)[::-1][:OBJECTS]]
    size = resolution // 12 * MASK_CELLS
    masks = np.stack([[squash_mask(m, size) for m in clip["objects"][i]["masks"]] for i in chosen])
    areas = np.stack([clip["objects"][i]["masks"].sum((1, 2)) for i in chosen])
    visible = np.where(areas == 0, 0, np.where(areas < 0.15 * areas[:, :1], 2, 1))
    boxes = []
    for i in chosen:
        mask = clip["objects"][i]["masks"][0]
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x1, x2, y1, y2 = xs[0] / width, (xs[-1] + 1) / width, ys[0] / height, (ys[-1] + 1) / height
        boxes.append([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
    return {
        "pixels": np.stack([squash(f, resolution) for f in clip["frames"]]), "masks": masks, "visible": visible,
        "boxes": np.array(boxes, np.float32), "times": times, "given": given,
    }


def _work(queue, start, seed, resolution, lengths):
    os.nice(2)
    cv2.setNumThreads(1)
    parent, index = os.getppid(), start
    while True:
        hand_over(queue, (index, make_window(seed, index, lengths[index % len(lengths)], resolution)), parent)
        index += 1


def window_stream(start, seed, resolution, lengths, ahead=6):
    """Windows from number `start` on: (index, window); their lengths in frames take turns."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(ahead)
    context.Process(target=_work, args=(queue, start, seed, resolution, lengths), daemon=True).start()
    while True:
        index, item = queue.get()
        if item is not None:
            yield index, item
