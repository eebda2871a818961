"""Teach the tracker's coarse features what objects look like, and its memory attention to look for it.

    python fit_looks.py --init PACKED.safetensors --out OUT.safetensors [--clips 8000] [--seed 1]

Features that were learned from clicks alone forget what a click does not need: shades first. So objects were hardly known
again. This goes between two runs of train_video.py: the picture side's tokens know more, and a linear layer on them learns to
keep it, at little change to what it gave before. Then the last layer of the memory attention starts anew: it adds nothing yet,
and attends to whatever looks the same, wherever that is. `train_video.py --looks` goes on from there.
"""
import argparse
import copy
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from batches import MASK_CELLS, squash, squash_mask
from clip_batches import AGAIN, ALIKE, LONGEST, window
from clips import RESTLESS, draw_clip
from network import coverage_tensor, pixel_tensor
from object_network import start_layers
from pack_checkpoint import pack, unpacked
from step import frozen_step
from video_losses import looks_compared, looks_loss, told
from video_network import MEMORIES, VideoForward

BATCH, EPOCHS = 16, 3
RATE, HEAD_RATE = 1.5e-3, 3e-3
KEEP = 1.0  # weight of what features were before; at 10 they learned half as much
HEAD_FIRST = 0.15  # of the steps: only the head learns, which starts from nothing
TESTED = 400  # clips that nothing is learned from
EXAMPLES = 150  # clips that the attention is fitted to
SPREAD = 3.0  # standard deviation of attention logits at its start
STEADY = 6  # rotary frequencies of an axis from this one on turn by less than 45 degrees over the 24 places of a side


def pair(rng, step, resolution):
    """Two frames of a clip, far apart: ViT tokens float16 [2, g*g, D] and objects' coverage [N, 2, g, g]; None with one object."""
    clip = draw_clip(rng, window(rng, AGAIN)[0].tolist(), longest=int(rng.choice(LONGEST)), alike=ALIKE, ways=RESTLESS)
    if len(clip["objects"]) < 2:
        return None
    masks = np.stack([[squash_mask(m, step.net.grid) for m in o["masks"]] for o in clip["objects"]])
    with torch.no_grad():
        tokens = step.net.backbone(pixel_tensor(np.stack([squash(f, resolution) for f in clip["frames"]])))
    return tokens.half(), coverage_tensor(masks)


def told_apart(helpers, maps_of, pairs):
    """How often the same object is nearer than another (the area under the ROC curve)."""
    same, other = [], []
    for tokens, masks in pairs:
        logits, are_same, compared = looks_compared(helpers, maps_of(tokens), masks)
        same.append(logits[compared & are_same])
        other.append(logits[compared & ~are_same])
    return (torch.cat(same)[:, None] > torch.cat(other)).float().mean().item()


def fit_neck(step, pairs, rng):
    """Let the coarse layer of the tracker's neck keep what objects look like; says what that gave."""
    layer, helpers, grid = step.objects.tracker_neck.fpn_layers[2], step.helpers, step.net.grid
    before = copy.deepcopy(layer)

    def maps_of(tokens, layer=layer):
        return layer(tokens.float().transpose(1, 2).unflatten(2, (grid, grid)))

    tested, learned = pairs[:TESTED], pairs[TESTED:]
    variance = maps_of(torch.cat([tokens for tokens, _ in learned[:100]]), before).var((0, 2, 3)).mean()
    neck, head = [*layer.parameters()], [*helpers.looks.parameters(), helpers.looks_bias]
    for parameter in neck + head:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW([
        {"params": neck, "peak": RATE, "weight_decay": 0.0}, {"params": head, "peak": HEAD_RATE, "weight_decay": 0.05},
    ])
    steps = EPOCHS * len(learned) // BATCH
    for done in range(steps):
        for group, waits in zip(optimizer.param_groups, (done < HEAD_FIRST * steps, False)):
            group["lr"] = 0.0 if waits else group["peak"] * (1 - done / steps) * min(1, (done + 1) / 30)
        chosen = rng.integers(len(learned), size=BATCH)
        tokens = torch.cat([learned[i][0] for i in chosen])
        maps = maps_of(tokens)
        moved = (maps - maps_of(tokens, before)).pow(2).mean() / variance
        losses = [looks_loss(helpers, own, learned[i][1]) for own, i in zip(maps.unflatten(0, (-1, 2)), chosen)]
        optimizer.zero_grad(set_to_none=True)
        (torch.stack(losses).mean() + KEEP * moved).backward()
        optimizer.step()
        if done in (int(HEAD_FIRST * steps), steps - 1):
            with torch.no_grad():
                apart = told_apart(helpers, maps_of, tested)
            print(json.dumps({"step": done, "told apart": round(apart, 3), "moved": round(float(moved.detach()), 4)}), flush=True)
    for parameter in neck + head:
        parameter.requires_grad_(False)


@torch.no_grad()
def look_for_the_same(step, video, pairs):
    """Let the last layer of the memory attention attend to what looks like a place's own features. Its queries and keys are
    looks, as a linear map best reads them from what comes in, in channels that rotary positions hardly turn."""
    layer = video.tracker.memory_attention.layers[-1]
    start_layers(layer)
    for norm in (layer.layer_norm1, layer.layer_norm2, layer.layer_norm3):
        norm.reset_parameters()
    cross = layer.cross_attn_image
    for silent in (layer.self_attn.o_proj, cross.o_proj, layer.linear2):
        nn.init.zeros_(silent.weight)
    nn.init.eye_(cross.v_proj.weight)
    seen, kept = [], {"query": [], "key": []}
    hook = layer.layer_norm2.register_forward_hook(lambda _module, _input, out: seen.append(out.flatten(0, -2)))
    oldest = video.there[:, 0] + video.tracker.memory_temporal_positional_encoding.flatten(1)[MEMORIES - 1]
    for tokens, masks in pairs:
        thing = next((m for m in masks if m[0].sum() > 2), None)
        if thing is None:
            continue
        fine, middle, coarse = video.features(tokens.float())
        side = step.net.grid * MASK_CELLS
        cover = F.interpolate(thing[:1, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
        answer = told(video, fine[:1], middle[:1], coarse[:1], cover, torch.tensor([True]))
        memory = video.remembered(coarse[:1], answer, 0, True)
        video.conditioned(coarse[1:], [memory], 20)
        looks = step.helpers.looks(coarse.flatten(2).transpose(1, 2))
        kept["query"].append((seen.pop(), looks[1]))
        kept["key"].append((memory.map[0] + oldest, looks[0]))
    hook.remove()
    middle_of_all = torch.cat([looks for _, looks in kept["key"]]).mean(0)
    maps, read = {}, {}
    for name, rows in kept.items():
        given = torch.cat([F.pad(rows_in, (0, 1), value=1.0) for rows_in, _ in rows])
        wanted = torch.cat([looks for _, looks in rows]) - middle_of_all
        maps[name] = torch.linalg.lstsq(given, wanted).solution
        read[name] = given @ maps[name]
        print(json.dumps({"read from": name, "R2": round(1 - float((read[name] - wanted).var() / wanted.var()), 3)}))
    places = step.net.grid**2
    logits = read["query"][:places] @ read["key"][:places].T * cross.scaling
    half = cross.head_dim // 2
    channels = [c for axis in (0, half) for c in range(axis + 2 * STEADY, axis + half)]
    for projection, name in ((cross.q_proj, "query"), (cross.k_proj, "key")):
        fitted = maps[name] * (SPREAD / logits.std()).sqrt()
        projection.weight.zero_()
        projection.weight[channels] = fitted[:-1].T
        projection.bias[channels] = fitted[-1]


def main():
    """Command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--init", type=Path, required=True, help="weights packed by pack_checkpoint.py")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--clips", type=int, default=8000)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    saved = unpacked(options.init)
    step = frozen_step(saved)
    step.helpers.looks.reset_parameters()
    drawn = (pair(np.random.default_rng([options.seed, i, 17]), step, saved["resolution"]) for i in range(options.clips))
    pairs = [one for one in drawn if one]
    fit_neck(step, pairs, np.random.default_rng(options.seed))
    look_for_the_same(step, VideoForward(step.objects), pairs[:EXAMPLES])
    pack({**saved, "step": step.state_dict()}, options.out)


if __name__ == "__main__":
    main()
