"""Procedural clips for mini's video parts: the shapes of `scenes.py` in motion, with exact masks. numpy and cv2 only.

    python clips.py SHEET.png        # a look at some

`draw_clip(rng, times)` gives {"frames": [uint8 [H, W, 3] RGB], "objects": [{"shape", "colour", "masks": bool [T, H, W]}]};
an object's place in the list is its id, masks are the visible parts (all false while it is hidden or out of the picture).
Everything about an object but its pose is the same on every frame, and so is the ground, which the camera moves over.
"""
import math

import cv2
import numpy as np

from scenes import canvas_size, draw_ground, paint, pick_kinds, pixel_noise, rasterise, sample_colour, shape_contours, to_lab

WAYS = {"wander": 0.4, "pass": 0.3, "visit": 0.15, "stay": 0.15}
RESTLESS = {"wander": 0.25, "pass": 0.35, "visit": 0.3, "stay": 0.1}  # for training: more leave, and come back
ALIKE_IN = {"both": 0.3, "colour": 0.45, "shape": 0.15, "neither": 0.1}  # of look-alikes: what they share with the first
LEAST_VISIBLE = 8  # pixels: less than that is not there
MARGIN = 0.12  # of the side: how far the camera may move over the ground


class Body:
    """One shape on its way through a clip: `pose(t)` says where it is at frame t."""

    def __init__(self, shape, colour, tone, length, size, speed, rng, ways):
        self.shape, self.colour, self.tone = shape, colour, tone
        self.contours = shape_contours(shape, rng)
        self.size, self.length = np.array(size, float), length
        side = self.size.min()
        self.way = str(rng.choice(list(ways), p=list(ways.values())))
        self.radius = max(side * rng.uniform(0.04, 0.15), 6.0)
        self.inner = rng.uniform(self.radius, np.maximum(self.size - self.radius, self.radius + 1))
        heading = rng.uniform(0, 2 * math.pi)
        self.heading = np.array([math.cos(heading), math.sin(heading)])
        self.speed = side * speed * rng.uniform(0.1, 1.0)
        self.when = rng.uniform(0, length)  # frame at which one that passes or visits is at its inner place
        self.bend = side * rng.uniform(0, 0.1) * (rng.random() < 0.5), rng.uniform(0, 2 * math.pi), rng.uniform(15, 60)
        self.spin = math.radians(rng.uniform(-6, 6)) * (rng.random() < 0.6)
        self.swell = rng.uniform(0, 0.4) * (rng.random() < 0.5), rng.uniform(0, 2 * math.pi), rng.uniform(20, 80)
        self.period = rng.uniform(20, 60)
        self.seed = int(rng.integers(1 << 31))

    def centre(self, t):
        """Without the bend."""
        if self.way == "wander":  # from wall to wall
            low, high = np.full(2, self.radius), np.maximum(self.size - self.radius, self.radius + 1)
            along = (self.inner + self.heading * self.speed * t - low) / (high - low) % 2
            return low + (high - low) * (1 - np.abs(1 - along))
        if self.way == "pass":  # in at one side, out at another
            return self.inner + self.heading * self.speed * (t - self.when)
        if self.way == "visit":  # out of the picture and back
            reach = self.size.max() * 0.75
            return self.inner + self.heading * reach * math.sin(math.pi * (t - self.when) / self.period) ** 2
        return self.inner

    def pose(self, t):
        """Centre, radius and angle at frame t."""
        amplitude, phase, period = self.bend
        across = np.array([-self.heading[1], self.heading[0]])
        bend = amplitude * (math.sin(2 * math.pi * t / period + phase) - math.sin(phase))
        strength, phase, period = self.swell
        return self.centre(t) + across * bend, self.radius * math.exp(strength * math.sin(2 * math.pi * t / period + phase)), self.spin * t


class Camera:
    """How far the picture has moved over the ground: a slow drift and a shake."""

    def __init__(self, side, rng):
        reach = MARGIN * side * 0.6
        self.drift = rng.uniform(-reach, reach, 2) * (rng.random() < 0.5), rng.uniform(30, 120)
        self.shake = side * rng.uniform(0, 0.012) * (rng.random() < 0.5)
        self.phases = rng.uniform(0, 2 * math.pi, (2, 3))

    def offset(self, t):
        """In pixels, x and y."""
        reach, period = self.drift
        jitter = np.sin(np.array([1.3, 2.1, 0.37]) * t + self.phases).sum(1) / 2 * self.shake
        return reach * math.sin(2 * math.pi * t / period) + jitter


def far_enough(tone, ground, bodies, rng):
    """Whether a tone stands out from the ground wherever it goes, and mostly from the other objects."""
    lab = to_lab(tone)[0]
    around = to_lab(ground.reshape(-1, 3)[:: max(1, ground.shape[0] * ground.shape[1] // 256)])
    distance = np.linalg.norm(around - lab, axis=1)
    if distance.mean() < 26 or np.quantile(distance, 0.05) < 14:
        return False
    near = any(np.linalg.norm(to_lab(body.tone)[0] - lab) < 22 for body in bodies)
    return not near or rng.random() < 0.1


def like_the_first(kinds, rng):
    """Most of the others become what the first is, or nearly so: colours are what most mistakes were measured to keep."""
    shape, colour = kinds[0]
    same = [str(rng.choice(list(ALIKE_IN), p=list(ALIKE_IN.values()))) for _ in kinds[1:]]
    others = [(shape if n in ("both", "shape") else s, colour if n in ("both", "colour") else c) for n, (s, c) in zip(same, kinds[1:])]
    return kinds[:1] + others


def make_bodies(count, ground, length, size, speed, rng, alike, ways):
    """Objects whose colours can be told from the ground and from each other."""
    bodies = []
    kinds = pick_kinds(count, rng)
    for shape, colour in like_the_first(kinds, rng) if alike else kinds:
        for _ in range(8):
            tone = sample_colour(colour, rng)
            if far_enough(tone, ground, bodies, rng):
                bodies.append(Body(shape, colour, tone, length, size, speed, rng, ways))
                if alike and len(bodies) > 1:  # on its way it meets the first, or comes to where that one was
                    if rng.random() < 0.5:
                        bodies[-1].when = bodies[0].when
                    apart = min(size) * rng.uniform(-0.25, 0.25, 2)
                    bodies[-1].inner = np.clip(bodies[0].inner + apart, 0.05 * min(size), np.array(size) - 0.05 * min(size))
                break
    return bodies


def turned(contours, angle):
    """Contours turned about the origin."""
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return [c @ matrix for c in contours]


def draw_clip(rng, times, longest=320, most=6, alike=0.0, ways=WAYS):
    """One clip with a frame at each of `times` (from 0 on, in frames); `longest` bounds the sides' mean.

    A share `alike` of clips, drawn for training, has objects that are easily taken for each other close together. `ways`
    are the shares of the ways in which objects move.
    """
    width, height = canvas_size(rng, longest, 0.3)
    side = min(width, height)
    margin = int(math.ceil(MARGIN * side))
    ground = draw_ground(width + 2 * margin, height + 2 * margin, rng)
    speed = rng.choice([0.006, 0.015, 0.025])
    alike = alike > 0 and rng.random() < alike
    bodies = make_bodies(int(rng.integers(2 if alike else 1, most + 1)), ground, times[-1] + 1, (width, height), speed, rng, alike, ways)
    camera = Camera(side, rng)
    smooth = rng.random() < 0.8
    blur = rng.uniform(0.4, 1.0) * (rng.random() < 0.2)
    noise = rng.uniform(2, 9) * (rng.random() < 0.3)
    pictures, masks = [], np.zeros((len(bodies), len(times), height, width), bool)
    for index, t in enumerate(times):
        offset = camera.offset(t)
        x, y = np.rint(margin + offset).astype(int)
        picture = ground[y : y + height, x : x + width].copy()
        for own, body in zip(masks[:, index], bodies):
            centre, radius, angle = body.pose(t)
            cover, crop = rasterise(turned(body.contours, angle), centre - offset, radius, (width, height), smooth)
            if cover is None:
                continue
            x0, y0, x1, y1 = crop
            solid = cover > 0.5
            masks[:, index, y0:y1, x0:x1] &= ~solid
            own[y0:y1, x0:x1] = solid
            paint(picture, cover, crop, body.tone, radius, np.random.default_rng(body.seed))
        if blur:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        if noise:
            picture = picture + pixel_noise((height, width), rng, noise)
        pictures.append(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    masks[masks.sum((2, 3)) < LEAST_VISIBLE] = False
    objects = [{"shape": b.shape, "colour": b.colour, "masks": m} for b, m in zip(bodies, masks)]
    return {"frames": pictures, "objects": objects}


def clickable(clip):
    """The objects that can be prompted on the first frame."""
    height, width = clip["frames"][0].shape[:2]
    return [i for i, o in enumerate(clip["objects"]) if o["masks"][0].sum() > 0.0015 * height * width]


def box_of(mask):
    """Centre x and y, width and height, as shares of the sides, of what a mask bool [H, W] covers."""
    height, width = mask.shape
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x1, x2, y1, y2 = xs[0] / width, (xs[-1] + 1) / width, ys[0] / height, (ys[-1] + 1) / height
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def clip_sheet(clips, columns=10, tile=128):
    """Some frames of each clip in a row (RGB), the masks outlined."""
    sheet = np.full((len(clips) * tile, columns * tile, 3), 30, np.uint8)
    for row, clip in enumerate(clips):
        for column in range(columns):
            index = column * (len(clip["frames"]) - 1) // (columns - 1)
            picture = clip["frames"][index].copy()
            for number, thing in enumerate(clip["objects"]):
                edges, _ = cv2.findContours(thing["masks"][index].astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
                cv2.drawContours(picture, edges, -1, [(255, 0, 255), (0, 0, 0), (255, 255, 255)][number % 3], 1)
            scale = (tile - 2) / max(picture.shape[:2])
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            sheet[row * tile : row * tile + small.shape[0], column * tile : column * tile + small.shape[1]] = small
    return sheet


if __name__ == "__main__":
    import sys

    drawn = [draw_clip(np.random.default_rng([7, i]), range(60), alike=i % 2) for i in range(8)]
    cv2.imwrite(sys.argv[1], clip_sheet(drawn)[..., ::-1])
