"""Measure a trained mini on fresh scenes.

    python evaluate.py MODEL_FOLDER [--scenes 300] [--seed N] [--renderer scenes|plain] [--sheet PICTURE]

MODEL_FOLDER is in the transformers layout (config.json, model.safetensors). Scores are sigmoid(logit) *
sigmoid(presence), masks the bilinearly enlarged logits above 0 at the picture's own size, as in the product.
"objects" lists the mean IoU of object prompts: after one click or a box, then after each of three corrective clicks.
`python evaluation_set.py FOLDER` writes such scenes as files, without torch.
"""
import argparse
import copy
import json
import time

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from batches import centre_box, squash
from evaluation_set import DEFAULT_SEED, make_set
from model import load_transformers
from network import TrainingForward, pixel_tensor
from object_evaluation import measure_objects
from tokenizer import MiniTokenizer


@torch.no_grad()
def predict(net, tokenizer, scene, prompts):
    """Per prompt: scores [Q], masks bool [n, H, W] and scores of those above 0.1 (best first)."""
    height, width = scene["image"].shape[:2]
    resolution = net.grid * net.patch
    pixels = pixel_tensor(squash(scene["image"], resolution))[None]
    fine, middle, coarse = net.neck(net.backbone(pixels))
    flat = coarse.flatten(2).transpose(1, 2)
    results = []
    for p in prompts:
        ids = torch.tensor([tokenizer(p["text"])])
        mask = torch.ones_like(ids).bool()
        prompt = net.text(ids, mask)
        # Without boxes too: the CLS token is always there, as in the product.
        boxes = torch.tensor([[centre_box(b, width, height) for b in p["boxes"]]], dtype=torch.float32).reshape(1, -1, 4)
        labels = torch.tensor([[b[4] for b in p["boxes"]]], dtype=torch.long)
        made, made_mask = net.geometry(boxes, torch.ones_like(labels).bool(), labels, coarse)
        prompt, mask = torch.cat([prompt, made], 1), torch.cat([mask, made_mask], 1)
        mask = mask[:, None, None]
        memory = net.encode(flat, prompt, mask)
        hidden, boxes, logits, presence = net.decode(memory, prompt, mask)
        scores = logits[-1, 0].sigmoid() * presence[-1, 0].sigmoid()
        kept = (scores > 0.1).nonzero().squeeze(1)
        kept = kept[scores[kept].argsort(descending=True)]
        masks = np.zeros((0, height, width), bool)
        if len(kept):
            pixel, _ = net.pixels_of(memory, prompt, mask, fine, middle)
            low = net.masks_of(hidden[-1][:, kept], pixel)
            masks = (F.interpolate(low, (height, width), mode="bilinear", align_corners=False)[0] > 0).numpy()
        results.append((scores[kept].numpy(), masks, presence[-1, 0].sigmoid().item()))
    return results


def pair_up(found, gold):
    """Greedy one-to-one matching by mask IoU, found masks best score first; IoU of each found mask (0 if none)."""
    if not len(found) or not len(gold):
        return np.zeros(len(found))
    a = found.reshape(len(found), -1).astype(np.float32)
    b = gold.reshape(len(gold), -1).astype(np.float32)
    inter = a @ b.T
    iou = inter / np.maximum(a.sum(1)[:, None] + b.sum(1)[None] - inter, 1)
    result, free = np.zeros(len(found)), np.ones(len(gold), bool)
    for i in range(len(found)):
        j = int(np.argmax(np.where(free, iou[i], -1)))
        if free[j] and iou[i, j] >= 0.5:
            result[i], free[j] = iou[i, j], False
    return result


def measure(net, tokenizer, dataset, threshold=0.5):
    """The evaluation table: counts, F1, matched IoU, absent concepts found, overall and by kind of prompt."""
    def fresh():
        return {"prompts": 0, "objects": 0, "hit": 0, "false": 0, "missed": 0, "iou": 0.0, "absent": 0, "absent_found": 0}

    kinds, times = {}, []
    for scene, prompts in dataset:
        began = time.perf_counter()
        results = predict(net, tokenizer, scene, prompts)
        times.append((time.perf_counter() - began) / max(1, len(prompts)))
        for p, (scores, masks, _) in zip(prompts, results):
            masks = masks[scores > threshold]
            gold = np.stack([scene["objects"][t]["mask"] for t in p["targets"]]) if p["targets"] else np.zeros((0, 1, 1), bool)
            iou = pair_up(masks, gold)
            hits = int((iou >= 0.5).sum())
            row = kinds.setdefault(p["kind"], fresh())
            row["prompts"] += 1
            row["objects"] += len(gold)
            row["hit"] += hits
            row["false"] += len(masks) - hits
            row["missed"] += len(gold) - hits
            row["iou"] += float(iou.sum())
            if not p["targets"]:
                row["absent"] += 1
                row["absent_found"] += len(masks) > 0
    everything = {k: sum(r[k] for r in kinds.values()) for k in fresh()} if kinds else fresh()

    def summary(r):
        out = {"prompts": r["prompts"]}
        if r["objects"]:
            out["F1"] = round(2 * r["hit"] / max(1, 2 * r["hit"] + r["false"] + r["missed"]), 4)
            out["precision"] = round(r["hit"] / max(1, r["hit"] + r["false"]), 4)
            out["recall"] = round(r["hit"] / max(1, r["hit"] + r["missed"]), 4)
            out["IoU"] = round(r["iou"] / max(1, r["hit"]), 4)
        if r["absent"]:
            out["absent_found"] = round(r["absent_found"] / r["absent"], 4)
        return out

    table = {"all": summary(everything), **{k: summary(r) for k, r in kinds.items()}}
    table["seconds_per_prompt_median"] = round(float(np.median(times)), 4)
    return table


_cached = {}


def quick_validation(model, objects, state, pictures):
    """The table for the given weights on a fixed small set, in short form (for the training log)."""
    if pictures not in _cached:
        _cached[pictures] = make_set(pictures, seed=DEFAULT_SEED + 1)
    if "net" not in _cached:
        _cached["net"] = TrainingForward(copy.deepcopy(model).eval())
        _cached["objects"] = copy.deepcopy(objects).eval()
        _cached["tokenizer"] = MiniTokenizer()
    net = _cached["net"]
    net.model.load_state_dict({k: v for k, v in state.items() if not k.startswith("tracker_")})
    _cached["objects"].load_state_dict({k: v for k, v in state.items() if k.startswith("tracker_")})
    table = measure(net, _cached["tokenizer"], _cached[pictures])
    short = {k: ([v.get("F1"), v.get("IoU"), v.get("absent_found")] if isinstance(v, dict) else v) for k, v in table.items()}
    return {**short, "objects": measure_objects(net, _cached["objects"], _cached[pictures][:12])}


def draw_predictions(net, tokenizer, dataset, path, tile=200, columns=8):
    """A sheet of predictions: found masks outlined in magenta, expected ones in black, prompt boxes dashed white."""
    tiles = []
    for scene, prompts in dataset:
        for p, (scores, masks, presence) in zip(prompts, predict(net, tokenizer, scene, prompts)):
            image = scene["image"].copy()
            scale = (tile - 24) / max(image.shape[:2])
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

            def outline(mask, colour, thick):
                small = cv2.resize(mask.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_AREA)
                contours, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
                cv2.drawContours(image, contours, -1, colour, thick)

            for t in p["targets"]:
                outline(scene["objects"][t]["mask"], (0, 0, 0), 3)
            for m in masks[scores > 0.5]:
                outline(m, (255, 0, 255), 1)
            for b in p["boxes"]:
                a = [int(v * scale) for v in b[:4]]
                cv2.rectangle(image, a[:2], a[2:], (255, 255, 255) if b[4] else (255, 40, 40), 1)
            card = np.full((tile, tile, 3), 40, np.uint8)
            card[20 : 20 + image.shape[0], : image.shape[1]] = image
            top = ",".join(f"{s:.2f}" for s in scores[:4])
            cv2.putText(card, f"{p['text']} {presence:.2f}|{top}"[:38], (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
            tiles.append(card)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])


def main():
    """Command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("--scenes", type=int, default=300)
    arguments.add_argument("--seed", type=int, default=DEFAULT_SEED)
    arguments.add_argument("--renderer", choices=["scenes", "plain"], default="scenes")
    arguments.add_argument("--threshold", type=float, default=0.5)
    arguments.add_argument("--threads", type=int, default=1, help="more are slower while anything else runs")
    arguments.add_argument("--sheet", help="write a picture of predictions on a few scenes instead of measuring")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    model, objects = load_transformers(options.model)
    net, tokenizer = TrainingForward(model), MiniTokenizer()
    dataset = make_set(options.scenes, options.seed, options.renderer)
    if options.sheet:
        draw_predictions(net, tokenizer, dataset, options.sheet)
        return
    table = measure(net, tokenizer, dataset, options.threshold)
    table["objects"] = measure_objects(net, objects, dataset)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
