"""Prompts for a scene: words, exemplar boxes, both; and which objects each one means. numpy only.

A prompt is {"kind", "text", "boxes": [[x1, y1, x2, y2, label]], "targets": [object index]} with label 1 for a
positive and 0 for a negative box. Meaning: the words choose; without words (text "visual") the positive box's
colour and shape choose; every negative box takes its own colour-and-shape out.
"""
import string

import numpy as np

from vocabulary import BOX_ONLY_TEXT, COLOURS, SHAPES, UNKNOWN_WORDS, plural

KINDS = ["present", "absent_half", "absent", "unknown", "exemplar", "exemplar_negative", "text_negative", "text_exemplar"]


def phrase(colour, shape, rng):
    """Words for a concept; None stands for "any". Singular or plural."""
    noun = shape or "shape"
    if rng.random() < 0.45:
        noun = plural(noun)
    return noun if colour is None else f"{colour} {noun}"


def meant(objects, colour, shape):
    """Indices of the objects a concept means."""
    return [
        i for i, o in enumerate(objects)
        if (colour is None or o["colour"] == colour) and (shape is None or o["shape"] == shape)
    ]


def unknown_text(rng):
    """Words mini does not know, alone or with a colour it knows."""
    if rng.random() < 0.6:
        word = str(rng.choice(UNKNOWN_WORDS))
    else:
        letters = string.ascii_lowercase if rng.random() < 0.85 else string.printable[:94]
        word = "".join(rng.choice(list(letters), rng.integers(1, 9)))
    if rng.random() < 0.3:
        word += "s"
    if rng.random() < 0.35:
        word = f"{rng.choice(COLOURS)} {word}"
    elif rng.random() < 0.1:
        word += " " + str(rng.choice(UNKNOWN_WORDS))
    return word


def loose_box(box, label, rng, slack=0.06):
    """The box as a person would draw it: a little off."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    d = rng.uniform(-slack, slack, 4) if slack else np.zeros(4)
    return [float(x1 + d[0] * w), float(y1 + d[1] * h), float(x2 + d[2] * w), float(y2 + d[3] * h), int(label)]


def random_concept(objects, rng, style=None):
    """A concept that at least one object meets, in one of the four styles."""
    o = objects[rng.integers(len(objects))]
    style = style or rng.choice(["both", "shape", "colour", "any"], p=[0.5, 0.22, 0.2, 0.08])
    return (o["colour"] if style in ("both", "colour") else None), (o["shape"] if style in ("both", "shape") else None)


def absent_concept(objects, rng, half):
    """A concept no object meets; `half`: its colour and its shape are both there, but not on one object."""
    colours = {o["colour"] for o in objects}
    shapes = {o["shape"] for o in objects}
    there = {(o["colour"], o["shape"]) for o in objects}
    if half:
        pool = [(c, s) for c in colours for s in shapes if (c, s) not in there]
        if not pool or rng.random() < 0.35:
            pool = [(c, s) for c in COLOURS for s in SHAPES if (c in colours) != (s in shapes)]
    else:
        pool = [(c, s) for c in COLOURS for s in SHAPES if c not in colours and s not in shapes]
        r = rng.random()
        if r < 0.35:
            pool = [(None, s) for s in SHAPES if s not in shapes]
        elif r < 0.65:
            pool = [(c, None) for c in COLOURS if c not in colours]
    pool = sorted(pool, key=str)
    return pool[rng.integers(len(pool))] if pool else None


def make_prompt(objects, kind, rng, slack=0.06):
    """One prompt of the given kind, or None where this scene has none."""
    def result(text, boxes, targets):
        return {"kind": kind, "text": text, "boxes": boxes, "targets": targets}

    if kind == "unknown":
        return result(unknown_text(rng), [], [])
    if kind in ("absent", "absent_half"):
        if kind == "absent_half" and not objects:
            return None
        concept = absent_concept(objects, rng, kind == "absent_half")
        return concept and result(phrase(*concept, rng), [], [])
    if not objects:
        return None
    if kind == "present":
        colour, shape = random_concept(objects, rng)
        return result(phrase(colour, shape, rng), [], meant(objects, colour, shape))

    def same(i):
        return meant(objects, objects[i]["colour"], objects[i]["shape"])

    def box(i, label):
        return loose_box(objects[i]["box"], label, rng, slack)

    if kind in ("exemplar", "exemplar_negative"):
        i = int(rng.integers(len(objects)))
        targets = same(i)
        boxes = [box(i, 1)]
        if len(targets) > 1 and rng.random() < 0.2:
            boxes.append(box(int(rng.choice([t for t in targets if t != i])), 1))
        if kind == "exemplar_negative":
            others = [j for j in range(len(objects)) if j not in targets]
            if not others:
                return None
            boxes.append(box(int(rng.choice(others)), 0))
        return result(BOX_ONLY_TEXT, boxes, targets)
    if kind == "text_exemplar":
        style = rng.choice(["both", "shape", "colour", "any"], p=[0.55, 0.2, 0.17, 0.08])
        colour, shape = random_concept(objects, rng, style)
        targets = meant(objects, colour, shape)
        return result(phrase(colour, shape, rng), [box(int(rng.choice(targets)), 1)], targets)
    if kind == "text_negative":
        style = rng.choice(["both", "shape", "colour", "any"], p=[0.12, 0.35, 0.33, 0.2])
        colour, shape = random_concept(objects, rng, style)
        targets = meant(objects, colour, shape)
        i = int(rng.choice(targets)) if style != "both" or rng.random() < 0.4 else int(rng.integers(len(objects)))
        targets = [t for t in targets if t not in same(i)]
        return result(phrase(colour, shape, rng), [box(i, 0)], targets)
    raise ValueError(kind)


MOST_TARGETS = 8  # per prompt, in training
# Words with a negative box are learned last.
TRAINING_MIX = {"present": 0.12, "absent_half": 0.09, "absent": 0.03, "unknown": 0.03, "exemplar": 0.12,
                "exemplar_negative": 0.17, "text_negative": 0.28, "text_exemplar": 0.16}


def training_prompts(objects, count, rng):
    """`count` different prompts for one scene; more often than not the first is present, the second half-right."""
    prompts, seen = [], set()
    names, weights = list(TRAINING_MIX), list(TRAINING_MIX.values())
    for attempt in range(count * 12):
        if len(prompts) == count:
            break
        kind = str(rng.choice(names, p=weights))
        if attempt < 2 and rng.random() < (0.5, 0.35)[attempt]:
            kind = ["present", "absent_half"][attempt]
        prompt = make_prompt(objects, kind, rng)
        if prompt is None or len(prompt["targets"]) > MOST_TARGETS:
            continue
        key = (prompt["text"], len(prompt["boxes"]), tuple(prompt["targets"]))
        if key in seen:
            continue
        seen.add(key)
        prompts.append(prompt)
    while len(prompts) < count:
        prompts.append(make_prompt(objects, "unknown", rng))
    return prompts


def evaluation_prompts(objects, rng):
    """One prompt of every kind the scene allows, boxes exact; two present ones."""
    made = [make_prompt(objects, kind, rng, slack=0.0) for kind in ["present"] + KINDS]
    return [p for p in made if p is not None]
