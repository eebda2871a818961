"""Train mini from nothing on drawn scenes, on a CPU, within a given time.

    python train.py --out FOLDER --hours 1.5 [--seed 1] [--resume] [--init CHECKPOINT] [--resolution 192]

The learning rate follows the clock (warm-up, level, then down), so that a run ends well settled however busy the
machine is. FOLDER gets checkpoint.pt (everything needed to go on with --resume), export/ (the averaged weights in
the transformers layout, refreshed with every checkpoint) and log/ (losses and validations, one JSON per line).
"""
import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open

from batches import batch_stream
from losses import (
    box_iou_terms, box_losses, cover_loss, dense_targets, exemplar_loss, local_masks, mask_losses, match, name_loss,
    score_loss, word_loss,
)
from model import build_model, save_transformers
from network import Helpers, TrainingForward, corners
from tokenizer import kind_of_token, special_ids

PICTURES, PROMPTS, MASK_PAIRS, TEXT_LENGTH = 8, 4, 6, 16
WEIGHTS = {
    "score": 2.0, "presence": 1.5, "l1": 5.0, "giou": 2.0, "mask": 4.0, "dice": 4.0, "semantic": 1.0,
    "vit_kinds": 6.0, "fpn_kinds": 6.0, "fpn_box": 1.0, "fine": 1.5, "cover": 16.0,
    "vit_names": 1.0, "fpn_names": 1.0, "vit_local": 2.0, "word": 6.0, "exemplar": 6.0, "level": 0.1,
}


def tensors(batch, pad):
    """A batch's arrays as tensors; texts are padded to one length, boxes to the most any pair has."""
    pixels = torch.from_numpy(batch["pixels"]).float().div_(127.5).sub_(1)
    masks = torch.from_numpy(batch["masks"]).float().div_(255)
    objects = torch.from_numpy(batch["objects"])
    pairs = batch["pairs"]
    ids = torch.full((len(pairs), TEXT_LENGTH), pad)
    text_mask = torch.zeros(len(pairs), TEXT_LENGTH, dtype=torch.bool)
    most = max(1, max(len(p[2]) for p in pairs))
    boxes = torch.full((len(pairs), most, 4), 0.5)
    box_mask = torch.zeros(len(pairs), most, dtype=torch.bool)
    labels = torch.zeros(len(pairs), most, dtype=torch.long)
    for i, (_, tokens, given, _, _) in enumerate(pairs):
        tokens = tokens if len(tokens) <= TEXT_LENGTH else tokens[: TEXT_LENGTH - 1] + tokens[-1:]
        ids[i, : len(tokens)] = torch.tensor(tokens)
        text_mask[i, : len(tokens)] = True
        for j, (box, label) in enumerate(given):
            boxes[i, j], box_mask[i, j], labels[i, j] = torch.tensor(box), True, label
    return {
        "pixels": pixels, "masks": masks, "objects": objects, "ids": ids, "text_mask": text_mask, "boxes": boxes,
        "box_mask": box_mask, "labels": labels, "row": torch.tensor([p[0] for p in pairs]),
        "targets": [p[3] for p in pairs], "kinds": [p[4] for p in pairs],
    }


def prompt_features(net, data, text, coarse, cls_for_text):
    """Text, boxes and CLS token of every pair; the geometry encoder runs on pairs with boxes only."""
    boxed = data["box_mask"].any(1)
    pairs, most = data["box_mask"].shape
    rows = data["row"]
    extra = text.new_zeros(pairs, most + 1, text.shape[-1])
    extra_mask = torch.zeros(pairs, most + 1, dtype=torch.bool)
    if boxed.any():
        made, made_mask = net.geometry(data["boxes"][boxed], data["box_mask"][boxed], data["labels"][boxed], coarse[rows[boxed]])
        at = boxed.nonzero().squeeze(1)
        extra = extra.index_put((at,), made)
        extra_mask[boxed] = made_mask
    if cls_for_text and not boxed.all():
        none = data["boxes"].new_zeros(len(coarse), 0, 4)
        cls, _ = net.geometry(none, none[..., 0].bool(), none[..., 0].long(), coarse)
        at = (~boxed).nonzero().squeeze(1)
        extra = extra.index_put((at, torch.full_like(at, most)), cls[rows[at], 0])
        extra_mask[at, most] = True
    return torch.cat([text, extra], 1), torch.cat([data["text_mask"], extra_mask], 1)


class Step(torch.nn.Module):
    """One training step's losses."""

    def __init__(self, model):
        super().__init__()
        self.net = TrainingForward(model)
        self.helpers = Helpers()
        self.kind_of_token = torch.tensor(kind_of_token())

    def forward(self, data, progress, generator, vision_only=False):
        net, helpers = self.net, self.helpers
        losses = {}
        pictures = len(data["pixels"])
        kinds, fine_target, owner, owner_weight, coarse_masks = dense_targets(data["masks"], data["objects"], pictures, net.grid)
        tokens = net.backbone(data["pixels"])
        fine, middle, coarse = net.neck(tokens, coarse_only=vision_only)
        flat = coarse.flatten(2).transpose(1, 2)

        seen = helpers.vit_norm(tokens)
        losses["vit_kinds"] = cover_loss(helpers.vit_kinds(seen), kinds)
        losses["vit_names"] = name_loss(helpers.vit_names(seen), data["objects"], owner, owner_weight)
        local = local_masks(data["masks"], data["objects"], pictures, net.grid)
        losses["vit_local"] = cover_loss(helpers.vit_local(seen), local)
        losses["level"] = flat.pow(2).mean().log().pow(2)  # large features would drown the prompt in the DETR encoder
        normal = helpers.fpn_norm(flat)
        losses["fpn_kinds"] = cover_loss(helpers.fpn_kinds(normal), kinds)
        losses["fpn_names"] = name_loss(helpers.fpn_names(normal), data["objects"], owner, owner_weight)
        at = (torch.arange(net.grid) + 0.5) / net.grid
        cy, cx = torch.meshgrid(at, at, indexing="ij")
        side = F.softplus(helpers.fpn_boxes(normal) - 2.0)
        centre = torch.stack([cx, cy], -1).view(1, -1, 2)
        guess = torch.cat([centre - side[..., :2], centre + side[..., 2:]], -1)
        if len(data["objects"]):
            _, giou = box_iou_terms(guess, corners(data["objects"][:, 3:7])[owner])
            losses["fpn_box"] = ((1 - giou) * owner_weight).sum() / owner_weight.sum().clamp(min=1)
        text = net.text(data["ids"], data["text_mask"])
        losses["word"] = word_loss(normal, text, data["ids"], data["row"], kinds, self.kind_of_token, helpers.word_scale, helpers.word_bias)
        if vision_only:
            return losses
        losses["fine"] = cover_loss(helpers.fine(fine), fine_target)

        cls_for_text = torch.rand((), generator=generator).item() < 0.5
        prompt, mask = prompt_features(net, data, text, coarse, cls_for_text)
        mask4 = mask[:, None, None, :]
        losses["exemplar"] = exemplar_loss(
            normal, prompt[:, text.shape[1] : -1], data["boxes"], data["box_mask"], data["row"], data["objects"],
            coarse_masks, helpers.word_scale, helpers.word_bias,
        )
        row = data["row"]
        memory = net.encode(flat.index_select(0, row), prompt, mask4)
        targets = data["targets"]
        cover = torch.zeros(len(row), net.grid**2)
        for i, t in enumerate(targets):
            if t:
                cover[i] = coarse_masks[t].sum(0)
        losses["cover"] = cover_loss(helpers.prompt_cover(helpers.memory_norm(memory)).squeeze(-1), cover.clamp(0, 1))

        hidden, boxes, logits, presence = net.decode(memory, prompt, mask4)
        start = net.model.detr_decoder.reference_points.weight.detach().sigmoid()[:, :2]
        prior = 8.0 * (1 - progress) ** 2 + 1.0
        gold_boxes = data["objects"][:, 3:7]
        matches = match(boxes.detach(), logits.detach(), start, targets, gold_boxes, prior, [3, 1, 1])
        there = torch.tensor([1.0 if t else 0.0 for t in targets])
        for layer, (pair, query, obj) in enumerate(matches):
            share = 1.0 if layer == len(matches) - 1 else 0.5
            count = max(len(pair), 1)
            l1, giou = box_losses(boxes[layer][pair, query], gold_boxes[obj], count)
            for name, value in {
                "score": score_loss(logits[layer], pair, query, count), "l1": l1, "giou": giou,
                "presence": F.binary_cross_entropy_with_logits(presence[layer], there),
            }.items():
                losses[name] = losses.get(name, 0) + share * value

        pair, query, obj = matches[-1]
        present = there.nonzero().squeeze(1)
        chosen = present[torch.randperm(len(present), generator=generator)][:MASK_PAIRS]
        if len(chosen) < MASK_PAIRS:
            rest = (there == 0).nonzero().squeeze(1)
            chosen = torch.cat([chosen, rest, present])[:MASK_PAIRS]
        slots = torch.zeros(len(chosen), 8, dtype=torch.long)
        used, place, wanted = [], [], []
        for k, p in enumerate(chosen.tolist()):
            mine = (pair == p).nonzero().squeeze(1)
            slots[k, : len(mine)] = query[mine]
            used += [k] * len(mine)
            place += range(len(mine))
            wanted += obj[mine].tolist()
        pixel, semantic = net.pixels_of(
            memory.index_select(0, chosen), prompt.index_select(0, chosen), mask4[chosen],
            fine.index_select(0, row[chosen]), middle.index_select(0, row[chosen]),
        )
        found = net.masks_of(hidden[-1][chosen[:, None], slots], pixel)[used, place]
        all_covered = torch.stack([data["masks"][targets[p]].sum(0) if targets[p] else torch.zeros_like(data["masks"][0]) for p in chosen.tolist()]) if len(data["masks"]) else None
        if len(used):
            losses["mask"], losses["dice"] = mask_losses(found, data["masks"][wanted], gold_boxes[wanted])
            losses["semantic"] = cover_loss(semantic, F.avg_pool2d(all_covered[:, None], 2)[:, 0].clamp(0, 1))
        return losses


class Average:
    """Exponential average of a model's weights."""

    def __init__(self, model, decay=0.998):
        self.decay, self.steps = decay, 0
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model):
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = [], []
        for k, v in model.state_dict().items():
            if v.dtype.is_floating_point:
                mine.append(self.state[k])
                theirs.append(v)
        torch._foreach_lerp_(mine, theirs, 1 - keep)


class Threads:
    """One thread or two, whichever is faster now: on a busy machine two wait for each other."""

    def __init__(self, most, every=60, probe=4):
        self.choices = sorted({1, most})
        self.best, self.every, self.probe = most, every, probe
        self.count, self.times = 0, {}

    def before(self):
        """Set the number of threads for the coming step."""
        at = self.count % self.every
        if at == 0:
            self.times = {n: [] for n in self.choices}
        if at < self.probe * len(self.choices):
            self.now = self.choices[at // self.probe]
        else:
            if at == self.probe * len(self.choices):
                self.best = min(self.choices, key=lambda n: sum(sorted(self.times[n])[: self.probe - 1]))
            self.now = self.best
        torch.set_num_threads(self.now)
        self.count += 1
        self.began = time.time()

    def after(self):
        """Note how long the step took."""
        self.times[self.now].append(time.time() - self.began)


def save_atomic(content, path):
    """torch.save, then rename, so that there is always one whole file."""
    torch.save(content, str(path) + ".new")
    os.replace(str(path) + ".new", path)


def parameter_groups(step, decay):
    """Weight decay on matrices only."""
    matrices = [p for p in step.parameters() if p.ndim >= 2]
    others = [p for p in step.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def learning_rate(progress, steps, peak, hold=0.86, low=0.02, warm=60):
    """Warm-up by steps, then level until `hold` of the time is spent, then a cosine down."""
    done = max(0.0, min(1.0, (progress - hold) / (1 - hold)))
    return peak * min(1.0, (steps + 1) / warm) * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))


def vision_only(done, progress, options):
    """Whether this step trains the picture side alone (several times cheaper, and shapes are what takes longest).

    After the first steps every third step trains everything, then every second, then each.
    """
    every = 3 if progress < options.joint_from / 2 else 2 if progress < options.joint_from else 1
    return done < options.vision_steps or done % every != 0


def main():
    """Run the training."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--hours", type=float, default=1.5, help="time for the whole run, earlier parts of a resumed run included")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt")
    arguments.add_argument("--init", type=Path, help="start from the weights of another run, packed by pack_checkpoint.py")
    arguments.add_argument("--resolution", type=int, default=192)
    arguments.add_argument("--rate", type=float, default=1e-3)
    arguments.add_argument("--steps", type=int, default=10**9, help="stop after so many steps (for trying things)")
    arguments.add_argument("--start-progress", type=float, default=0.0, help="begin the schedule here (with --init)")
    arguments.add_argument("--vision-steps", type=int, default=2500, help="steps on the picture side alone at first")
    arguments.add_argument("--joint-from", type=float, default=0.7, help="share of the time after which every step trains everything")
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--validate-every", type=int, default=400)
    options = arguments.parse_args()

    torch.set_num_threads(options.threads)
    (options.out / "log").mkdir(parents=True, exist_ok=True)
    log = open(options.out / "log" / "train.jsonl", "a", buffering=1)
    model = build_model(options.resolution, options.seed)
    step = Step(model)
    step.train()
    average = Average(model)
    optimizer = torch.optim.AdamW(parameter_groups(step, 0.02), lr=options.rate, betas=(0.9, 0.98), fused=True)
    done, spent, warm = 0, 0.0, 0
    path = options.out / "checkpoint.pt"
    if options.resume and path.exists():
        saved = torch.load(path, weights_only=True)
        step.load_state_dict(saved["step"], strict=False)
        if [len(g["params"]) for g in saved["optimizer"]["param_groups"]] == [len(g["params"]) for g in optimizer.param_groups]:
            optimizer.load_state_dict(saved["optimizer"])
            warm = 10**6
        average.state, average.steps = saved["average"], saved["average_steps"]
        done, spent = saved["done"], saved["spent"]
    elif options.init:
        with safe_open(str(options.init), "pt") as packed:
            step.load_state_dict({k: packed.get_tensor(k) for k in packed.keys()}, strict=False)
            done = int(packed.metadata()["done"])
        average = Average(model)
    if options.compile:
        net = step.net
        for name in ("backbone", "neck", "encode", "decode", "pixels_of", "masks_of"):
            setattr(net, name, torch.compile(getattr(net, name), dynamic=False))

    pad = special_ids()["pad"]
    total = options.hours * 3600
    began = time.time() - spent
    stream = batch_stream(done, seed=options.seed, pictures=PICTURES, prompts_each=PROMPTS, resolution=options.resolution)
    sums, seen, mark = {}, 0, time.time()
    saved_at = time.time()
    threads = Threads(options.threads)

    def checkpoint():
        save_atomic({
            "step": step.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state,
            "average_steps": average.steps, "done": done, "spent": time.time() - began,
            "seed": options.seed, "resolution": options.resolution,
        }, path)
        save_transformers(model, options.out / "export", average.state)

    def validate(pictures):
        from evaluate import quick_validation

        table = quick_validation(model, average.state, pictures)
        log.write(json.dumps({"step": done, "minutes": round((time.time() - began) / 60, 1), "validation": table}) + "\n")
        print("validation", done, json.dumps(table), flush=True)

    for index, batch in stream:
        progress = options.start_progress + (1 - options.start_progress) * (time.time() - began) / total
        if progress >= 1 or done >= options.steps:
            break
        rate = learning_rate(progress, warm, options.rate)
        warm += 1
        for group in optimizer.param_groups:
            group["lr"] = rate
        generator = torch.Generator().manual_seed(options.seed * 1000003 + index)
        threads.before()
        losses = step(tensors(batch, pad), progress, generator, vision_only=vision_only(done, progress, options))
        loss = sum(WEIGHTS[k] * v for k, v in losses.items())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(step.parameters(), 1.0 if done > 500 else 5.0, foreach=True)
        if not math.isfinite(norm.item()):
            print("skipped a step: gradient not finite", flush=True)
            continue
        optimizer.step()
        average.update(model)
        threads.after()
        done += 1
        seen += 1
        for k, v in {**losses, "norm": norm, "total": loss}.items():
            sums.setdefault(k, []).append(float(v.detach()))
        if seen == 50:
            line = {"step": done, "minutes": round((time.time() - began) / 60, 2), "rate": round(rate, 6),
                    "seconds": round((time.time() - mark) / seen, 3), "threads": threads.best, **{k: round(sum(v) / len(v), 4) for k, v in sums.items()}}
            log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            sums, seen, mark = {}, 0, time.time()
        if done % options.validate_every == 0:
            validate(40)
            mark = time.time()
        if time.time() - saved_at > 300:
            checkpoint()
            saved_at = time.time()
    checkpoint()
    validate(150)
    print("finished", done, "steps", round((time.time() - began) / 60, 1), "minutes", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
