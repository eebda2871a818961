"""What transformers finds and tracks by words in clips: python video_parity_words.py MODELS OUT [NAME…]

MODELS is what scripts/export/tiny.py wrote. OUT gets a folder of frames for each clip, and reference.json: of each case what
was done step by step, and what transformers shows after each. With names only those cases are made.
"""

import json
import sys
from pathlib import Path

import torch
from video_parity_model import HEIGHT, UNDECIDED, WIDTH, Video, at_full_size, make_clip, run_lengths
from tiny_models.model import tiny_model
from tokenizers import Tokenizer
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession
from transformers.models.sam3_video.processing_sam3_video import Sam3VideoProcessor

models, out, wanted = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
# The text of a prompt that is boxes only.
FALLBACK = "visual"


class Case:
    """One clip that is tracked step by step."""

    def __init__(self, name, seed, frames, config):
        model = tiny_model(seed)
        self.video = Video(model, config)
        clip = make_clip(out, name, frames, 1, seed)
        self.session = Sam3VideoInferenceSession(
            video=clip, video_height=HEIGHT, video_width=WIDTH, dtype=torch.float32
        )
        self.tokenizer = Tokenizer.from_file(str(models / str(seed) / "bundle" / "tokenizer.json"))
        self.processor = Sam3VideoProcessor.__new__(Sam3VideoProcessor)
        self.facts = {"name": name, "seed": seed, "config": config, "steps": []}
        self.reverse = None
        self.answer = None

    def prompt(self, frame, text=None, exemplars=(), look=False):
        """A concept; `look`: the frame is tracked now, else by the next pass."""
        session = self.session
        prompt = session.add_prompt(text or FALLBACK)
        ids = self.tokenizer.encode(text or FALLBACK).ids
        session.prompt_input_ids[prompt] = torch.tensor([ids])
        session.prompt_attention_masks[prompt] = torch.ones_like(session.prompt_input_ids[prompt])
        if exemplars:
            self.video.exemplars[prompt, frame] = list(exemplars)
        if text is None:
            self.video.boxes_only.add(prompt)
        shown = None
        if look:
            self.answer = self.video(inference_session=session, frame_idx=frame)
            shown = self._shown(self.answer)
        self._add(do="prompt", frame=frame, text=text, exemplars=list(exemplars), shown=shown)

    def go(self, start, count, reverse=False):
        """A pass over so many frames."""
        session = self.session
        if self.reverse not in (None, reverse):
            self.video.settled |= set(session.obj_ids)
        self.reverse = reverse
        gone, frames = set(session.removed_obj_ids), []
        # The iterator leaves the first frame out backward, and forward goes one further than it is told.
        order = {"start_frame_idx": start + 1 if reverse else start, "max_frame_num_to_track": count if reverse else count - 1}
        for answer in self.video.propagate_in_video_iterator(session, **order, reverse=reverse):
            frames.append(self._shown(answer))
            self.answer = answer
        removed = sorted(set(session.removed_obj_ids) - gone)
        self._add(do="pass", start=start, count=count, reverse=reverse, frames=frames, removed=removed)

    def correct(self, points):
        """Points for the largest object of the frame that was tracked last."""
        masks = self.answer.obj_id_to_mask
        obj = max(self.session.obj_ids, key=lambda i: (masks[i] > 0).sum().item())
        answer = self.video.correct(self.session, self.answer, obj, points)
        frame = answer.frame_idx
        self._add(do="correct", frame=frame, object=obj, points=points, shown=self._shown(answer))

    def _shown(self, answer):
        result = self.processor.postprocess_outputs(self.session, answer)
        ids, prompts = result["object_ids"].tolist(), self.session.obj_id_to_prompt_id
        close = {i: at_full_size(answer.obj_id_to_mask[i])[0].abs() < UNDECIDED for i in ids}
        objects = zip(ids, result["scores"].tolist(), result["masks"].numpy())
        return {
            "frame": answer.frame_idx,
            "objects": [
                {
                    "id": i,
                    "score": score,
                    "counts": run_lengths(mask),
                    # Objects of a prompt give way to each other: a pixel of one of them is a pixel of none of the others.
                    "undecided": run_lengths(
                        torch.stack([close[j] for j in ids if prompts[j] == prompts[i]]).any(0).numpy()
                    ),
                }
                for i, score, mask in objects
            ],
        }

    def _add(self, **step):
        self.facts["steps"].append({**step, "plans": self.video.plans})
        self.video.plans = []


# Numbers with which the tiny models' random objects are born, confirmed, strengthened and taken back. Their detections
# overlap them by less than a half, and the logits of their being there stay below 0.5.
SHORT = {"hotstart_delay": 8, "hotstart_unmatch_thresh": 5, "hotstart_dup_thresh": 4}
UNMATCHED = {"hotstart_delay": 8, "hotstart_unmatch_thresh": 3, "hotstart_dup_thresh": 8}
NONE = {"hotstart_delay": 0, "hotstart_unmatch_thresh": 0, "hotstart_dup_thresh": 0}
MATCHED = {"trk_assoc_iou_thresh": 0.33}
RECONDITION = {**MATCHED, "recondition_every_nth_frame": 3, "high_conf_thresh": 0.05, "high_iou_thresh": 0.3}
# Every frame, so that some of them are hidden on it.
OFTEN = {**MATCHED, "recondition_every_nth_frame": 1, "high_conf_thresh": 0.01, "high_iou_thresh": 0.2}
ON_DETECTIONS = {"recondition_on_trk_masks": False}
MANY = {"new_det_thresh": 0.5, "det_nms_thresh": 0.8}
OCCLUSION = {"suppress_overlapping_based_on_recent_occlusion_threshold": 0.3}
EASY_OCCLUSION = {"suppress_overlapping_based_on_recent_occlusion_threshold": 0.15}
FEW = {"new_det_thresh": 0.55, "det_nms_thresh": 0.9}
APART = {"new_det_thresh": 0.5, "det_nms_thresh": 0.4}
KEEP_ALIVE = {"suppress_unmatched_only_within_hotstart": False, "init_trk_keep_alive": 1, "max_num_objects": 5}


def forward(frames, texts):
    def run(case):
        for text in texts:
            case.prompt(0, text)
        case.go(0, frames)

    return run


def backward(case):
    for text in ("sky", "cat"):
        case.prompt(13, text)
    case.go(13, 14, reverse=True)


def both_ways(case):
    for text in ("sky", "cat"):
        case.prompt(6, text)
    case.go(6, 9)
    case.go(5, 6, reverse=True)


def with_exemplars(case):
    """Words with boxes on two of the frames."""
    case.prompt(0, "cat", [(10, 20, 60, 50, 1), (60, 5, 80, 30, 0)])
    case.go(0, 5)
    case.prompt(5, "cat", [(30, 10, 70, 55, 1)], look=True)
    case.go(6, 4)


def exemplars_alone(case):
    case.prompt(4, None, [(10, 5, 50, 50, 1), (60, 20, 80, 50, 1)])
    case.go(4, 6)
    case.go(3, 4, reverse=True)


def corrected(case):
    case.prompt(0, "wheel")
    case.go(0, 7)
    case.correct([(40, 30, 1), (5, 55, 0)])
    case.go(7, 7)


CASES = [
    ("words-0", 0, 16, {**SHORT, **MANY, **RECONDITION}, forward(16, ["sky", "cat"])),
    ("words-1", 2, 16, {**SHORT, **MANY, **RECONDITION}, forward(16, ["sky", "cat"])),
    ("words-2", 2, 18, {"new_det_thresh": 0.6, "det_nms_thresh": 0.5, **RECONDITION}, forward(18, ["wheel"])),
    ("words-3", 0, 12, {**NONE, **FEW, **OCCLUSION}, forward(12, ["sky", "red car"])),
    ("backward-0", 0, 14, {**SHORT, **MANY, **RECONDITION}, backward),
    ("backward-1", 2, 14, {**SHORT, **MANY, **RECONDITION}, backward),
    ("both-ways", 0, 15, {**SHORT, **MANY, **RECONDITION, **OCCLUSION}, both_ways),
    ("exemplars", 0, 10, {**NONE, **FEW, **RECONDITION}, with_exemplars),
    ("exemplars-alone", 0, 10, {**SHORT, **MANY}, exemplars_alone),
    ("unmatched-0", 0, 14, {**UNMATCHED, **APART}, forward(14, ["sky"])),
    ("unmatched-1", 2, 14, {**UNMATCHED, **APART, "hotstart_unmatch_thresh": 2}, forward(14, ["sky"])),
    ("keep-alive", 0, 14, {**NONE, **MANY, **KEEP_ALIVE, "assoc_iou_thresh": 0.33}, forward(14, ["sky", "cat"])),
    ("detections", 0, 14, {**NONE, **FEW, **RECONDITION, **ON_DETECTIONS}, forward(14, ["sky", "cat"])),
    ("often", 0, 15, {**NONE, **MANY, **OFTEN, **EASY_OCCLUSION}, both_ways),
    ("often-detections", 0, 15, {**NONE, **MANY, **OFTEN, **EASY_OCCLUSION, **ON_DETECTIONS}, both_ways),
    ("corrected", 0, 14, {**NONE, **FEW, **RECONDITION}, corrected),
]

answer = []
for name, seed, frames, config, run in CASES:
    if wanted and name not in wanted:
        continue
    case = Case(name, seed, frames, config)
    with torch.no_grad():
        run(case)
    answer.append(case.facts)
(out / "reference.json").write_text(json.dumps(answer))
