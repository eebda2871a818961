"""Train mini's memory: following objects through clips, on a picture side that stays as it is.

    torchrun --nproc-per-node 2 train_video.py --out FOLDER --minutes 60 [--seed 1] [--resume] [--decoder]

The last part of the recipe: goes on from FOLDER/checkpoint.pt of train_objects.py or from --init (with --resume from an
earlier run of its own) and writes checkpoint.pt and export/ again, every five minutes and at the end (SIGTERM ends it early).
Concepts do not change. Without --decoder only the parts learn that pictures do not use, so object prompts stay what they
are, too. With it their mask decoder learns what is asked of it in clips, and is asked for objects in pictures in between. The
export says that its memory is trained once objects are followed well enough. --looks goes on from fit_looks.py: the coarse
features of the tracker's neck learn as well, what objects look like before all.

Every process (one thread each: that learns more than two threads in one) sees windows of its own; every SHARED steps their
weights become the mean of all.
"""
import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as together

from clip_batches import AGAIN, BRIEF, window_stream
from optimizers import build_optimizers, rate_share, set_rate
from pack_checkpoint import start_from
from step import WEIGHTS as STEP_WEIGHTS
from step import frozen_step
from train import save_objects, stop_requests
from train_objects import Pool, object_stream
from video_evaluation import measure_video
from video_losses import looks_loss, mask_loss, window_backward, window_tensors
from video_network import VideoForward, attend_in_half, decoder_parameters, memory_parameters, start_memory

WEIGHTS = {
    "video_features": 1.0, "video_mask": 2.0, "video_dice": 2.0, "video_score": 0.8, "video_quality": 1.0,
    "video_looks": 0.5,
    **{name: value for name, value in STEP_WEIGHTS.items() if name.startswith("object_")},
}
# Frames of a window, in turns. Eight are as many as it takes to use every row of the temporal table; attention to few
# memories costs much less, and at first more windows teach more than more frames of one. What a track does with its own
# mistakes is seen in long ones only: they come last (--long), between brief ones that start in the middle of a mistake.
LENGTHS = (5, 5, 8)
LONG_LENGTHS = (
    BRIEF, 16, BRIEF, BRIEF, 32, BRIEF, 16, BRIEF, BRIEF, 16, BRIEF, BRIEF, 32, BRIEF, 16, BRIEF, BRIEF, 64,
    BRIEF, 16, BRIEF, BRIEF, 32, BRIEF, 16, BRIEF, BRIEF, 16,
)
# With --looks objects must be known again after a long time, too.
LOOKS_LENGTHS = (
    AGAIN, BRIEF, AGAIN, BRIEF, AGAIN, 16, BRIEF, AGAIN, BRIEF, AGAIN, BRIEF, 16, AGAIN, BRIEF, AGAIN, BRIEF, AGAIN, 32, BRIEF,
)
DECODER_RATE = 0.4  # of the memory's: the decoder has learned before
# Pictures and objects in them that the decoder is asked for after every window, so that it forgets nothing, and corrections:
# after every second window and with one correction the third correction no longer improved what was found.
PICTURES, OBJECTS, CORRECTIONS = 3, 12, 2.5
SHARED = 20  # steps
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


def read_options():
    """Command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=60, help="time for this run, from its start")
    arguments.add_argument("--init", type=Path, help="go on from weights packed by pack_checkpoint.py instead of OUT/checkpoint.pt")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--resume", action="store_true", help="go on with the memory in the checkpoint instead of a new one")
    arguments.add_argument("--start-progress", type=float, default=0.0, help="begin the schedule here (with --resume)")
    arguments.add_argument("--long", action="store_true", help="windows of 16 to 64 frames and brief ones instead of 5 to 8")
    arguments.add_argument("--rate", type=float, default=1e-3)
    arguments.add_argument("--decoder", action="store_true", help="let the mask decoder learn as well")
    arguments.add_argument("--looks", action="store_true", help="let the coarse features learn what objects look like (with --decoder)")
    arguments.add_argument("--validate-minutes", type=float, default=15)
    options = arguments.parse_args()
    if options.looks and not options.decoder:
        arguments.error("--looks changes what the mask decoder sees: it needs --decoder")
    return options


def join_the_others():
    """Meet the other processes that torchrun started, if any; this one's number."""
    if "RANK" in os.environ:
        together.init_process_group("gloo")
    else:
        together.init_process_group("gloo", store=together.HashStore(), rank=0, world_size=1)
    return together.get_rank()


def share(trained, ending):
    """Weights become the mean of all processes'; whether any of them wants to end."""
    wishes = torch.tensor([float(ending)])
    together.all_reduce(wishes)
    flat = torch.nn.utils.parameters_to_vector(trained).detach()
    together.all_reduce(flat)
    torch.nn.utils.vector_to_parameters(flat / together.get_world_size(), trained)
    return wishes.item() > 0


def what_learns(step, tracker, options):
    """Named parameters and their rates: the memory's and, where asked for, the decoder's."""
    memory = {n: p for n, p in memory_parameters(tracker) if not n.startswith("mask_downsample")}
    if not options.decoder:
        return [(memory, options.rate)]
    cover = {f"cover.{n}": p for n, p in step.helpers.object_cover.named_parameters()}
    rest = dict(decoder_parameters(tracker)) | cover
    if options.looks:
        rest |= {f"coarse.{n}": p for n, p in step.objects.tracker_neck.fpn_layers[2].named_parameters()}
        rest |= {f"looks.{n}": p for n, p in step.helpers.looks.named_parameters()} | {"looks_bias": step.helpers.looks_bias}
    return [(memory, options.rate), (rest, options.rate * DECODER_RATE)]


def main():
    """One process of a run."""
    options = read_options()
    torch.set_num_threads(1)
    rank = join_the_others()
    seed = options.seed * 100 + rank
    saved = start_from(options.out, options.init)
    step = frozen_step(saved)
    video = VideoForward(step.objects)
    if not options.resume:
        start_memory(video.tracker, options.seed)
    if torch.cpu._is_avx512_bf16_supported():
        attend_in_half(video.tracker)
    groups = what_learns(step, video.tracker, options)
    trained = [p.requires_grad_() for learning, _ in groups for p in learning.values()]
    optimizers = [o for learning, rate in groups for o in build_optimizers(learning.items(), rate)]
    state = {"done": 0, "drawn": 0, "J": 0.0, **(saved.get("video", {}) if options.resume else {})}
    lengths = LOOKS_LENGTHS if options.looks else LONG_LENGTHS if options.long else LENGTHS
    stream = window_stream(state["drawn"], seed, saved["resolution"], lengths)
    pool, pictures = Pool(step, np.random.default_rng(seed)), object_stream(5000 + seed, saved["resolution"])
    log = open(options.out / "log" / "video.jsonl", "a", buffering=1)
    began, sums, stop = time.time(), {}, stop_requests()

    def say(content):
        if rank == 0:
            line = {"step": state["done"], "minutes": round((time.time() - began) / 60, 1), **content}
            log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)

    def save():
        if rank == 0:
            saved["video"] = state
            save_objects(saved, step.net.model, step, options.out, memory_trained=state["J"] >= GOOD)

    def validate():
        if rank == 0:
            scores = measure_video(step.net, video, CLIPS, LENGTH)
            state["J"] = scores["click"]["J"]
            say({"validation": scores})

    say({"trained": sum(p.numel() for p in trained)})
    if not options.resume:
        say({"masks": fit_masks(video, stream)})
    saved_at = validated_at = began
    steps = 0
    while True:
        spent = (time.time() - began) / 60 / options.minutes
        if steps % SHARED == 0:
            if share(trained, spent >= 1 or bool(stop)):
                break
            if time.time() - validated_at > 60 * options.validate_minutes:
                validate()
                validated_at = time.time()
            if time.time() - saved_at > 300:
                save()
                saved_at = time.time()
        progress = options.start_progress + (1 - options.start_progress) * min(1, spent)
        index, window = next(stream)
        data = window_tensors(window)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        set_rate(optimizers, rate_share(progress, steps, hold=0.4))
        with torch.no_grad():
            tokens = step.net.backbone(data["pixels"])
        fine, middle, coarse = video.features(tokens)
        used = coarse.detach().requires_grad_(options.looks)  # every frame leaves its gradient here
        features = fine.detach(), middle.detach(), used
        rng = np.random.default_rng([seed, index, 13])
        teach = float(np.interp(progress, [0.1, 0.3], [1.0, 0.1]))
        losses = window_backward(video, features, data, rng, teach, WEIGHTS, with_pictures=options.decoder)
        if options.looks:
            of_looks = looks_loss(step.helpers, used, data["masks"])
            (WEIGHTS["video_looks"] * of_looks).backward()
            losses["video_looks"] = float(of_looks.detach())
            coarse.backward(used.grad)
        if options.decoder:
            of_pictures = pool.losses(next(pictures)[1], rng, PICTURES, OBJECTS, CORRECTIONS)
            if of_pictures:
                sum(WEIGHTS[name] * value for name, value in of_pictures.items()).backward()
            losses |= {f"picture{name[6:]}": float(value.detach()) for name, value in of_pictures.items()}
        for learning, _ in groups:
            torch.nn.utils.clip_grad_norm_(learning.values(), 1.0, foreach=True)
        for optimizer in optimizers:
            optimizer.step()
        steps += 1
        state["done"] += 1
        state["drawn"] = index + 1
        for k, v in losses.items():
            sums.setdefault(k, []).append(v)
        if steps % 100 == 0:
            say({"progress": round(progress, 3), **{k: round(float(np.mean(v)), 4) for k, v in sums.items()}})
            sums = {}
    save()
    validate()
    save()
    os._exit(0)  # the drawing processes wait for nothing


if __name__ == "__main__":
    main()
