"""Train mini's object prompts (clicks, boxes, masks) on a picture side that stays as it is.

    python train_objects.py --out FOLDER --minutes 12 [--seed 1]

The last part of the recipe: goes on from FOLDER/checkpoint.pt of train.py, where object prompts had a small share of
every step, and writes checkpoint.pt and export/ again. Concepts do not change.
"""
import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from batches import batch_stream
from model import build_model, save_transformers
from object_evaluation import measure_objects
from object_losses import object_losses
from optimizers import build_optimizers, rate_share, set_rate
from step import WEIGHTS, Step, tensors
from tokenizer import special_ids
from train import Threads, save_atomic

PICTURES, OBJECTS, CORRECTIONS = 4, 20, 1.2  # per step; the last: mean number per object


def main():
    """Command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=12)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--rate", type=float, default=8e-4)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    path = options.out / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    model = build_model(saved["resolution"])
    step = Step(model)
    step.load_state_dict(saved["step"])
    trained = torch.nn.ModuleDict({"objects": step.objects, "cover": step.helpers.object_cover})
    optimizers = build_optimizers(trained, options.rate)
    pad = special_ids()["pad"]
    stream = batch_stream(
        0, kind="joint", seed=1000 + options.seed, pictures=PICTURES, prompts_each=1, resolution=saved["resolution"],
    )
    threads, began, sums, done = Threads(options.threads), time.time(), {}, 0
    log = open(options.out / "log" / "objects.jsonl", "a", buffering=1)
    while (progress := (time.time() - began) / 60 / options.minutes) < 1:
        index, batch = next(stream)
        data = tensors(batch, pad)
        if not len(data["objects"]):
            continue
        set_rate(optimizers, rate_share(progress, done, hold=0.2))
        threads.before()
        with torch.no_grad():
            tokens = step.net.backbone(data["pixels"])
        rng = np.random.default_rng([options.seed, index])
        losses = object_losses(step.objects, step.helpers.object_cover, tokens, data, rng, PICTURES, OBJECTS, CORRECTIONS)
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
    own = {f"objects.{k}": v for k, v in step.objects.state_dict().items()}
    saved["step"].update(own)
    saved["average"].update(step.objects.state_dict())
    save_atomic(saved, path)
    save_transformers(model, step.exported(), options.out / "export")
    from evaluation_set import DEFAULT_SEED, make_set

    torch.set_num_threads(1)
    print("objects", json.dumps(measure_objects(step.net, step.objects, make_set(20, DEFAULT_SEED + 1))), flush=True)
    os._exit(0)  # the drawing process waits for nothing


if __name__ == "__main__":
    main()
