"""Measure object prompts: one click, a box, and what every corrective click adds, over all objects of fresh scenes."""
import numpy as np
import torch
import torch.nn.functional as F

from batches import squash
from network import pixel_tensor
from object_losses import LOGIT_BOUND, deepest, largest_part

STABILITY_DELTA, STABILITY_THRESHOLD = 0.05, 0.98  # the tracker's own: below, the best of the three stands in
CORRECTIONS = 3


class Asked:
    """One object being asked for: its points so far and the last answer."""

    def __init__(self, net, features, size):
        self.net, self.features, self.size = net, features, size
        self.points, self.labels, self.logits = [], [], None

    @torch.no_grad()
    def answer(self, points, labels):
        """Add points (x, y in the picture's pixels) with labels; the mask bool [H, W] for all of them."""
        height, width = self.size
        scale = self.net.resolution / np.array([width, height])
        self.points += [(np.array(p) * scale).tolist() for p in points]  # as the package does: the square's pixels
        self.labels += labels
        earlier = None if self.logits is None else torch.ones(1, dtype=torch.bool)
        masks, quality, _, _ = self.net(
            self.features, torch.tensor([self.points], dtype=torch.float32), torch.tensor([self.labels]), self.logits, earlier,
        )
        token = 1 + int(quality[0, 1:].argmax())
        if len(self.points) > 1:
            single = masks[0, 0]
            inner, outer = (single > STABILITY_DELTA).sum().item(), (single > -STABILITY_DELTA).sum().item()
            if outer == 0 or inner >= STABILITY_THRESHOLD * outer:
                token = 0
        self.logits = masks[:, token : token + 1].clamp(-LOGIT_BOUND, LOGIT_BOUND)
        return (F.interpolate(self.logits, self.size, mode="bilinear", align_corners=False)[0, 0] > 0).numpy()


def correction(found, gold):
    """Where and how a person would correct: the middle of the largest wrong part, as (x, y) and its label."""
    parts = [largest_part(region) if region.any() else region for region in (found & ~gold, gold & ~found)]
    label = int(parts[1].sum() >= parts[0].sum())
    return (deepest(parts[label]), label) if parts[label].any() else (deepest(largest_part(gold)), 1)


def iou(a, b):
    """Of two masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def measure_objects(net, objects, dataset):
    """Mean IoU after one click and after a box, and after each corrective click that follows."""
    sums = {}
    resolution = net.grid * net.patch
    for scene, _ in dataset:
        size = scene["image"].shape[:2]
        pixels = pixel_tensor(squash(scene["image"], resolution))[None]
        with torch.no_grad():
            features = objects.features(net.backbone(pixels))
        for thing in scene["objects"]:
            gold, box = thing["mask"], np.array(thing["box"], float)
            for kind, points, labels in (
                ("click", [deepest(largest_part(gold))], [1]), ("box", [box[:2], box[2:]], [2, 3]),
            ):
                asked = Asked(objects, features, size)
                found = asked.answer(points, labels)
                sums.setdefault(kind, []).append([iou(found, gold)])
                for _ in range(CORRECTIONS):
                    at, label = correction(found, gold)
                    found = asked.answer([at], [label])
                    sums[kind][-1].append(iou(found, gold))
    return {kind: [round(float(v), 4) for v in np.mean(rows, 0)] for kind, rows in sums.items()}
