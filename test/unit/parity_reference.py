"""What transformers finds on pictures from files, for the tiny random models: python parity_reference.py MODELS OUT

MODELS is what scripts/export/tiny.py wrote. OUT gets the pictures and reference.json. The whole way is transformers' and
Python's own: Rust tokenizer, PNG by Pillow, torch's resize, eager model, bilinear masks.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "export"))

import numpy as np
import torch
import transformers
from PIL import Image
from tiny_models.fixtures import make_picture
from tiny_models.model import RESOLUTION, tiny_model
from tiny_models.reference import Prompts, finish, preprocess, run_detector
from tokenizers import Tokenizer

models, out = Path(sys.argv[1]), Path(sys.argv[2])
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

# Height, width, texts, exemplars as (box in pixels, label); None stands for no text.
CASES = [
    (48, 80, ["yellow school bus"], []),
    (200, 160, ["a", "players in white", "the left-hand wheel of café no. 7, it's “red” &amp; " + "very " * 20 + "long"], []),
    (120, 90, ["cat"], [([10, 20, 60, 100], 1)]),
    (64, 64, ["two dogs"], [([0, 0, 64, 64], 1), ([30.5, 10.25, 40, 50], 0)]),
    (31, 217, None, [([5, 5, 100, 25], 1)]),
    (77, 101, ["wheel", "red car"], [([1, 1, 9, 70], 0), ([50, 20, 101, 77], 1)]),
    (5, 7, ["dot"], []),
    (300, 400, ["sky"], []),
]


def clean(text):
    """What the official text cleaning makes of the texts above."""
    return text.replace("“", '"').replace("”", '"').replace("&amp;", "&")


def prompts_of(tokenizer, texts, exemplars, height, width):
    ids = []
    for text in texts:
        row = tokenizer.encode(clean(text)).ids
        ids.append(row if len(row) <= 32 else row[:31] + row[-1:])
    length, n, k = max(map(len, ids)), len(ids), len(exemplars)
    padded, mask = torch.zeros(n, length, dtype=torch.int64), torch.zeros(n, length, dtype=torch.bool)
    for i, row in enumerate(ids):
        padded[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    corners = torch.tensor([box for box, _ in exemplars], dtype=torch.float64).reshape(k, 4)
    x1, y1, x2, y2 = (corners / torch.tensor([width, height, width, height])).unbind(1)
    boxes = torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), 1).float()
    labels = torch.tensor([label for _, label in exemplars], dtype=torch.int64)
    return Prompts(padded, mask, boxes.expand(n, k, 4), labels.expand(n, k), torch.ones(n, k, dtype=torch.bool))


def run_lengths(mask):
    """Run lengths of a mask, column by column, starting with background."""
    flat = np.concatenate(([False], mask.T.reshape(-1), [not mask.T.reshape(-1)[-1]]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], edges))).tolist()


entries = []
for seed in (0, 1):
    model = tiny_model(seed)
    tokenizer = Tokenizer.from_file(str(models / str(seed) / "bundle" / "tokenizer.json"))
    for index, (height, width, texts, exemplars) in enumerate(CASES):
        picture = make_picture(height, width, torch.Generator().manual_seed(7000 + 100 * seed + index))
        name = f"{seed}-{index}.png"
        Image.fromarray(picture.numpy()).save(out / name)
        picture = torch.from_numpy(np.array(Image.open(out / name)))
        prompts = prompts_of(tokenizer, texts or ["visual"], exemplars, height, width)
        raw = run_detector(model.detector_model, preprocess(picture, RESOLUTION), prompts)
        # A threshold that lies in the widest gap between scores, so that rounding decides nothing.
        scores = (raw["logits"].sigmoid() * raw["presence"].sigmoid()).flatten().sort().values
        low, high = len(scores) // 4, max(len(scores) // 4 + 2, len(scores) * 3 // 4)
        gap = int((scores[low + 1 : high] - scores[low : high - 1]).argmax()) + low
        threshold = float((scores[gap] + scores[gap + 1]) / 2)
        found = finish(raw, height, width, threshold)
        entries.append({
            "seed": seed, "file": name, "width": width, "height": height, "texts": texts, "threshold": threshold,
            "exemplars": [{"box": box, "label": "positive" if label else "negative"} for box, label in exemplars],
            "presence": raw["presence"].sigmoid().flatten().tolist(),
            "objects": [
                {"prompt": p, "score": s, "box": b, "counts": run_lengths(m)}
                for p, s, b, m in zip(found["final_prompt"].tolist(), found["final_scores"].tolist(),
                                      found["final_boxes"].tolist(), found["final_masks"].numpy())
            ],
        })
(out / "reference.json").write_text(json.dumps(entries))
