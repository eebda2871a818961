"""Whether clicked objects that leave a clip are gone: many departures in little time, to tell weights apart.

    python departure_evaluation.py CHECKPOINT [--departures 100] [--seed 77]

CHECKPOINT is checkpoint.pt of a run or a file of pack_checkpoint.py. Clips are those of
video_evaluation.py (nothing is drawn alike on purpose), cut to the clicked frame, one to six given ones, and eight found ones
before and after the moment at which an object leaves. Says how many are gone from the third frame on, as the evaluation of
the package means it, and who held the others. 30 clips of 60 frames have 10 to 17 such departures and take as long as 100 here.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from batches import MASK_CELLS, squash, squash_mask
from clip_batches import Moment, event_window, kind_of
from clips import LEAST_VISIBLE, WAYS
from network import coverage_tensor, pixel_tensor
from object_evaluation import iou
from object_losses import deepest, largest_part
from pack_checkpoint import unpacked
from step import frozen_step
from video_evaluation import GONE_AFTER, mean
from video_losses import told
from video_network import VideoForward, kept

FOUND = 8  # frames before and after the moment
DRAWN = Moment(length=(60, 61), before=(FOUND, FOUND + 1), after=(GONE_AFTER + FOUND, GONE_AFTER + FOUND + 1), leaves=1.0,
               longest=(400,), alike=0.0, ways=WAYS)


def load(checkpoint):
    """The picture side and the memory parts with the weights of a checkpoint."""
    packed = checkpoint.suffix == ".safetensors"
    saved = unpacked(checkpoint) if packed else torch.load(checkpoint, map_location="cpu", weights_only=True)
    step = frozen_step(saved)
    return step.net, VideoForward(step.objects)


def click(video, gold):
    """Point and label of a click on the deepest place of coverage [S, S]."""
    cell = video.objects.resolution / gold.shape[-1]
    x, y = deepest(largest_part(gold > 0.5))
    return (torch.tensor([[[x, y]]], dtype=torch.float32) + 0.5) * cell - 0.5, torch.ones(1, 1, dtype=torch.long)


@torch.no_grad()
def found_masks(net, video, clip, masks, times, given):
    """Masks bool [H, W] found of an object, masks bool [T, H, W], by time's index, from the first that is not given on."""
    resolution, found, memories = net.grid * net.patch, {}, []
    cover = coverage_tensor(np.stack([squash_mask(m, net.grid * MASK_CELLS) for m in masks[: 1 + given]]))
    for t, time in enumerate(times.tolist()):
        pixels = pixel_tensor(squash(clip["frames"][t], resolution))[None]
        fine, middle, coarse = video.features(net.backbone(pixels))
        if t == 0:
            answer = video.answer(*video.decoded(fine, middle, video.plain(coarse), *click(video, cover[0].numpy())))
        elif t <= given:
            there = torch.tensor([bool(masks[t].any())])
            answer = told(video, fine, middle, coarse, cover[t : t + 1], there)
        else:
            answer = video.answer(*video.decoded(fine, middle, video.conditioned(coarse, memories, time)))
            large = F.interpolate(answer.masks, masks[t].shape, mode="bilinear", align_corners=False)
            found[t] = (large[0, 0] > 0).numpy()
        memories = kept([*memories, video.remembered(coarse, answer, time, t == 0)])
    return found


def main():
    """Command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkpoint", type=Path)
    arguments.add_argument("--departures", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=77)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    net, video = load(options.checkpoint)
    left, held, overlaps = 0, [], []
    for index in range(options.departures):
        window = event_window(np.random.default_rng([options.seed, index, 11]), DRAWN)
        if window is None:
            continue
        clip, (subject, *_), times, given = window
        thing = clip["objects"][subject]
        masks = thing["masks"]
        found = found_masks(net, video, clip, masks, times, given)
        there = masks.any((1, 2))
        moment = next(t for t in range(1 + given, len(times)) if there[t - 1] and not there[t : t + 3].any())
        until = next((t for t in range(moment, len(times)) if there[t]), len(times))
        left += 1
        overlaps += [iou(found[t], masks[t]) for t in found if t < moment and there[t]]
        by = [t for t in range(moment + GONE_AFTER, until) if found[t].sum() >= LEAST_VISIBLE]
        if by:
            covered = [(found[by[0]] & o["masks"][by[0]]).sum() for o in clip["objects"]]
            holder = " ".join(kind_of(clip["objects"][int(np.argmax(covered))])) if max(covered) else "ground"
            held.append({"number": index, "object": " ".join(kind_of(thing)), "held by": holder, "frames": len(by)})
    for one in held:
        print(json.dumps(one))
    twins = sum(one["object"] == one["held by"] for one in held)  # of the same colour and shape: only its way tells it apart
    print(json.dumps({"left": left, "gone": left - len(held), "held by a twin": twins, "J before": mean(overlaps)}))


if __name__ == "__main__":
    main()
