"""Procedural scenes for mini: coloured shapes on all sorts of grounds, with exact masks. numpy and cv2 only.

`draw_scene(rng)` gives {"image": uint8 [H, W, 3] RGB, "objects": [{"shape", "colour", "mask", "box"}]};
masks are the visible part (coverage above one half), boxes x1 y1 x2 y2 in pixels of that part.
"""
import colorsys
import math

import cv2
import numpy as np

from vocabulary import COLOURS, SHAPES

# hue in degrees, saturation, value (HSV): what a person would call by the name
COLOUR_RANGES = {
    "red": ((-11, 11), (0.68, 1.0), (0.58, 1.0)),
    "orange": ((20, 40), (0.75, 1.0), (0.85, 1.0)),
    "yellow": ((47, 64), (0.58, 1.0), (0.82, 1.0)),
    "green": ((85, 158), (0.45, 1.0), (0.36, 1.0)),
    "cyan": ((172, 194), (0.45, 1.0), (0.70, 1.0)),
    "blue": ((204, 248), (0.55, 1.0), (0.48, 1.0)),
    "purple": ((263, 312), (0.38, 1.0), (0.42, 1.0)),
    "white": ((0, 360), (0.0, 0.06), (0.91, 1.0)),
}
# plain, well-known values of each name, used for part of the objects
COMMON_VALUES = {
    "red": ["ff0000", "e60000", "dc143c", "e53935", "cc0000", "d62728", "ff3030", "dc2626"],
    "orange": ["ffa500", "ff8c00", "ff7f00", "ff7f0e", "fb8c00", "f97316", "ff9020"],
    "yellow": ["ffff00", "ffd700", "fdd835", "ffeb3b", "facc15", "f5e50a", "f0e040"],
    "green": ["00ff00", "008000", "32cd32", "228b22", "2ca02c", "43a047", "16a34a", "00c800"],
    "cyan": ["00ffff", "00e5ff", "00bcd4", "06d6d6", "17becf", "22d3ee", "40e0d0", "00c8c8"],
    "blue": ["0000ff", "1e90ff", "4169e1", "1f77b4", "1e40ff", "2563eb", "0000cd", "3050f8"],
    "purple": ["800080", "9400d3", "a020f0", "8a2be2", "9467bd", "8e24aa", "9333ea", "c030e0"],
    "white": ["ffffff", "fafafa", "f5f5f5", "fffff8", "f0f0f0"],
}


def sample_colour(name, rng):
    """An RGB colour (float, 0..255) a person would call `name`."""
    if rng.random() < 0.3:
        value = COMMON_VALUES[name][rng.integers(len(COMMON_VALUES[name]))]
        return np.array([int(value[i : i + 2], 16) for i in (0, 2, 4)], np.float32)
    hue, saturation, value = COLOUR_RANGES[name]
    s = 1 - (1 - saturation[0]) * rng.random() ** 1.3 if name != "white" else rng.uniform(*saturation)
    v = 1 - (1 - value[0]) * rng.random() ** 1.2
    if s < 0.6 and v < 0.6 and name != "white":
        v = 0.75
    rgb = colorsys.hsv_to_rgb((rng.uniform(*hue) % 360) / 360, s, v)
    return np.array(rgb, np.float32) * 255


def to_lab(rgb):
    """RGB 0..255 to CIE Lab."""
    return cv2.cvtColor(np.asarray(rgb, np.float32).reshape(1, -1, 3) / 255, cv2.COLOR_RGB2LAB)[0]


# ---------------------------------------------------------------- shapes


def shape_contours(name, rng):
    """Closed contours (even-odd) of a shape with circumscribed radius about 1 around the origin."""
    angle = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.15:
        angle = 0.0

    def circle(radius):
        t = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        return np.stack([radius * np.cos(t), radius * np.sin(t)], 1)

    if name == "circle":
        contours = [circle(1.0)]
    elif name == "ring":
        contours = [circle(1.0), circle(rng.uniform(0.35, 0.75))]
    elif name == "square":
        contours = [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * math.sqrt(0.5)]
    elif name == "triangle":
        if rng.random() < 0.7:
            t = np.arange(3) * 2 * math.pi / 3 - math.pi / 2
            points = np.stack([np.cos(t), np.sin(t)], 1)
        else:
            half, height = rng.uniform(0.6, 1.05), rng.uniform(1.2, 1.9)
            points = np.array([[0, -height / 2], [half, height / 2], [-half, height / 2]])
            points = points / np.abs(np.linalg.norm(points, axis=1)).max()
        contours = [points]
    elif name == "star":
        n = int(rng.choice([5, 5, 5, 5, 5, 5, 5, 5, 4, 6]))
        inner = rng.uniform(0.34, 0.54) if n != 4 else rng.uniform(0.3, 0.45)
        if n == 5 and rng.random() < 0.4:
            inner = 0.382
        t = np.arange(2 * n) * math.pi / n - math.pi / 2
        r = np.where(np.arange(2 * n) % 2 == 0, 1.0, inner)
        contours = [np.stack([r * np.cos(t), r * np.sin(t)], 1)]
    elif name == "cross":
        a = rng.uniform(0.2, 0.42)
        points = [[-a, -1], [a, -1], [a, -a], [1, -a], [1, a], [a, a], [a, 1], [-a, 1], [-a, a], [-1, a], [-1, -a], [-a, -a]]
        contours = [np.array(points) / math.hypot(1, a)]
    else:
        raise ValueError(name)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return [c @ turn.T for c in contours]


def rasterise(contours, centre, radius, size, smooth):
    """Coverage (float32 0..1) of the contours on the crop of the canvas they touch, and the crop (x0, y0, x1, y1)."""
    width, height = size
    points = [c * radius + centre for c in contours]
    low = np.floor(np.min([p.min(0) for p in points], 0)).astype(int) - 1
    high = np.ceil(np.max([p.max(0) for p in points], 0)).astype(int) + 2
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, [width, height])
    if x1 <= x0 or y1 <= y0:
        return None, None
    scale = 4 if smooth else 1
    crop = np.zeros(((y1 - y0) * scale, (x1 - x0) * scale), np.uint8)
    shift = 4
    fixed = [np.round(((p - [x0, y0]) * scale - 0.5) * (1 << shift)).astype(np.int32) for p in points]
    cv2.fillPoly(crop, fixed, 255, cv2.LINE_8, shift)
    if scale > 1:
        crop = cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    return crop.astype(np.float32) / 255, (x0, y0, x1, y1)


# ---------------------------------------------------------------- grounds


def random_colour(rng):
    """Any colour at all, greys and pale or dark tones often."""
    kind = rng.random()
    if kind < 0.3:
        grey = rng.uniform(0, 255)
        return np.clip(np.full(3, grey) + rng.uniform(-8, 8, 3), 0, 255).astype(np.float32)
    if kind < 0.65:
        h, s, v = rng.random(), rng.uniform(0.05, 0.5), rng.choice([rng.uniform(0.05, 0.45), rng.uniform(0.6, 1.0)])
        return np.array(colorsys.hsv_to_rgb(h, s, v), np.float32) * 255
    return rng.uniform(0, 255, 3).astype(np.float32)


def smooth_noise(shape, cells, rng):
    """Noise in -1..1 of the given size that varies over about 1/cells of it."""
    small = rng.uniform(-1, 1, (max(2, cells), max(2, cells))).astype(np.float32)
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def draw_ground(width, height, rng):
    """A float32 RGB ground: plain, gradient, textured, patterned or noisy."""
    base = random_colour(rng)
    ground = np.empty((height, width, 3), np.float32)
    ground[:] = base
    kind = rng.choice(["plain", "gradient", "radial", "texture", "pattern", "blobs"], p=[0.3, 0.22, 0.06, 0.2, 0.14, 0.08])
    other = random_colour(rng)
    near = np.clip(base + rng.normal(0, 30, 3), 0, 255).astype(np.float32)
    if kind in ("gradient", "radial"):
        end = other if rng.random() < 0.5 else np.clip(base + rng.normal(0, 60, 3), 0, 255)
        ys = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        xs = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        if kind == "gradient":
            a = rng.uniform(0, 2 * math.pi)
            t = (xs * math.cos(a) + ys * math.sin(a)) / (abs(math.cos(a)) + abs(math.sin(a))) * 0.5 + 0.5
        else:
            t = np.clip(np.sqrt((xs - rng.uniform(-0.6, 0.6)) ** 2 + (ys - rng.uniform(-0.6, 0.6)) ** 2) / 1.5, 0, 1)
        t = np.broadcast_to(t, (height, width))[..., None]
        ground = ground * (1 - t) + end.astype(np.float32) * t
    elif kind == "texture":
        strength = rng.uniform(8, 40)
        for cells in rng.choice([3, 6, 12, 24, 48, 80], rng.integers(1, 4), replace=False):
            if rng.random() < 0.6:
                ground += smooth_noise((height, width), int(cells), rng)[..., None] * strength * rng.uniform(0.4, 1, 3)
            else:
                ground += np.stack([smooth_noise((height, width), int(cells), rng) for _ in range(3)], -1) * strength * 0.7
    elif kind == "pattern":
        second = near if rng.random() < 0.75 else np.clip(base + (other - base) * 0.4, 0, 255)
        period = rng.uniform(0.03, 0.2) * min(width, height)
        a = rng.uniform(0, math.pi)
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
        u = (xs * math.cos(a) + ys * math.sin(a)) / period
        v = (-xs * math.sin(a) + ys * math.cos(a)) / period
        style = rng.integers(4)
        if style == 0:
            t = (np.floor(u) % 2).astype(np.float32)
        elif style == 1:
            t = ((np.floor(u) + np.floor(v)) % 2).astype(np.float32)
        elif style == 2:
            t = (((u % 1) < 0.12) | ((v % 1) < 0.12)).astype(np.float32)
        else:
            t = (((u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2) < rng.uniform(0.02, 0.12)).astype(np.float32)
        ground = ground * (1 - t[..., None]) + second.astype(np.float32) * t[..., None]
    elif kind == "blobs":
        for _ in range(rng.integers(3, 12)):
            tone = np.clip(base + rng.normal(0, 22, 3), 0, 255).tolist()
            at = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            axes = (int(rng.uniform(0.05, 0.5) * width) + 1, int(rng.uniform(0.05, 0.5) * height) + 1)
            cv2.ellipse(ground, at, axes, rng.uniform(0, 180), 0, 360, tone, -1, cv2.LINE_AA)
        if rng.random() < 0.7:
            ground = cv2.GaussianBlur(ground, (0, 0), rng.uniform(0.5, 0.06 * min(width, height) + 1))
    if rng.random() < 0.35:
        ground += pixel_noise((height, width), rng, rng.uniform(3, 28))
    return np.clip(ground, 0, 255)


def pixel_noise(shape, rng, strength):
    """Gaussian noise per pixel, grey or coloured."""
    seed = int(rng.integers(1 << 31))
    cv2.setRNGSeed(seed)
    noise = np.empty((*shape, 3), np.float32)
    cv2.randn(noise, 0, strength)
    if rng.random() < 0.4:
        noise[:] = noise[..., :1]
    return noise


# ---------------------------------------------------------------- scenes


def canvas_size(rng, longest, spread=0.42):
    """Width and height: any aspect from 1:2.5 to 2.5:1, square-ish ones more often."""
    aspect = math.exp(np.clip(rng.normal(0, spread), -0.92, 0.92))
    side = math.exp(rng.uniform(math.log(140), math.log(longest)))
    width, height = side * math.sqrt(aspect), side / math.sqrt(aspect)
    return int(np.clip(width, 110, 900)), int(np.clip(height, 110, 900))


def pick_kinds(count, rng):
    """Shape and colour of each object: repeats and near-misses (same shape or same colour) on purpose."""
    kinds = []
    few_shapes = rng.permutation(SHAPES)[: rng.integers(2, 5)]
    few_colours = rng.permutation(COLOURS)[: rng.integers(2, 5)]
    if rng.random() < 0.3:
        few_shapes, few_colours = SHAPES, COLOURS
    for _ in range(count):
        if kinds and rng.random() < 0.28:
            kinds.append(kinds[rng.integers(len(kinds))])
        else:
            kinds.append((str(rng.choice(few_shapes)), str(rng.choice(few_colours))))
    return kinds


def draw_scene(rng, longest=560, small=False, easy=False, packed=False, crowded=False, empty=0.015):
    """One scene; `longest` bounds the geometric mean of the sides, `small` favours small objects.

    For training the picture side: `easy` (at the beginning) has large objects, hardly stretched, on quiet grounds,
    `packed` several times as many objects, apart from each other; `small` and `packed` together up to 40 of them. For
    training object prompts: `crowded` has objects that hide parts of each other.
    """
    width, height = canvas_size(rng, 400 if packed else longest, 0.12 if easy else 0.42)
    side = min(width, height)
    ground = draw_ground(width, height, rng)
    if easy:
        ground = cv2.GaussianBlur(ground, (0, 0), side / 25)
    image = ground.copy()
    count = 0 if rng.random() < empty else int(rng.integers(1, 9))
    if packed:
        count = int(rng.integers(20, 41) if small else rng.integers(12, 25))
    elif crowded:
        count = int(rng.integers(6, 16))
    smooth = rng.random() < 0.7
    full_area, visible, kinds, tones = [], [], [], []
    occupied = np.zeros((height, width), bool)
    crowd = 0.0 if packed else 1.0 if crowded else rng.random()
    for shape, colour in pick_kinds(count, rng):
        for _ in range(12):
            size = rng.uniform(0.055, 0.33) if not small else rng.uniform(0.055, 0.18)
            if easy:
                size = rng.uniform(0.18, 0.40)
            if packed:
                size = min(size, rng.uniform(0.08, 0.30)) if not small else 0.055 * 3 ** rng.random()
            if crowd > 0.7 and not small:
                size = max(size, rng.uniform(0.055, 0.33))
            radius = max(size * side / 2, 5.0)
            margin = radius * (0.98 if rng.random() < 0.93 else 0.6)
            centre = np.array([rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)])
            cover, crop = rasterise(shape_contours(shape, rng), centre, radius, (width, height), smooth)
            if cover is None:
                continue
            x0, y0, x1, y1 = crop
            solid = cover > 0.5
            if crowd < 0.3 and (occupied[y0:y1, x0:x1] & solid).any():
                continue
            tone = sample_colour(colour, rng)
            area = int(solid.sum())
            if area < 12:
                continue
            under = ground[y0:y1, x0:x1]
            lab = to_lab(tone)[0]
            around = to_lab(under.reshape(-1, 3)[:: max(1, under.shape[0] * under.shape[1] // 64)])
            distance = np.linalg.norm(around - lab, axis=1)
            if distance.mean() < 26 or np.quantile(distance, 0.1) < 14:
                continue
            hidden, fine = [], True
            for i, mask in enumerate(visible):
                part = mask[y0:y1, x0:x1]
                lost = int((part & solid).sum())
                if lost:
                    close = np.linalg.norm(to_lab(tones[i])[0] - lab) < 22
                    rest = int(mask.sum()) - lost
                    if rest < full_area[i] * 0.52 or rest < 12 or crowd < 0.3 or (close and rng.random() < 0.8):
                        fine = False
                        break
                    if lost > 0.3 * full_area[i] and rng.random() < 0.6:
                        fine = False
                        break
                    hidden.append(i)
            if not fine:
                continue
            occupied[y0:y1, x0:x1] |= solid
            for i in hidden:
                visible[i][y0:y1, x0:x1] &= ~solid
            full = np.zeros((height, width), bool)
            full[y0:y1, x0:x1] = solid
            visible.append(full)
            full_area.append(area)
            kinds.append((shape, colour))
            tones.append(tone)
            paint(image, cover, crop, tone, radius, rng)
            break
    image = finish(image, rng) if not easy else np.clip(np.rint(image), 0, 255).astype(np.uint8)
    objects = []
    for (shape, colour), mask in zip(kinds, visible):
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]
        objects.append({"shape": shape, "colour": colour, "mask": mask, "box": box})
    return {"image": image, "objects": objects}


def paint(image, cover, crop, tone, radius, rng):
    """Put one object on the image: flat, or shaded, outlined, speckled, a little see-through."""
    x0, y0, x1, y1 = crop
    fill = np.empty((y1 - y0, x1 - x0, 3), np.float32)
    fill[:] = tone
    if rng.random() < 0.15:
        a, k = rng.uniform(0, 2 * math.pi), rng.uniform(0.04, 0.16)
        ys = np.linspace(-1, 1, y1 - y0, dtype=np.float32)[:, None]
        xs = np.linspace(-1, 1, x1 - x0, dtype=np.float32)[None, :]
        fill *= (1 + k * (xs * math.cos(a) + ys * math.sin(a)))[..., None]
    if rng.random() < 0.06:
        fill += pixel_noise(fill.shape[:2], rng, rng.uniform(3, 14))
    opacity = 1.0 if rng.random() < 0.9 else rng.uniform(0.85, 1.0)
    if rng.random() < 0.1 and radius > 8:
        thick = max(1, int(round(radius * rng.uniform(0.04, 0.12))))
        solid = (cover > 0.5).astype(np.uint8)
        inner = cv2.erode(np.pad(solid, 1), np.ones((3, 3), np.uint8), iterations=thick)[1:-1, 1:-1]
        if inner.sum() > 0.45 * solid.sum():
            line = tone * rng.uniform(0.4, 0.75) if rng.random() < 0.6 else np.full(3, rng.choice([0, 20, 255]))
            fill[inner == 0] = line
    alpha = (cover * opacity)[..., None]
    image[y0:y1, x0:x1] = image[y0:y1, x0:x1] * (1 - alpha) + np.clip(fill, 0, 255) * alpha


def finish(image, rng):
    """What happens to a picture on its way: blur, noise, exposure, JPEG."""
    side = min(image.shape[:2])
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0 + side / 500))
    if rng.random() < 0.2:
        image = image + pixel_noise(image.shape[:2], rng, rng.uniform(2, 13))
    if rng.random() < 0.12:
        image = image * rng.uniform(0.88, 1.06)
    image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if rng.random() < 0.22:
        ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 96))])
        image = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    return image


def contact_sheet(scenes, columns=8, tile=160):
    """Scenes side by side (RGB), each fitted into a tile, for looking at them."""
    rows = -(-len(scenes) // columns)
    sheet = np.full((rows * tile, columns * tile, 3), 30, np.uint8)
    for i, scene in enumerate(scenes):
        image = scene["image"]
        scale = (tile - 4) / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        y, x = i // columns * tile, i % columns * tile
        sheet[y : y + small.shape[0], x : x + small.shape[1]] = small
    return sheet


if __name__ == "__main__":
    import sys

    generator = np.random.default_rng(7)
    drawn = [draw_scene(generator) for _ in range(64)]
    cv2.imwrite(sys.argv[1], contact_sheet(drawn)[..., ::-1])
