"""A second, separately written renderer (PIL), used for evaluation only: does mini know shapes or just scenes.py?

Same result as scenes.draw_scene.
"""
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vocabulary import COLOURS, SHAPES

PAINTS = {
    "red": [(255, 0, 0), (220, 20, 60), (200, 30, 30), (230, 50, 40)],
    "green": [(0, 128, 0), (0, 200, 0), (40, 170, 60), (50, 205, 50)],
    "blue": [(0, 0, 255), (30, 80, 220), (40, 60, 200), (65, 105, 225)],
    "yellow": [(255, 255, 0), (250, 220, 20), (240, 230, 40), (255, 215, 0)],
    "purple": [(128, 0, 128), (140, 40, 200), (160, 32, 240), (150, 60, 180)],
    "orange": [(255, 165, 0), (255, 140, 0), (250, 130, 20), (255, 127, 14)],
    "white": [(255, 255, 255), (245, 245, 245), (250, 250, 240)],
    "cyan": [(0, 255, 255), (0, 220, 230), (30, 210, 220), (0, 200, 200)],
}


def outline_of(shape, rng):
    """Outer points of a shape in a unit circle, and a hole's radius."""
    def polygon(n, start=-math.pi / 2):
        return [(math.cos(start + 2 * math.pi * k / n), math.sin(start + 2 * math.pi * k / n)) for k in range(n)]

    if shape == "circle":
        return polygon(90), 0
    if shape == "ring":
        return polygon(90), rng.choice([0.45, 0.55, 0.6, 0.7])
    if shape == "square":
        return polygon(4, math.pi / 4), 0
    if shape == "triangle":
        return polygon(3), 0
    if shape == "star":
        outer, inner = polygon(5), polygon(5, -math.pi / 2 + math.pi / 5)
        k = rng.choice([0.38, 0.45, 0.5])
        return [p for a, b in zip(outer, inner) for p in (a, (b[0] * k, b[1] * k))], 0
    a = float(rng.choice([0.25, 0.33, 0.4]))
    corner = [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]
    return [(x / 1.05, y / 1.05) for x, y in corner], 0


def ground_of(width, height, rng):
    """Plain, gradient, stripes or noise."""
    kind = rng.integers(4)
    tone = rng.choice([rng.uniform(15, 70), rng.uniform(170, 240), rng.uniform(80, 160)])
    base = np.clip(tone + rng.normal(0, 18, 3), 0, 255)
    ground = np.tile(base, (height, width, 1))
    if kind == 1:
        end = np.clip(base + rng.normal(0, 45, 3), 0, 255)
        t = np.linspace(0, 1, width)[None, :, None] if rng.random() < 0.5 else np.linspace(0, 1, height)[:, None, None]
        ground = ground * (1 - t) + end * t
    elif kind == 2:
        step = int(rng.integers(8, 40))
        ground[(np.arange(height) // step) % 2 == 1] += rng.normal(0, 14)
    elif kind == 3:
        ground = ground + rng.normal(0, rng.uniform(5, 22), (height, width, 3))
    return np.clip(ground, 0, 255).astype(np.uint8)


def draw_scene(rng, longest=700):
    """One scene."""
    width, height = [(640, 480), (480, 640), (512, 512), (800, 400), (320, 240), (400, 300), (300, 700)][rng.integers(7)]
    ground = ground_of(width, height, rng)
    image = Image.fromarray(ground)
    objects = []
    smooth = 3 if rng.random() < 0.6 else 1
    for _ in range(int(rng.integers(1, 9))):
        for _ in range(20):
            shape, colour = str(rng.choice(SHAPES)), str(rng.choice(COLOURS))
            if objects and rng.random() < 0.35:
                shape = objects[rng.integers(len(objects))]["shape"]
            if objects and rng.random() < 0.35:
                colour = objects[rng.integers(len(objects))]["colour"]
            paint = PAINTS[colour][rng.integers(len(PAINTS[colour]))]
            if np.abs(ground.reshape(-1, 3).mean(0) - paint).sum() < 110:
                continue
            radius = rng.uniform(0.06, 0.30) * min(width, height) / 2
            if radius < 6:
                continue
            x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
            turn = rng.uniform(0, 2 * math.pi)
            points, hole = outline_of(shape, rng)
            layer = Image.new("L", (width * smooth, height * smooth), 0)
            pen = ImageDraw.Draw(layer)
            c, s = math.cos(turn), math.sin(turn)
            pen.polygon([((x + radius * (px * c - py * s)) * smooth, (y + radius * (px * s + py * c)) * smooth) for px, py in points], fill=255)
            if hole:
                r = radius * hole
                pen.ellipse([(x - r) * smooth, (y - r) * smooth, (x + r) * smooth, (y + r) * smooth], fill=0)
            layer = layer.resize((width, height), Image.Resampling.BOX) if smooth > 1 else layer
            mask = np.asarray(layer) > 127
            if any(o["mask"].sum() - (o["mask"] & mask).sum() < 0.6 * o["full"] for o in objects):
                continue
            if any((o["mask"] & mask).any() and o["colour"] == colour for o in objects):
                continue
            for o in objects:
                o["mask"] = o["mask"] & ~mask
            objects.append({"shape": shape, "colour": colour, "mask": mask, "full": int(mask.sum())})
            image.paste(paint, mask=layer)
            break
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    for o in objects:
        del o["full"]
        ys, xs = np.flatnonzero(o["mask"].any(1)), np.flatnonzero(o["mask"].any(0))
        o["box"] = [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]
    return {"image": np.asarray(image), "objects": objects}
