"""Train mini's object prompts (clicks, boxes, masks) on a picture side that stays as it is.

    python train_objects.py --out FOLDER --minutes 25 [--seed 1]

Goes on from FOLDER/checkpoint.pt of train.py (or from --init), where object prompts had a small share of every step, and writes
checkpoint.pt and export/ again, every five minutes and at the end (SIGTERM ends it early). Concepts do not change.
"""
import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from batches import batch_stream
from model import build_model
from network import coverage_tensor, pixel_tensor
from object_evaluation import measure_objects
from object_losses import object_losses, often
from optimizers import build_optimizers, rate_share, set_rate
from pack_checkpoint import start_from
from step import WEIGHTS, Step
from train import Threads, save_objects, stop_requests

PICTURES, OBJECTS = 5, 20  # per step
CORRECTIONS = [0.5, 1.0], [1.2, 2.6]  # mean number per object over the schedule: more when first answers are good
UNSEEN_IOU = 0.8  # what a new object counts as
FRESH, POOL = 2, 2000  # so many of a step's pictures are new, the others drawn from so many earlier ones


class Pool:
    """Pictures with what the frozen picture side makes of them: drawing and encoding cost as much as learning.

    With every picture stands how well its objects were answered when they were last asked for: pictures and objects with
    bad answers come again more often. A tenth of the objects has most of what is missing.
    """

    def __init__(self, step, rng):
        self.step, self.rng, self.kept = step, rng, []

    def losses(self, batch, rng, pictures, objects, corrections):
        """Losses of a step that takes a new batch in; none while there is nothing to ask for."""
        with torch.no_grad():
            self.add(self.step.net.backbone(pixel_tensor(batch["pixels"])), batch)
        if not self.kept:
            return {}
        tokens, data, first_iou, take_back = self.draw(pictures)
        cover = self.step.helpers.object_cover
        losses = object_losses(self.step.objects, cover, tokens, data, rng, pictures, objects, corrections, first_iou=first_iou)
        take_back()
        return losses

    def add(self, tokens, batch):
        """Take a batch (arrays) and its ViT tokens."""
        rows = batch["objects"][:, 0]
        for i, of_picture in enumerate(tokens.half()):
            if (rows == i).any():
                objects = batch["objects"][rows == i]
                self.kept.append((of_picture, batch["masks"][rows == i], objects, np.full(len(objects), UNSEEN_IOU)))
        self.kept = self.kept[-POOL:]

    def draw(self, count):
        """The newest FRESH pictures and others: tokens, data and first IoUs as `object_losses` takes them, and a
        function that takes the IoUs back."""
        old = max(0, len(self.kept) - FRESH)
        chosen = [*range(old, len(self.kept))]
        if old:
            likely = often(np.array([iou.mean() for *_, iou in self.kept[:old]]))
            chosen += self.rng.choice(old, count - FRESH, p=likely).tolist()
        tokens, masks, objects, iou = zip(*(self.kept[i] for i in chosen))
        rows = [np.concatenate([np.full((len(o), 1), i, np.float32), o[:, 1:]], 1) for i, o in enumerate(objects)]
        data = {
            "masks": coverage_tensor(np.concatenate(masks)),
            "objects": torch.from_numpy(np.concatenate(rows)),
        }
        first_iou = np.concatenate(iou)

        def take_back():
            for of_picture, seen in zip(iou, np.split(first_iou, np.cumsum([len(i) for i in iou])[:-1])):
                of_picture[:] = seen

        return torch.stack(tokens).float(), data, first_iou, take_back


def object_stream(seed, resolution):
    """Batches of a step's new pictures."""
    return batch_stream(0, kind="objects", seed=seed, pictures=FRESH, prompts_each=1, resolution=resolution)


def main():
    """Command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=25)
    arguments.add_argument("--init", type=Path, help="go on from weights packed by pack_checkpoint.py instead of OUT/checkpoint.pt")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--rate", type=float, default=8e-4)
    arguments.add_argument("--start-progress", type=float, default=0.0, help="begin the schedule here")
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    saved = start_from(options.out, options.init)
    model = build_model(saved["resolution"])
    step = Step(model)
    step.load_state_dict(saved["step"])
    trained = torch.nn.ModuleDict({"objects": step.objects, "cover": step.helpers.object_cover})
    optimizers = build_optimizers(trained.named_parameters(), options.rate)
    stream = object_stream(1000 + options.seed, saved["resolution"])
    pool = Pool(step, np.random.default_rng(options.seed))
    threads, began, sums, done = Threads(options.threads), time.time(), {}, 0
    log = open(options.out / "log" / "objects.jsonl", "a", buffering=1)
    stop = stop_requests()
    saved_at = began
    while (spent := (time.time() - began) / 60 / options.minutes) < 1 and not stop:
        progress = options.start_progress + (1 - options.start_progress) * spent
        index, batch = next(stream)
        set_rate(optimizers, rate_share(progress, done, hold=0.2))
        threads.before()
        corrections = float(np.interp(progress, *CORRECTIONS))
        losses = pool.losses(batch, np.random.default_rng([options.seed, index]), PICTURES, OBJECTS, corrections)
        if not losses:
            continue
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        sum(WEIGHTS[k] * v for k, v in losses.items()).backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0, foreach=True)
        for optimizer in optimizers:
            optimizer.step()
        threads.after()
        done += 1
        for k, v in losses.items():
            sums.setdefault(k, []).append(float(v.detach()))
        if done % 50 == 0:
            line = {"step": done, "minutes": round((time.time() - began) / 60, 1), **{k: round(float(np.mean(v)), 4) for k, v in sums.items()}}
            log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            sums = {}
        if time.time() - saved_at > 300:
            save_objects(saved, model, step, options.out)
            saved_at = time.time()
    save_objects(saved, model, step, options.out)
    from evaluation_set import DEFAULT_SEED, make_set

    torch.set_num_threads(1)
    print("objects", json.dumps(measure_objects(step.net, step.objects, make_set(20, DEFAULT_SEED + 1))), flush=True)
    os._exit(0)  # the drawing process waits for nothing


if __name__ == "__main__":
    main()
