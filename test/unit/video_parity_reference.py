"""What transformers finds and tracks in clips, for the tiny random models: python video_parity_reference.py MODELS OUT

MODELS is what scripts/export/tiny.py wrote. OUT gets a folder of frames for each clip, and reference.json. Everything is
transformers' own: Sam3VideoModel with its iterator and processor, and Sam3TrackerVideoModel with its session. It is given
CPU versions of what its `kernels` package would bring (NMS, connected components). Where it goes wrong, or does what the
official code does not, it is put right; each such place is marked PATCH.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "export"))

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from tiny_models.fixtures import make_picture
from tiny_models.model import RESOLUTION, tiny_model
from tiny_models.reference import PADDING_BOX_LABEL, preprocess, use_our_roi_align
from tiny_models.videos import _features
from tokenizers import Tokenizer
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
    Sam3TrackerVideoModel,
)
from transformers.models.sam3_video import modeling_sam3_video
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession, Sam3VideoModel
from transformers.models.sam3_video.processing_sam3_video import Sam3VideoProcessor

models, out = Path(sys.argv[1]), Path(sys.argv[2])
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)
use_our_roi_align()
# Boxes come from torchvision, which is not here; they are not what is compared.
Sam3VideoProcessor.postprocess_outputs.__globals__["masks_to_boxes"] = lambda masks: None

HEIGHT, WIDTH = 60, 84
SCALE = torch.tensor([RESOLUTION / WIDTH, RESOLUTION / HEIGHT])


def generic_nms(ious, scores, threshold, use_iou_matrix):
    """Indices that are kept: from the best score down, each drops those it overlaps by more than the threshold."""
    order, kept = scores.argsort(descending=True, stable=True).tolist(), []
    for index in order:
        if all(ious[index, other] <= threshold for other in kept):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.int64)


def cc_2d(mask, get_counts):
    """Labels and sizes of 8-connected components, [N,1,H,W]."""
    inside = mask > 0
    first = torch.arange(1, mask[0].numel() + 1, dtype=torch.float32).view(1, *mask.shape[1:]).expand(mask.shape)
    labels = torch.where(inside, first, 0.0)
    while True:
        spread = torch.where(inside, F.max_pool2d(labels, 3, 1, 1), 0.0)
        if torch.equal(spread, labels):
            break
        labels = spread
    labels = labels.long()
    counts = torch.zeros_like(labels)
    for n in range(len(labels)):
        sizes = labels[n].flatten().bincount()
        sizes[0] = 0
        counts[n] = sizes[labels[n]]
    return labels.int(), counts.int()


modeling_sam3_video.cv_utils_kernel = SimpleNamespace(generic_nms=generic_nms, cc_2d=cc_2d)


def nearest_pointers(all_pointers):
    def get(self, inference_session, obj_idx, frame_idx, *rest, **named):
        # PATCH: of the conditioning frames the official code takes the pointers of those it attends to, the nearest four;
        # transformers takes all there ever were.
        outputs = inference_session.output_dict_per_obj[obj_idx]
        every = outputs["cond_frame_outputs"]
        outputs["cond_frame_outputs"], _ = self._select_closest_cond_frames(
            frame_idx, every, max_cond_frame_num=self.config.max_cond_frame_num
        )
        try:
            return all_pointers(self, inference_session, obj_idx, frame_idx, *rest, **named)
        finally:
            outputs["cond_frame_outputs"] = every

    return get


Sam3TrackerVideoModel._get_object_pointers = nearest_pointers(Sam3TrackerVideoModel._get_object_pointers)


class Detector:
    """The detector as the video model calls it."""

    def __init__(self, model):
        self.model = model
        self.get_vision_features = model.get_vision_features
        self.get_text_features = model.get_text_features

    def __call__(self, **inputs):
        # PATCH: words alone still carry the geometry encoder's CLS token, as in the official model.
        return self.model(
            **inputs,
            input_boxes=torch.zeros(1, 1, 4),
            input_boxes_labels=torch.full((1, 1), PADDING_BOX_LABEL),
        )


class Video(Sam3VideoModel):
    """Sam3VideoModel over the parts of a tiny model."""

    def __init__(self, model, config):
        torch.nn.Module.__init__(self)
        defaults = {name: field.default for name, field in Sam3VideoConfig.__dataclass_fields__.items()}
        for name, value in {**defaults, **config}.items():
            if isinstance(value, (int, float, bool)) and not name.startswith("_"):
                setattr(self, name, value)
        self.low_res_mask_size = RESOLUTION // 2
        self.detector_model = Detector(model.detector_model)
        self.tracker_neck, self.tracker_model = model.tracker_neck, model.tracker_model

    def run_tracker_propagation(self, inference_session, frame_idx, reverse):
        self.ids_before = list(inference_session.obj_ids)
        return super().run_tracker_propagation(inference_session, frame_idx, reverse)

    def build_outputs(self, inference_session, **arguments):
        # PATCH: where objects were removed, transformers would give the masks and scores of this frame to the wrong ids,
        # because its list of ids is already the shorter one. forward sets the list anew at its end.
        inference_session.obj_ids = self.ids_before
        return super().build_outputs(inference_session, **arguments)


def run_lengths(mask):
    """Run lengths of a mask, column by column, starting with background."""
    flat = np.concatenate(([False], mask.T.reshape(-1), [not mask.T.reshape(-1)[-1]]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], edges))).tolist()


def make_clip(name, frames, step, seed):
    """A picture that drifts, there and back; written as PNGs."""
    random = torch.Generator().manual_seed(seed)
    large = make_picture(HEIGHT + 40, WIDTH + 60, random)
    (out / name).mkdir()
    clip = []
    for t in range(frames):
        place = t * step % 40
        place = place if place < 20 else 40 - place
        picture = large[2 * place : 2 * place + HEIGHT, 3 * place : 3 * place + WIDTH]
        Image.fromarray(picture.numpy()).save(out / name / f"{t:03d}.png")
        clip.append(preprocess(picture, RESOLUTION))
    return torch.cat(clip)


@torch.no_grad()
def track_words(name, seed, frames, step, texts, config):
    model = tiny_model(seed)
    video = Video(model, config)
    tokenizer = Tokenizer.from_file(str(models / str(seed) / "bundle" / "tokenizer.json"))
    session = Sam3VideoInferenceSession(
        video=make_clip(name, frames, step, seed), video_height=HEIGHT, video_width=WIDTH, dtype=torch.float32
    )
    for text in texts:
        prompt = session.add_prompt(text)
        session.prompt_input_ids[prompt] = torch.tensor([tokenizer.encode(text).ids])
        session.prompt_attention_masks[prompt] = torch.ones_like(session.prompt_input_ids[prompt])
    processor = Sam3VideoProcessor.__new__(Sam3VideoProcessor)
    shown = []
    for answer in video.propagate_in_video_iterator(session, 0):
        result = processor.postprocess_outputs(session, answer)
        objects = zip(result["object_ids"].tolist(), result["scores"].tolist(), result["masks"].numpy())
        shown.append({
            "frame": answer.frame_idx,
            "objects": [{"id": i, "score": score, "counts": run_lengths(mask)} for i, score, mask in objects],
        })
    return {
        "name": name, "seed": seed, "texts": texts, "config": config, "frames": shown,
        "removed": sorted(session.removed_obj_ids),
    }


def tell(session, frame, prompt):
    """As Sam3TrackerVideoProcessor puts inputs into a session."""
    index = session.obj_id_to_idx(prompt["object"])
    if "mask" in prompt:
        x1, y1, x2, y2 = prompt["mask"]
        mask = torch.zeros(1, 1, HEIGHT, WIDTH)
        mask[..., y1:y2, x1:x2] = 1
        mask = F.interpolate(mask, size=(RESOLUTION,) * 2, mode="bilinear", antialias=True)
        session.add_mask_inputs(index, frame, (mask >= 0.5).float())
        return
    points = torch.tensor([[x, y] for x, y, _ in prompt["points"]]) * SCALE
    labels = torch.tensor([label for *_, label in prompt["points"]])
    session.add_point_inputs(index, frame, {"point_coords": points[None, None], "point_labels": labels[None, None]})


@torch.no_grad()
def track_clicks(name, seed, frames, step, steps):
    """Steps are calls of the model: [frame, prompts, reverse]."""
    model = tiny_model(seed)
    tracker = model.tracker_model
    clip = make_clip(name, frames, step, seed + 40)
    session = Sam3TrackerVideoInferenceSession(
        clip, HEIGHT, WIDTH, dtype=torch.float32, max_vision_features_cache_size=frames
    )
    for frame in range(frames):
        session.cache.cache_vision_features(frame, _features(model, clip[frame : frame + 1]))
    shown = []
    for frame, prompts, reverse in steps:
        for prompt in prompts:
            tell(session, frame, prompt)
        session.obj_with_new_inputs = [prompt["object"] for prompt in prompts]
        answer = tracker(session, frame_idx=frame, reverse=reverse)
        masks = F.interpolate(answer.pred_masks, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)[:, 0] > 0
        shown.append({
            "frame": frame,
            "objects": [
                {"id": i, "counts": run_lengths(mask)} for i, mask in zip(answer.object_ids, masks.numpy())
            ],
        })
    steps = [{"frame": frame, "prompts": prompts, "reverse": reverse} for frame, prompts, reverse in steps]
    return {"name": name, "seed": seed, "steps": steps, "shown": shown}


def forward(first, last, prompts=()):
    """Frames one after the other; prompts on the first one."""
    return [[frame, list(prompts) if frame == first else [], False] for frame in range(first, last)]


def backward(first, last):
    return [[frame, [], True] for frame in range(first, last, -1)]


POINT = {"object": 0, "points": [(20, 30, 1)]}
BOX = {"object": 1, "points": [(40, 8, 2), (80, 50, 3)]}
MASK = {"object": 2, "mask": (10, 5, 45, 50)}
POINTS = {"object": 3, "points": [(60, 40, 1), (10, 10, 0), (70, 50, 1)]}
CORRECTION = {"object": 1, "points": [(50, 30, 1), (5, 5, 0)]}

# Numbers with which the tiny models' random objects are born, confirmed, strengthened and taken back.
SHORT = {"hotstart_delay": 8, "hotstart_unmatch_thresh": 5, "hotstart_dup_thresh": 4}
NONE = {"hotstart_delay": 0, "hotstart_unmatch_thresh": 0, "hotstart_dup_thresh": 0}
RECONDITION = {"recondition_every_nth_frame": 3, "high_conf_thresh": 0.55, "high_iou_thresh": 0.4}
MANY = {"new_det_thresh": 0.5, "det_nms_thresh": 0.8}

answer = {
    "words": [
        track_words("words-0", 0, 16, 1, ["sky", "cat"], {**SHORT, **MANY, **RECONDITION}),
        track_words("words-1", 2, 16, 1, ["sky", "cat"], {**SHORT, **MANY, **RECONDITION}),
        track_words("words-2", 2, 18, 1, ["wheel"], {"new_det_thresh": 0.6, "det_nms_thresh": 0.5, **RECONDITION}),
        track_words("words-3", 0, 12, 1, ["sky", "red car"], {
            **NONE, "det_nms_thresh": 0.9, "new_det_thresh": 0.55,
            "suppress_overlapping_based_on_recent_occlusion_threshold": 0.3,
        }),
    ],
    "clicks": [
        track_clicks("clicks-0", 0, 14, 1, [
            *forward(0, 3, [POINT, BOX]), *forward(3, 5, [MASK]), *forward(5, 14, [POINTS]),
            *forward(9, 14, [CORRECTION]),
        ]),
        track_clicks("clicks-1", 1, 12, 1, [*forward(8, 12, [POINT, BOX, MASK]), *backward(7, -1)]),
        track_clicks("clicks-2", 2, 18, 1, [*forward(0, 18, [BOX, MASK])]),
    ],
}
(out / "reference.json").write_text(json.dumps(answer))
