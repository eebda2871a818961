"""Training clips drawn in worker processes: a short window of a clip as numpy arrays, a function of (seed, index)."""
import multiprocessing
from typing import NamedTuple

import cv2
import numpy as np

from batches import MASK_CELLS, hand_over, squash, squash_mask, start_drawing
from clips import RESTLESS, box_of, clickable, draw_clip

OBJECTS = 4  # followed per window at most
ALIKE = 0.7  # of windows: with objects that are easily taken for each other
SHORT = 16  # frames that a window has at most to jump
AGAIN = 2  # length of windows that ask what was prompted again after a long time, known from nothing but that prompt:
LATER = 5, 90  # frames later. Where it is says nothing then, so it is what it looks like that must be known
BRIEF = 0  # length of windows that always jump, and have only FOUND frames to be found
DRAWN = 4  # clips of which the window with the most events is taken,
AS_IT_COMES = 0.3  # but for this share of windows
AWAY = 1.5  # events that an object is worth which is away while it is looked for
NEAR = 0.02  # of the sides' mean: objects closer than that meet
GIVEN = 6  # frames after a gap at most whose memories are given, not found: as many as are attended to
FOUND = 3, 4
LONGEST = 220, 300, 400  # bounds of the sides' mean
EVENT = 0.6  # of BRIEF windows are about one object that leaves or returns: what holds one takes it over while it leaves
TRIES = 40  # clips at most, until something leaves or returns


def window(rng, frames):
    """Times of a window's frames, and how many frames after the first are given.

    Half of the short windows, and all BRIEF ones, jump after the first frame: the prompted frame of a long clip is far away,
    and what happened since is known of the last frames only. Long windows show every frame or every second one.
    """
    if frames == AGAIN:
        return np.array([0, rng.integers(*LATER)]), 0
    step = int(rng.choice([1, 1, 2] if frames > SHORT else [1, 1, 2, 3]))
    if frames > SHORT or (frames != BRIEF and rng.random() < 0.5):
        return np.arange(frames) * step, 0
    given, gap = int(rng.integers(1, GIVEN + 1)), int(rng.integers(1, 90))
    if frames == BRIEF:
        frames = 1 + given + int(rng.choice(FOUND))
    given = min(given, frames - 3)
    return np.concatenate([[0], gap + np.arange(frames - 1) * step]), given


def chosen_objects(clip, rng):
    """Those to follow, of the ones that can be prompted on the first frame."""
    seen = clickable(clip)
    # Those that come and go are fewer, and harder: they come first.
    changes = [float(not clip["objects"][i]["masks"].any((1, 2)).all()) + rng.random() for i in seen]
    return [seen[i] for i in np.argsort(changes)[::-1][:OBJECTS]]


def kind_of(thing):
    """Colour and shape of an object of a clip."""
    return thing["colour"], thing["shape"]


def events(clip, chosen, given):
    """How much happens to the chosen objects: how often they leave or return, on what share of frames they meet others, and
    on what share of those frames on which they are looked for they are not there, all the more with others of their colour."""
    height, width = clip["frames"][0].shape[:2]
    around = np.ones((2 * max(1, round(NEAR * (height + width) / 2)) + 1,) * 2, np.uint8)
    everything, total = np.any([o["masks"] for o in clip["objects"]], axis=0), 0.0
    seen = [o["masks"].any((1, 2)) for o in clip["objects"]]
    kinds = [kind_of(o) for o in clip["objects"]]
    for i in chosen:
        own, there, (colour, shape) = clip["objects"][i]["masks"], seen[i], kinds[i]
        total += min(2, int((there[1:] != there[:-1]).sum()))
        alike = np.any([s & (c == colour and other != shape) for s, (c, other) in zip(seen, kinds)], axis=0)
        total += AWAY * np.mean((~there * (1 + alike))[1 + given :])
        others = everything & ~own  # visible parts do not overlap
        total += np.mean([(cv2.dilate(m.astype(np.uint8), around).astype(bool) & o).any() for m, o in zip(own, others)])
    return total


def eventful_clip(rng, times, given):
    """A clip, and the objects of it to follow."""
    best, most = None, -1.0
    for _ in range(1 if rng.random() < AS_IT_COMES else DRAWN):
        clip = draw_clip(rng, times.tolist(), longest=int(rng.choice(LONGEST)), alike=ALIKE, ways=RESTLESS)
        chosen = chosen_objects(clip, rng)
        if chosen and (happens := events(clip, chosen, given)) > most:
            best, most = (clip, chosen), happens
    return best


def departures(there):
    """Frames of a track bool [T] on which an object has left, after some frames on which it was there, for some frames."""
    return [t for t in range(4, len(there) - 2) if there[t - 3 : t].all() and not there[t : t + 3].any()]


class Moment(NamedTuple):
    """How clips are drawn and cut around a moment; pairs are ranges."""

    length: tuple[int, int] = (40, 110)  # frames of the clip
    before: tuple[int, int] = (0, 4)  # frames found before the moment,
    after: tuple[int, int] = (3, 7)  # and from it on
    leaves: float = 0.7  # share of departures; the others are returns
    longest: tuple[int, ...] = LONGEST
    alike: float = ALIKE
    ways: dict[str, float] = RESTLESS


def event_window(rng, drawn=Moment()):
    """A clip cut to the prompted frame and some around the moment at which an object leaves or returns, the objects to
    follow, that one first, the times and how many frames are given. None where nothing of the kind was drawn."""
    returns = rng.random() >= drawn.leaves  # from where it was not: its absence departs
    for _ in range(TRIES):
        length = int(rng.integers(*drawn.length))
        clip = draw_clip(rng, range(length), longest=int(rng.choice(drawn.longest)), alike=drawn.alike, ways=drawn.ways)
        moments = [(i, t) for i in clickable(clip) for t in departures(clip["objects"][i]["masks"].any((1, 2)) != returns)]
        if not moments:
            continue
        subject, moment = moments[rng.integers(len(moments))]
        first = max(2, moment - int(rng.integers(*drawn.before)))
        given = min(int(rng.integers(1, GIVEN + 1)), first - 1)
        times = np.array([0, *range(first - given, min(moment + int(rng.integers(*drawn.after)), length))])
        clip = {
            "frames": [clip["frames"][t] for t in times],
            "objects": [{**o, "masks": o["masks"][times]} for o in clip["objects"]],
        }
        others = [i for i in chosen_objects(clip, rng) if i != subject]
        return clip, [subject, *others][:OBJECTS], times, given
    return None


def any_window(rng, frames):
    """The same of a window as it comes."""
    times, given = window(rng, frames)
    found = eventful_clip(rng, times, given)
    return found and (*found, times, given)


def make_window(seed, index, frames, resolution):
    """Window number `index`: pixels uint8 [T, 3, R, R], masks uint8 coverage [N, T, S, S], visible [N, T] (2: hardly),
    boxes [N, 4] on the first frame (centre, size, 0 to 1), kinds [N], times [T] and given. None where nothing can be prompted."""
    rng = np.random.default_rng([seed, index, 11])
    found = event_window(rng) if frames == BRIEF and rng.random() < EVENT else any_window(rng, frames)
    if found is None:
        return None
    clip, chosen, times, given = found
    size = resolution // 12 * MASK_CELLS
    masks = np.stack([[squash_mask(m, size) for m in clip["objects"][i]["masks"]] for i in chosen])
    areas = np.stack([clip["objects"][i]["masks"].sum((1, 2)) for i in chosen])
    visible = np.where(areas == 0, 0, np.where(areas < 0.15 * areas[:, :1], 2, 1))
    boxes = [box_of(clip["objects"][i]["masks"][0]) for i in chosen]
    return {
        "pixels": np.stack([squash(f, resolution) for f in clip["frames"]]), "masks": masks, "visible": visible,
        "boxes": np.array(boxes, np.float32), "kinds": [kind_of(clip["objects"][i]) for i in chosen],
        "times": times, "given": given,
    }


def _work(queue, start, seed, resolution, lengths):
    parent, index = start_drawing(), start
    while True:
        hand_over(queue, (index, make_window(seed, index, lengths[index % len(lengths)], resolution)), parent)
        index += 1


def window_stream(start, seed, resolution, lengths, ahead=6):
    """Windows from number `start` on: (index, window); their lengths in frames take turns."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(ahead)
    context.Process(target=_work, args=(queue, start, seed, resolution, lengths), daemon=True).start()
    while True:
        index, item = queue.get()
        if item is not None:
            yield index, item
