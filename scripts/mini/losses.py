"""Matching and losses for mini's training."""
import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from network import corners


def box_iou_terms(a, b):
    """IoU and generalised IoU of matching corner boxes (any leading shape)."""
    top, low = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inter = (low - top).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1) + (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) - inter
    iou = inter / union.clamp(min=1e-7)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    return iou, iou - (hull - union) / hull.clamp(min=1e-7)


@torch.no_grad()
def match(boxes, logits, start, targets, object_boxes, prior, copies):
    """Hungarian matching of queries to each pair's objects.

    boxes [L, P, Q, 4] and logits [L, P, Q] are predictions, start [Q, 2] the queries' grid places, targets the
    object indices of each pair, copies how many queries each object gets in each layer. Returns, per layer, three
    index tensors: pair, query, object.
    """
    rows = [p for p, t in enumerate(targets) if t]
    if not rows:
        empty = torch.zeros(0, dtype=torch.long)
        return [(empty, empty, empty)] * len(boxes)
    most = max(len(targets[p]) for p in rows)
    index = torch.zeros(len(rows), most, dtype=torch.long)
    for r, p in enumerate(rows):
        index[r, : len(targets[p])] = torch.tensor(targets[p])
    gold = object_boxes[index]
    place = torch.cdist(start[None], gold[..., :2])
    results = []
    for layer in range(len(boxes)):
        b, s = boxes[layer][rows], logits[layer][rows].sigmoid()
        _, giou = box_iou_terms(corners(b)[:, :, None], corners(gold)[:, None])
        cost = 5 * torch.cdist(b, gold, p=1) - 2 * giou - 2 * s[..., None] + prior * place
        cost = cost.numpy()
        pair, query, obj = [], [], []
        for r, p in enumerate(rows):
            count = len(targets[p])
            c = np.tile(cost[r, :, :count], (1, copies[layer]))
            q, g = linear_sum_assignment(c)
            pair += [p] * len(q)
            query += q.tolist()
            obj += [targets[p][k % count] for k in g]
        results.append((torch.tensor(pair), torch.tensor(query), torch.tensor(obj)))
    return results


def score_loss(logits, pair, query, count, power=2.0):
    """BCE on query scores; the many empty queries count by their squared probability."""
    target = torch.zeros_like(logits)
    target[pair, query] = 1
    p = logits.detach().sigmoid()
    weight = torch.where(target > 0, torch.ones_like(p), p.pow(power))
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum() / count


def box_losses(boxes, gold, count):
    """L1 and generalised IoU of matched centre boxes."""
    _, giou = box_iou_terms(corners(boxes), corners(gold))
    return (boxes - gold).abs().sum() / count, (1 - giou).sum() / count


def mask_terms(logits, gold, far=0.05):
    """BCE (cells far from the object count `far`) and dice of each mask: logits and coverage [M, S, S]."""
    size = logits.shape[-1]
    near = F.max_pool1d(gold.amax(1)[:, None], 9, 1, 4)[:, 0], F.max_pool1d(gold.amax(2)[:, None], 9, 1, 4)[:, 0]
    weight = ((near[1] > 0)[:, :, None] & (near[0] > 0)[:, None, :]).float()
    area = weight.sum((1, 2))
    weight = weight + far
    bce = F.binary_cross_entropy_with_logits(logits, gold, reduction="none")
    bce = (bce * weight).sum((1, 2)) / area.clamp(min=size)
    p = logits.sigmoid()
    dice = 1 - (2 * (p * gold).sum((1, 2)) + 1) / (p.sum((1, 2)) + gold.sum((1, 2)) + 1)
    return bce, dice


def mask_losses(logits, gold):
    """Mean BCE and dice of mask logits [M, h, w] against coverage [M, 2h, 2w]."""
    bce, dice = mask_terms(F.interpolate(logits[None], scale_factor=2, mode="bilinear", align_corners=False)[0], gold)
    return bce.mean(), dice.mean()


def dense_targets(masks, objects, pictures, grid):
    """What each place of each picture shows: coverage by kind on the 1x grid, and ground truth for the 4x map.

    masks float [N, S, S] coverage, objects [N, 7] (picture, colour, shape, box). Returns kinds [B, g*g, 14],
    fine [B, 2, 4g, 4g] (any object, object edge), owner [B, g*g] (index of the object that covers the place most),
    its weight [B, g*g] (its coverage, 0 where small) and coverage per object [N, g*g].
    """
    size = masks.shape[-1]
    coarse = F.avg_pool2d(masks[:, None], size // grid)[:, 0].flatten(1)
    middle = F.avg_pool2d(masks[:, None], size // (4 * grid))[:, 0]
    row = objects[:, 0].long()
    kinds = torch.zeros(pictures, grid * grid, 14)
    for n in range(len(row)):
        kinds[row[n], :, int(objects[n, 1])] += coarse[n]
        kinds[row[n], :, 8 + int(objects[n, 2])] += coarse[n]
    any_object = torch.zeros(pictures, 4 * grid, 4 * grid).index_add_(0, row, middle).clamp(0, 1)
    edge_of = F.max_pool2d(middle[:, None], 3, 1, 1)[:, 0] - (-F.max_pool2d(-middle[:, None], 3, 1, 1))[:, 0]
    edge = torch.zeros(pictures, 4 * grid, 4 * grid).index_add_(0, row, edge_of).clamp(0, 1)
    best = torch.zeros(pictures, grid * grid)
    owner = torch.zeros(pictures, grid * grid, dtype=torch.long)
    for n in range(len(row)):
        better = coarse[n] > best[row[n]]
        owner[row[n], better] = n
        best[row[n], better] = coarse[n, better]
    # Also an object smaller than a place has places of its own: where it covers half as much as it ever does.
    most = coarse.max(1).values[owner] if len(row) else best
    return kinds.clamp(0, 1), torch.stack([any_object, edge], 1), owner, best * (best > 0.25).logical_or(best > 0.5 * most.clamp(min=0.04)), coarse


def cover_loss(logits, target):
    """BCE on coverage with the rare covered places weighted up."""
    weight = 1 + 4 * target
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).mean()


def name_loss(logits, objects, owner, weight):
    """Cross-entropy of colour (8) and shape (6) at the places objects cover; a small object counts nearly as much as a large one."""
    at = weight.flatten() > 0
    logits, weight, who = logits.flatten(0, 1)[at], weight.flatten()[at], owner.flatten()[at]
    share = torch.zeros(len(objects)).index_add_(0, who, weight)
    weight = weight / share[who].clamp(min=0.05).pow(0.8)
    colour = F.cross_entropy(logits[:, :8], objects[who, 1].long(), reduction="none")
    shape = F.cross_entropy(logits[:, 8:], objects[who, 2].long(), reduction="none")
    return ((0.5 * colour + shape) * weight).sum() / weight.sum().clamp(min=1)


def place_loss(seen, own, centres, owner, weight):
    """Every place must tell its object's centre, a place without an object its own (for less): codes of `place_code`.

    seen [B, L, 16], own [L, 16] the code of each place, centres [N, 16] of each object, owner and weight [B, L].
    """
    if len(centres) == 0:
        return seen.sum() * 0
    covered = weight > 0
    wanted = torch.where(covered[..., None], centres[owner], own)
    return ((seen - wanted).pow(2).mean(-1) * torch.where(covered, 1.0, 0.1)).sum() / covered.sum().clamp(min=20)


def local_masks(masks, objects, pictures, grid):
    """Coverage by any object on the 8 x 8 cells of every place: [B, g*g, 64]."""
    size = masks.shape[-1]
    whole = torch.zeros(pictures, size, size).index_add_(0, objects[:, 0].long(), masks).clamp(0, 1)
    n = size // grid
    return whole.view(pictures, grid, n, grid, n).transpose(2, 3).reshape(pictures, grid * grid, n * n)


def word_loss(places, text, ids, row, kinds, kind_of_token, scale, bias):
    """Each colour or shape word must meet, by plain dot product, the places that show it.

    places [B, L, C], text [P, T, C], ids [P, T], row [P] (the pair's picture), kinds [B, L, 14] coverage,
    kind_of_token [vocabulary] (0..13, or -1 for other tokens).
    """
    kind = kind_of_token[ids]
    pair, at = (kind >= 0).nonzero(as_tuple=True)
    if len(pair) == 0:
        return text.sum() * 0
    where = row[pair]
    logits = torch.bmm(places.index_select(0, where), text[pair, at][..., None]).squeeze(-1) * scale + bias
    target = kinds[where].gather(2, kind[pair, at][:, None, None].expand(-1, kinds.shape[1], 1)).squeeze(-1)
    return cover_loss(logits, target)


def box_owners(boxes, box_mask, row, objects):
    """Which object each exemplar box was drawn around: index tensors pair and place in it, rows of `objects`.

    boxes [P, N, 4], box_mask [P, N], row [P] (the pair's picture), objects [M, 7] (picture, colour, shape, box).
    """
    pair, at = box_mask.nonzero(as_tuple=True)
    if len(pair) == 0 or len(objects) == 0:
        return pair[:0], at[:0], objects[:0]
    far = torch.cdist(boxes[pair, at], objects[:, 3:7], p=1) + 100 * (objects[None, :, 0] != row[pair][:, None])
    return pair, at, objects[far.argmin(1)]


def exemplar_loss(places, tokens, where, own, objects, coarse_masks, scale, bias):
    """As word_loss, for boxes: each box's token must meet the places that show its own colour and shape.

    tokens [K, C], where [K] (the picture of each), own [K, 7] (the object of each), coarse_masks [M, L].
    """
    if len(tokens) == 0:
        return places.sum() * 0
    same = (objects[None, :, :3] == own[:, None, :3]).all(-1).float()
    logits = torch.bmm(places.index_select(0, where), tokens[..., None]).squeeze(-1) * scale + bias
    return cover_loss(logits, (same @ coarse_masks).clamp(0, 1))


def exemplar_name_loss(logits, own):
    """Each box's token must tell its object's colour (8) and shape (6)."""
    if len(logits) == 0:
        return logits.sum()
    return 0.5 * F.cross_entropy(logits[:, :8], own[:, 1].long()) + F.cross_entropy(logits[:, 8:], own[:, 2].long())


def exemplar_label_loss(logits, labels):
    """Each box's token must tell whether the box is positive (1) or negative (0)."""
    if len(logits) == 0:
        return logits.sum()
    return F.binary_cross_entropy_with_logits(logits, labels.float())
