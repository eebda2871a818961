"""Training on object prompts, as SAM does it: a first click, box or mask, then clicks where the answer was wrong."""
import cv2
import numpy as np
import torch
import torch.nn.functional as F

from losses import cover_loss, mask_terms

LOGIT_BOUND = 32.0  # of masks given back as prompts
FAR = 0.15  # weight of cells far from the object: answers tend to spill to others that look like it
SHARES = {"click": 0.35, "box": 0.5, "mask": 0.15}  # of first prompts
SHIFT = 4  # a mask prompt may be off by so many cells of the targets, as a tracked object's is


def deepest(region):
    """The place (x, y) farthest inside a region, as a person would click it."""
    depth = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


def largest_part(region):
    """The largest connected part of a region."""
    count, parts, table, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=4)
    return parts == 1 + int(table[1:, cv2.CC_STAT_AREA].argmax()) if count > 2 else region


def click(region, rng):
    """A place in the region: its depth half of the time, else anywhere in it; None where it is empty."""
    if not region.any():
        return None
    if rng.random() < 0.5:
        return deepest(largest_part(region))
    at = rng.integers(int(region.sum()))
    y, x = np.nonzero(region)
    return int(x[at]), int(y[at])


def corrective_click(found, gold, rng):
    """A click (x, y, label) where `found` is wrong, more likely on the larger of the two kinds of error."""
    missed, extra = gold & ~found, found & ~gold
    label = int(rng.random() * (missed.sum() + extra.sum()) < missed.sum())
    at = click(missed if label else extra, rng)
    return (*at, label) if at else (*deepest(gold), 1)


def first_prompts(masks, boxes, kind, rng, cell):
    """Points [N, P, 2] in cells of the masks and labels [N, P] for masks bool [N, S, S] and boxes [N, 4] (0 to 1).

    cell is a cell's side in pixels of the model's square: the official predictor moves corners by half of such a pixel,
    as it moves clicks, so a box is learned that way.
    """
    size = masks.shape[-1]
    if kind == "click":
        return np.array([[click(m, rng)] for m in masks], np.float32), np.ones((len(masks), 1), np.int64)
    if kind == "mask":
        return np.zeros((len(masks), 1, 2), np.float32), np.full((len(masks), 1), -1)
    slack = rng.uniform(-1, 1, (len(boxes), 4)) * rng.choice([0, 0.05, 0.12], (len(boxes), 1), p=[0.35, 0.5, 0.15])
    half = boxes[:, 2:] / 2
    corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1) + slack * np.tile(boxes[:, 2:], 2)
    return (corners.reshape(-1, 2, 2) * size - 0.5 + 0.5 / cell).astype(np.float32), np.tile([2, 3], (len(boxes), 1))


def displaced(masks, rng):
    """Coverage [N, S, S], half of the masks moved a little."""
    moved = []
    for mask in masks:
        by = tuple(rng.integers(-SHIFT, SHIFT + 1, 2).tolist()) if rng.random() < 0.5 else (0, 0)
        moved.append(mask.roll(by, (0, 1)))
    return torch.stack(moved)


def enlarged(masks):
    """Mask logits at twice the size."""
    return F.interpolate(masks, scale_factor=2, mode="bilinear", align_corners=False)


@torch.no_grad()
def overlaps(masks, gold):
    """IoU [N, K] of mask logits [N, K, h, w] and coverage [N, 2h, 2w]."""
    found, wanted = enlarged(masks) > 0, gold[:, None] > 0.5
    return (found & wanted).sum((2, 3)) / (found | wanted).sum((2, 3)).clamp(min=1)


def answer_losses(masks, quality, gold):
    """Losses of one round: token 0 and the best of tokens 1 to 3, and everyone's quality. And the IoU [N] of token 0.

    masks [N, 4, h, w] logits, quality [N, 4], gold [N, 2h, 2w] coverage.
    """
    iou = overlaps(masks, gold)
    with torch.no_grad():
        soft, small = masks[:, 1:].sigmoid(), F.avg_pool2d(gold[:, None], 2)
        overlap = (soft * small).sum((2, 3)) / (soft.sum((2, 3)) + small.sum((2, 3)))
        best = 1 + overlap.argmax(1)
    trained = enlarged(torch.stack([masks[:, 0], masks[torch.arange(len(masks)), best]], 1))
    bce, dice = mask_terms(trained.flatten(0, 1), gold.repeat_interleave(2, 0), FAR)
    return {"object_mask": bce.mean(), "object_dice": dice.mean(), "object_quality": (quality - iou).abs().mean()}, iou[:, 0]


def often(iou):
    """How likely objects are to be chosen, by the IoU of their last first answer: at most three times the usual."""
    weight = 0.08 + np.clip(1 - iou, 0, 0.5)  # the worst may be past help: a bound
    return weight / weight.sum()


def object_losses(net, cover, tokens, data, rng, pictures=2, objects=14, corrections=0.5, gradient=0.3, first_iou=None):
    """Object prompts on a few pictures of the batch: clicks, boxes and masks come first in their SHARES.

    cover is a training-only head that must tell from each place whether the object covers it, corrections the mean
    number of corrective clicks (none at all before first answers are of use), gradient the share of it that reaches the
    picture side, where concepts come first. first_iou, an array with the IoU of every object's first answer when it was
    last asked for, is kept up to date: objects that were answered badly are chosen more often.
    """
    with_objects = np.unique(data["objects"][:, 0].long().numpy())
    at = rng.permutation(with_objects)[:pictures]
    candidates = [i for i, o in enumerate(data["objects"]) if int(o[0]) in at and (data["masks"][i] > 0.5).any()]
    if not candidates:
        return {}
    likely = None if first_iou is None else often(first_iou[candidates])
    chosen = rng.choice(candidates, min(objects, len(candidates)), replace=False, p=likely).tolist()
    tokens = tokens.index_select(0, torch.from_numpy(at))
    features = net.features(tokens.detach() + gradient * (tokens - tokens.detach()))
    place_of = {int(p): i for i, p in enumerate(at)}
    losses = {}
    ends = np.round(np.cumsum(list(SHARES.values())) * len(chosen) + rng.uniform(-0.5, 0.5)).astype(int)
    ends[-1] = len(chosen)
    for kind, first, end in zip(SHARES, [0, *ends], ends):
        group = chosen[first:end]
        if not group:
            continue
        rows = torch.tensor([place_of[int(data["objects"][i, 0])] for i in group])
        own = [f.index_select(0, rows) for f in features]
        boxes = data["objects"][group, 3:7].numpy()
        of_group, iou = rounds(net, cover, own, data["masks"][group], boxes, kind, rng, corrections)
        if first_iou is not None:
            first_iou[group] = iou
        for name, value in of_group.items():
            losses[name] = losses.get(name, 0) + value * (len(group) / len(chosen))
    losses["object_score"] = losses["object_score"] + absent_loss(net, features, data, at, rng)
    return losses


def rounds(net, cover, features, gold, boxes, kind, rng, corrections):
    """Mean losses of a first prompt and the corrective clicks that follow, and the IoU [N] of the first answer."""
    solid = (gold > 0.5).numpy()
    cell = net.resolution / gold.shape[-1]
    coarse = F.avg_pool2d(gold[:, None], gold.shape[-1] // net.grid).flatten(1)
    places, labels = first_prompts(solid, boxes, kind, rng, cell)
    mask, has_mask = None, None
    if kind == "mask":
        mask = (F.avg_pool2d(displaced(gold, rng)[:, None], 2) - rng.uniform(0.3, 0.7)) * rng.uniform(10, 30)
        has_mask = torch.ones(len(gold), dtype=torch.bool)
    count = 1 + int(corrections + rng.random())
    sums = {}
    for turn in range(count):
        points = (torch.from_numpy(places) + 0.5) * cell - 0.5
        masks, quality, score, steps = net(features, points, torch.from_numpy(labels), mask, has_mask)
        here, iou = answer_losses(masks, quality, gold)
        if turn == 0:
            first_iou = iou.numpy()
        here["object_cover"] = cover_loss(cover(steps[-1][1]).squeeze(-1), coarse)
        here["object_score"] = F.binary_cross_entropy_with_logits(score, torch.ones_like(score))
        for name, value in here.items():
            sums[name] = sums.get(name, 0) + value / count
        if turn == count - 1:
            break
        with torch.no_grad():
            # As a caller does: after one click or none the best of three, else the single answer.
            token = 1 + quality[:, 1:].argmax(1) if places.shape[1] == 1 else torch.zeros(len(gold), dtype=torch.long)
            mask = masks[torch.arange(len(gold)), token][:, None].clamp(-LOGIT_BOUND, LOGIT_BOUND)
            has_mask = torch.ones(len(gold), dtype=torch.bool)
            found = (enlarged(mask)[:, 0] > 0).numpy()
        fixes = np.array([corrective_click(f, g, rng) for f, g in zip(found, solid)], np.float32)
        if kind == "mask" and turn == 0:
            places, labels = fixes[:, None, :2], fixes[:, None, 2].astype(np.int64)
        else:
            places = np.concatenate([places, fixes[:, None, :2]], 1)
            labels = np.concatenate([labels, fixes[:, None, 2].astype(np.int64)], 1)
    return sums, first_iou


def absent_loss(net, features, data, pictures, rng):
    """Clicks on the ground of every picture, and empty masks: nothing is there, which the object score must say."""
    places = []
    for picture in pictures:
        mine = data["objects"][:, 0].long() == int(picture)
        ground = (data["masks"][mine].sum(0) < 0.01).numpy()
        places.append(click(ground, rng) or (0, 0))
    cell = net.resolution / data["masks"].shape[-1]
    points = (torch.tensor(places, dtype=torch.float32)[:, None] + 0.5) * cell - 0.5
    empty = torch.full((2 * len(places), 1, 4 * net.grid, 4 * net.grid), -rng.uniform(5, 25))
    clicked = torch.arange(2 * len(places)) < len(places)
    _, _, score, _ = net(
        [torch.cat([f, f]) for f in features], torch.cat([points, torch.zeros_like(points)]),
        torch.where(clicked, 1, -1)[:, None], empty, ~clicked,
    )
    return F.binary_cross_entropy_with_logits(score, torch.zeros_like(score)) * 0.5
