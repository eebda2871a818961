"""Train mini's memory: following objects through clips, on everything else as it stands.

    python train_video.py --out FOLDER --minutes 60 [--seed 1] [--resume]

The last part of the recipe: goes on from FOLDER/checkpoint.pt of train_objects.py or from --init (with --resume from an
earlier run of its own) and writes checkpoint.pt and export/ again, every five minutes and at the end (SIGTERM ends it early). Only
the parts learn that pictures do not use, so concepts and object prompts stay what they are. The export says that its
memory is trained once objects are followed well enough.
"""
import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from clip_batches import window_stream
from model import build_model
from optimizers import build_optimizers, rate_share, set_rate
from pack_checkpoint import start_from
from step import Step
from train import Threads, save_objects, stop_requests
from video_evaluation import measure_video
from video_losses import mask_loss, window_backward, window_tensors
from video_network import VideoForward, memory_parameters, start_memory

WEIGHTS = {"video_features": 1.0, "video_mask": 2.0, "video_dice": 2.0, "video_score": 0.5}
# Frames of a window, in turns. Eight are as many as it takes to use every row of the temporal table; attention to few
# memories costs much less, and at first more windows teach more than more frames of one. What a track does with its own
# mistakes is seen in long ones only: they come last (--long).
LENGTHS = (5, 5, 8)
LONG_LENGTHS = (8, 16, 8, 32, 8, 16, 8, 64)
GOOD = 0.75  # mean J of clicked objects from which the memory counts as trained
CLIPS, LENGTH = 6, 30  # of a validation


def fit_masks(video, stream, steps=250, rate=3e-3):
    """Let the memory encoder see masks as the prompt encoder does; the mean loss of the last steps."""
    parameters = list(video.tracker.memory_encoder.mask_downsampler.parameters())
    optimizer, last = torch.optim.Adam(parameters, rate), []
    for done in range(steps):
        data = window_tensors(next(stream)[1])
        masks, visible = data["masks"].flatten(0, 1)[:8], data["visible"].flatten()[:8] > 0
        loss = mask_loss(video, masks, visible)
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - done / steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        last = [*last[-49:], float(loss.detach())]
    return round(float(np.mean(last)), 4)


def main():
    """Command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=60, help="time for this run, from its start")
    arguments.add_argument("--init", type=Path, help="go on from weights packed by pack_checkpoint.py instead of OUT/checkpoint.pt")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--resume", action="store_true", help="go on with the memory in the checkpoint instead of a new one")
    arguments.add_argument("--start-progress", type=float, default=0.0, help="begin the schedule here (with --resume)")
    arguments.add_argument("--long", action="store_true", help="windows of 8 to 64 frames instead of 5 to 8")
    arguments.add_argument("--rate", type=float, default=1e-3)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--validate-minutes", type=float, default=15)
    options = arguments.parse_args()
    saved = start_from(options.out, options.init)
    model = build_model(saved["resolution"])
    step = Step(model)
    step.load_state_dict(saved["step"])
    step.requires_grad_(False)
    video = VideoForward(step.objects)
    if not options.resume:
        start_memory(video.tracker, options.seed)
    trained = {n: p.requires_grad_() for n, p in memory_parameters(video.tracker) if not n.startswith("mask_downsample")}
    print(json.dumps({"trained": sum(p.numel() for p in trained.values())}), flush=True)
    optimizers = build_optimizers(trained.items(), options.rate)
    state = {"done": 0, "drawn": 0, "J": 0.0, **(saved.get("video", {}) if options.resume else {})}
    lengths = LONG_LENGTHS if options.long else LENGTHS
    stream = window_stream(state["drawn"], options.seed, saved["resolution"], lengths)
    if not options.resume:
        print(json.dumps({"masks": fit_masks(video, stream)}), flush=True)
    threads, began, sums = Threads(options.threads), time.time(), {}
    log = open(options.out / "log" / "video.jsonl", "a", buffering=1)
    stop = stop_requests()

    def say(content):
        line = {"step": state["done"], "minutes": round((time.time() - began) / 60, 1), **content}
        log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def save():
        saved["video"] = state
        save_objects(saved, model, step, options.out, memory_trained=state["J"] >= GOOD)

    def validate():
        torch.set_num_threads(1)
        scores = measure_video(step.net, video, CLIPS, LENGTH)
        state["J"] = scores["click"]["J"]
        say({"validation": scores})

    saved_at = validated_at = began
    warm = 0
    while (spent := (time.time() - began) / 60 / options.minutes) < 1 and not stop:
        progress = options.start_progress + (1 - options.start_progress) * spent
        index, window = next(stream)
        state["drawn"] = index + 1
        data = window_tensors(window)
        set_rate(optimizers, rate_share(progress, warm, hold=0.4))
        threads.before()
        with torch.no_grad():
            features = video.features(step.net.backbone(data["pixels"]))
        rng = np.random.default_rng([options.seed, index, 13])
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        losses = window_backward(video, features, data, rng, float(np.interp(progress, [0.1, 0.3], [1.0, 0.1])), WEIGHTS)
        torch.nn.utils.clip_grad_norm_(list(trained.values()), 1.0, foreach=True)
        for optimizer in optimizers:
            optimizer.step()
        threads.after()
        warm += 1
        state["done"] += 1
        for k, v in losses.items():
            sums.setdefault(k, []).append(v)
        if state["done"] % 50 == 0:
            say({"progress": round(progress, 3), **{k: round(float(np.mean(v)), 4) for k, v in sums.items()}})
            sums = {}
        if time.time() - validated_at > 60 * options.validate_minutes:
            validate()
            validated_at = time.time()
        if time.time() - saved_at > 300:
            save()
            saved_at = time.time()
    save()
    validate()
    save()
    os._exit(0)  # the drawing process waits for nothing


if __name__ == "__main__":
    main()
