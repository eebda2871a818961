"""The Python side of transformers.mjs: python transformers_side.py CHECKPOINT THREADS

Reads lines of {"file", "texts"}, answers each with the milliseconds of every stage: the eager model of transformers, its
image encoder once for both texts, masks resized to the picture's size.
"""

import json
import sys
from pathlib import Path
from time import perf_counter

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path[:0] = [str(SCRIPTS / "export"), str(SCRIPTS / "mini")]

import numpy as np
import torch
import transformers
from model import load_transformers
from PIL import Image
from tiny_models.reference import PADDING_BOX_LABEL, finish, preprocess, use_our_roi_align
from tokenizers import Tokenizer

folder, threads = Path(sys.argv[1]), int(sys.argv[2])
transformers.logging.set_verbosity_error()
torch.set_num_threads(threads)
model, _ = load_transformers(folder)
use_our_roi_align()
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
resolution = model.config.vision_config.backbone_config.image_size


class Clock:
    """Milliseconds since it was last asked."""

    def __init__(self):
        self.last = perf_counter()

    def lap(self):
        now = perf_counter()
        ms, self.last = (now - self.last) * 1000, now
        return ms


@torch.no_grad()
def segment(vision, text, height, width):
    """Objects of one text on an encoded picture, every query of them."""
    ids = torch.tensor([tokenizer.encode(text).ids])
    output = model(
        vision_embeds=vision,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        input_boxes=torch.zeros(1, 1, 4),
        input_boxes_labels=torch.full((1, 1), PADDING_BOX_LABEL),
    )
    raw = {
        "logits": output.pred_logits,
        "pred_boxes": output.pred_boxes,
        "presence": output.presence_logits,
        "masks": output.pred_masks,
        "semantic": output.semantic_seg,
    }
    return len(finish(raw, height, width, threshold=-1.0)["final_scores"])


@torch.no_grad()
def measure(file, texts):
    clock = Clock()
    picture = torch.from_numpy(np.array(Image.open(file).convert("RGB")))
    height, width = picture.shape[:2]
    decode = clock.lap()
    pixels = preprocess(picture, resolution)
    vision = model.get_vision_features(pixel_values=pixels)
    encode = clock.lap()
    first = segment(vision, texts[0], height, width)
    segmented = clock.lap()
    second = segment(vision, texts[1], height, width)
    again = clock.lap()
    return {
        "ms": {"decode": decode, "encode": encode, "first": decode + encode + segmented, "second": again},
        "objects": [first, second],
    }


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(measure(request["file"], request["texts"])), flush=True)
