"""What transformers' own video policy decides: python video_rules_reference.py CASES ANSWERS

CASES (JSON) holds whole sequences of detections and tracks as rectangles, banks of memory frames, and masks of rivals;
see video-rules-parity.test.ts beside this file. Every decision is transformers': its forward, planning, execution,
iterator and processor run as they are. Only what needs weights is replaced by the rectangles, and two things are put
right where transformers goes wrong; both are marked PATCH.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
import torch
import transformers
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoModel
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession, Sam3VideoModel
from transformers.models.sam3_video.processing_sam3_video import Sam3VideoProcessor

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

# Boxes come from torchvision, which is not here; they are not what is compared.
Sam3VideoProcessor.postprocess_outputs.__globals__["masks_to_boxes"] = lambda masks: None

ALWAYS_OCCLUDED = 100000


class Diverged(Exception):
    """The two sides track different objects, so the recorded tracks are of no use any more."""


def logits(rects, width, height):
    """Rectangles (or null for none) as masks."""
    masks = torch.full((len(rects), height, width), -3.0)
    for mask, rect in zip(masks, rects):
        if rect is not None:
            x1, y1, x2, y2 = rect
            mask[y1:y2, x1:x2] = 2.0
    return masks


def run_lengths(mask):
    """Run lengths of a mask, column by column, starting with background."""
    flat = np.concatenate(([False], mask.T.reshape(-1), [not mask.T.reshape(-1)[-1]]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], edges))).tolist()


class Policy(Sam3VideoModel):
    """Sam3VideoModel on a recorded sequence."""

    def __init__(self, sequence):
        torch.nn.Module.__init__(self)
        for name, value in sequence["config"].items():
            setattr(self, name, value)
        self.width, self.height = sequence["width"], sequence["height"]
        self.low_res_mask_size = 1  # only of the tensors of no masks at all
        self.fill_hole_area = 0
        self.frames = {frame["frame"]: frame for frame in sequence["frames"]}
        self.last_frame = max(self.frames)
        self.detector_model = SimpleNamespace(get_vision_features=lambda pixel_values: None)
        self.plans = []

    def get_vision_features_for_tracker(self, vision_embeds):
        return [], []

    def run_detection(self, inference_session, vision_embeds):
        found = {}
        for prompt in inference_session.prompts:
            own = [d for d in self.now["detections"] if d["prompt"] == prompt]
            found[prompt] = {
                "bbox": torch.zeros(len(own), 4),
                "mask": logits([d["rect"] for d in own], self.width, self.height),
                "scores": torch.tensor([d["score"] for d in own], dtype=torch.float32),
            }
        return found

    def run_tracker_propagation(self, inference_session, frame_idx, reverse):
        tracks = self.now["tracks"]
        if [track["id"] for track in tracks] != list(inference_session.obj_ids):
            raise Diverged(f"frame {frame_idx}: {inference_session.obj_ids}")
        self.ids_before = list(inference_session.obj_ids)
        masks = logits([track["rect"] for track in tracks], self.width, self.height)
        return masks, torch.tensor([track["objectScore"] for track in tracks], dtype=torch.float32)

    def _tracker_update_memories(self, inference_session, frame_idx, low_res_masks, reconditioned_masks=None):
        self.remembered = low_res_masks.clone()

    def _tracker_add_new_objects(self, inference_session, frame_idx, new_obj_ids, new_obj_masks, reverse=False):
        for obj_id in new_obj_ids:
            inference_session.obj_id_to_idx(obj_id)

    def build_outputs(self, inference_session, **arguments):
        # PATCH: where objects were removed, transformers would give the masks and scores of this frame to the wrong
        # ids, because its list of ids is already the shorter one. forward sets the list anew at its end.
        inference_session.obj_ids = self.ids_before
        return super().build_outputs(inference_session, **arguments)

    def _get_objects_to_suppress_based_on_most_recently_occluded(self, masks, last_occluded, obj_ids, reverse=False):
        # PATCH: backwards in time transformers turns "later" round but not its -1 for "never" and its 100000 for
        # "always"; here time itself is turned round.
        if reverse:
            mirrored = self.last_frame - last_occluded
            special = (last_occluded < 0) | (last_occluded == ALWAYS_OCCLUDED)
            last_occluded = torch.where(special, last_occluded, mirrored)
        return super()._get_objects_to_suppress_based_on_most_recently_occluded(masks, last_occluded, obj_ids)

    def run_tracker_update_planning_phase(self, inference_session, frame_idx, **arguments):
        self.remembered = torch.zeros(0, self.height, self.width)
        plan, metadata = super().run_tracker_update_planning_phase(
            inference_session=inference_session, frame_idx=frame_idx, **arguments
        )
        extra = metadata["extra_metadata"]
        removed = plan["obj_ids_newly_removed"]
        confirmed = plan["trk_id_to_max_iou_high_conf_det"]
        detections = len(self.now["detections"])
        self.plans.append(
            {
                "frame": frame_idx,
                "born": [list(pair) for pair in zip(plan["new_det_obj_ids"], plan["new_det_out_inds"])],
                "unmatched": plan["unmatched_trk_obj_ids"],
                "matches": [plan["det_to_matched_trk_obj_ids"].get(d, []) for d in range(detections)],
                "removed": sorted(removed),
                "suppressed": sorted(extra["suppressed_obj_ids"][frame_idx] - removed),
                "hidden": [i for i, mask in zip(self.ids_before, self.remembered) if (mask == -10).all()],
                "reconditioned": sorted([i, confirmed[i]] for i in plan["reconditioned_obj_ids"] if i not in removed),
                "dropped": plan["num_obj_dropped_due_to_limit"],
                "tracks": [
                    {
                        "id": i,
                        "prompt": inference_session.obj_id_to_prompt_id[i],
                        "score": metadata["obj_id_to_score"][i],
                        "firstFrame": extra["obj_first_frame_idx"][i],
                        "unmatched": len(extra["unmatched_frame_inds"].get(i, [])),
                        "keepAlive": extra["trk_keep_alive"][i],
                        "sharedWith": sorted(
                            [first, len(frames)]
                            for (first, second), frames in extra["overlap_pair_to_frame_inds"].items()
                            if second == i
                        ),
                        "lastOccluded": int(metadata["obj_id_to_last_occluded"][i])
                        if i in metadata["obj_id_to_last_occluded"]
                        else None,
                    }
                    for i in metadata["obj_ids"]
                ],
            }
        )
        return plan, metadata

    def forward(self, inference_session, frame_idx=None, frame=None, reverse=False):
        self.now = self.frames[len(self.plans) if frame_idx is None else frame_idx]
        return super().forward(inference_session, frame_idx=frame_idx, frame=frame, reverse=reverse)


def run_sequence(sequence):
    model = Policy(sequence)
    processor = Sam3VideoProcessor.__new__(Sam3VideoProcessor)
    frames, streaming = len(sequence["frames"]), sequence["streaming"]
    session = Sam3VideoInferenceSession(
        video=None if streaming else torch.zeros(frames, 1, 1, 1),
        video_height=sequence["height"],
        video_width=sequence["width"],
        dtype=torch.float32,
    )
    for prompt in range(sequence["prompts"]):
        session.add_prompt(f"prompt {prompt}")

    def outputs():
        if streaming:
            for _ in range(frames):
                yield model.forward(session, frame=torch.zeros(1, 1, 1))
        else:
            reverse = sequence["reverse"]
            yield from model.propagate_in_video_iterator(session, frames if reverse else 0, reverse=reverse)

    shown = []
    try:
        for out in outputs():
            result = processor.postprocess_outputs(session, out)
            shown.append(
                {
                    "frame": out.frame_idx,
                    # How many frames had been worked on when this one left.
                    "after": len(model.plans),
                    "objects": [
                        {"id": int(i), "score": float(score), "counts": run_lengths(mask.numpy())}
                        for i, score, mask in zip(result["object_ids"], result["scores"], result["masks"])
                    ],
                }
            )
    except Diverged as error:
        return {"plans": model.plans, "shown": shown, "diverged": str(error)}
    return {"plans": model.plans, "shown": shown, "diverged": None}


def run_memories(case):
    """What a track attends to, each frame known by the frame number that stands for its tensors."""
    model = Sam3TrackerVideoModel.__new__(Sam3TrackerVideoModel)
    torch.nn.Module.__init__(model)
    model.eval()
    model.num_maskmem = case["memories"]
    model.config = SimpleNamespace(
        max_cond_frame_num=case["maxConditioningFrames"], max_object_pointers_in_encoder=case["maxObjectPointers"]
    )
    output = lambda frame: {"frame": frame, "object_pointer": torch.tensor([frame])}  # noqa: E731
    conditioning = {frame: output(frame) for frame in case["conditioning"]}
    tracked = {frame: output(frame) for frame in case["tracked"]}
    frame, reverse = case["frame"], case["reverse"]

    bank = {"cond_frame_outputs": conditioning, "non_cond_frame_outputs": tracked}
    session = SimpleNamespace(output_dict_per_obj={0: bank})
    memories = [
        # The row transformers takes of its temporal table, which ends with the row of conditioning frames.
        [out["frame"], (offset - 1) % case["memories"]]
        for offset, out in model._gather_memory_frame_outputs(session, 0, frame, reverse)
        if out is not None
    ]
    # transformers takes the pointers of all conditioning frames, however many; we and the official code those of the
    # selected ones, and the rest counts as tracked. Given that, what it does with them is the same.
    selected, rest = model._select_closest_cond_frames(frame, conditioning, case["maxConditioningFrames"])
    session.output_dict_per_obj[0] = {"cond_frame_outputs": selected, "non_cond_frame_outputs": tracked | rest}
    length = case["clipLength"]
    offsets, tokens, most = model._get_object_pointers(
        session, 0, frame, length, torch.device("cpu"), reverse, streaming=length is None
    )
    ages = (torch.tensor(offsets, dtype=torch.float32) / float(most - 1)).tolist()
    return {"memories": memories, "pointers": [[int(token), age] for token, age in zip(tokens, ages)]}


def run_occlusion(case):
    """Who is hidden of objects that were all gone before, by transformers' own function in its own direction."""
    masks = logits(case["rects"], case["width"], case["height"]) > 0
    last = torch.tensor(case["lastOccluded"])
    hidden = Sam3VideoModel._get_objects_to_suppress_based_on_most_recently_occluded(
        SimpleNamespace(suppress_overlapping_based_on_recent_occlusion_threshold=case["threshold"]),
        masks,
        last,
        case["lastOccluded"],
        case["reverse"],
    )
    return hidden.tolist()


def run_rivals(case):
    """Run lengths of masks after object-wise non-overlap within groups."""
    processor = Sam3VideoProcessor.__new__(Sam3VideoProcessor)
    masks = torch.tensor(case["masks"], dtype=torch.bool).reshape(-1, 1, case["height"], case["width"])
    scores = torch.tensor(case["scores"], dtype=torch.float32).unsqueeze(1)
    kept = processor._apply_object_wise_non_overlapping_constraints(
        masks, scores, background_value=0, prompt_ids=case["groups"]
    )
    return [run_lengths(mask[0].numpy()) for mask in kept > 0]


with open(sys.argv[1]) as file:
    cases = json.load(file)
answers = {
    "sequences": [run_sequence(case) for case in cases["sequences"]],
    "memories": [run_memories(case) for case in cases["memories"]],
    "occlusions": [run_occlusion(case) for case in cases["occlusions"]],
    "rivals": [run_rivals(case) for case in cases["rivals"]],
}
with open(sys.argv[2], "w") as file:
    json.dump(answers, file)
