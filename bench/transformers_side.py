"""The Python side of transformers.mjs: python transformers_side.py CHECKPOINT THREADS

The eager model of transformers, masks resized to the picture's size. Reads lines of
- {"file", "texts"}: two texts on one picture, the image encoder once for both; answers with the milliseconds of every stage
- {"files", "texts", "atOnce"}: a text each on pictures of one size, so many pictures in one forward
and the number of objects of each.
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
pad_token = model.config.text_config.pad_token_id


class Clock:
    """Milliseconds since it was last asked."""

    def __init__(self):
        self.last = perf_counter()

    def lap(self):
        now = perf_counter()
        ms, self.last = (now - self.last) * 1000, now
        return ms


def read(file):
    return torch.from_numpy(np.array(Image.open(file).convert("RGB")))


@torch.no_grad()
def segment(vision, texts, height, width):
    """Numbers of objects of a text on each encoded picture, every query of them."""
    encoded = [tokenizer.encode(text).ids for text in texts]
    longest = max(map(len, encoded))
    ids = torch.tensor([row + [pad_token] * (longest - len(row)) for row in encoded])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in encoded])
    output = model(
        vision_embeds=vision,
        input_ids=ids,
        attention_mask=mask,
        input_boxes=torch.zeros(len(texts), 1, 4),
        input_boxes_labels=torch.full((len(texts), 1), PADDING_BOX_LABEL),
    )
    raw = {
        "logits": output.pred_logits,
        "pred_boxes": output.pred_boxes,
        "presence": output.presence_logits,
        "masks": output.pred_masks,
        "semantic": output.semantic_seg,
    }
    prompts = finish(raw, height, width, threshold=-1.0)["final_prompt"]
    return prompts.bincount(minlength=len(texts)).tolist()


@torch.no_grad()
def measure(file, texts):
    clock = Clock()
    picture = read(file)
    height, width = picture.shape[:2]
    decode = clock.lap()
    pixels = preprocess(picture, resolution)
    vision = model.get_vision_features(pixel_values=pixels)
    encode = clock.lap()
    first = segment(vision, texts[:1], height, width)
    segmented = clock.lap()
    second = segment(vision, texts[1:], height, width)
    again = clock.lap()
    return {
        "ms": {"decode": decode, "encode": encode, "first": decode + encode + segmented, "second": again},
        "objects": first + second,
    }


@torch.no_grad()
def segment_all(files, texts, at_once):
    """Numbers of objects of a text on each picture."""
    objects = []
    for begin in range(0, len(files), at_once):
        pictures = [read(file) for file in files[begin : begin + at_once]]
        height, width = pictures[0].shape[:2]
        pixels = torch.cat([preprocess(picture, resolution) for picture in pictures])
        vision = model.get_vision_features(pixel_values=pixels)
        objects += segment(vision, texts[begin : begin + at_once], height, width)
    return {"objects": objects}


for line in sys.stdin:
    request = json.loads(line)
    if "files" in request:
        answer = segment_all(request["files"], request["texts"], request["atOnce"])
    else:
        answer = measure(request["file"], request["texts"])
    print(json.dumps(answer), flush=True)
