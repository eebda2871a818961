"""transformers' video models over the parts of the tiny random models, and the clips they are asked about.

Everything is transformers' own: Sam3VideoModel with its iterator and processor, and Sam3TrackerVideoModel with its session.
They are given CPU versions of what their `kernels` package would bring (NMS, connected components). Where transformers goes
wrong, does what the official code does not, or cannot do what is asked, it is put right; each such place is marked PATCH.
"""

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
from tiny_models.model import RESOLUTION
from tiny_models.reference import PADDING_BOX_LABEL, preprocess, use_our_roi_align
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoModel
from transformers.models.sam3_video import modeling_sam3_video
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel
from transformers.models.sam3_video.processing_sam3_video import Sam3VideoProcessor

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)
use_our_roi_align()
# Boxes come from torchvision, which is not here; they are not what is compared.
Sam3VideoProcessor.postprocess_outputs.__globals__["masks_to_boxes"] = lambda masks: None

HEIGHT, WIDTH = 60, 84
SCALE = torch.tensor([RESOLUTION / WIDTH, RESOLUTION / HEIGHT])
# A pixel whose logit is nearer to 0 than this is inside or outside by rounding. transformers' own logits of these clips move
# by up to 2e-4 where every pixel it is given moves by 1e-7: memories are kept as bfloat16, and frames go by them one after the other.
UNDECIDED = 1e-3


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
        # PATCH: of the conditioning frames the official code takes the pointers of those it attends to, the nearest four, and
        # the others count as tracked ones; transformers takes all there ever were.
        outputs = inference_session.output_dict_per_obj[obj_idx]
        conditioning, tracked = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
        outputs["cond_frame_outputs"], others = self._select_closest_cond_frames(
            frame_idx, conditioning, max_cond_frame_num=self.config.max_cond_frame_num
        )
        outputs["non_cond_frame_outputs"] = {**tracked, **others}
        try:
            return all_pointers(self, inference_session, obj_idx, frame_idx, *rest, **named)
        finally:
            outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"] = conditioning, tracked

    return get


Sam3TrackerVideoModel._get_object_pointers = nearest_pointers(Sam3TrackerVideoModel._get_object_pointers)


class Detector:
    """The detector as the video model calls it."""

    def __init__(self, model):
        self.model = model
        self.get_vision_features = model.get_vision_features
        self.get_text_features = model.get_text_features
        self.show([])

    def show(self, exemplars):
        """Boxes that go with the words of the next calls, (x1, y1, x2, y2, label) in pixels."""
        # PATCH: words alone still carry the geometry encoder's CLS token, as in the official model.
        self.boxes = torch.zeros(1, 1, 4)
        self.labels = torch.full((1, 1), PADDING_BOX_LABEL)
        if exemplars:
            x1, y1, x2, y2, labels = torch.tensor(exemplars, dtype=torch.float64).unbind(1)
            centres = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
            self.boxes = torch.stack(centres, 1).float()[None]
            self.labels = labels.long()[None]

    def __call__(self, **inputs):
        return self.model(**inputs, input_boxes=self.boxes, input_boxes_labels=self.labels)


class Video(Sam3VideoModel):
    """Sam3VideoModel over the parts of a tiny model."""

    # As the official code's `refinement_detector_cond_frame_removal_window`.
    CORRECTION_REACH = 16
    # ALWAYS_OCCLUDED of `_suppress_overlapping_based_on_recent_occlusion`.
    ALWAYS_OCCLUDED = 100000

    def __init__(self, model, config):
        torch.nn.Module.__init__(self)
        defaults = {name: field.default for name, field in Sam3VideoConfig.__dataclass_fields__.items()}
        for name, value in {**defaults, **config}.items():
            if isinstance(value, (int, float, bool)) and not name.startswith("_"):
                setattr(self, name, value)
        self.low_res_mask_size = RESOLUTION // 2
        self.detector_model = Detector(model.detector_model)
        self.tracker_neck, self.tracker_model = model.tracker_neck, model.tracker_model
        # What was decided about each frame since the list was emptied last.
        self.plans = []
        # Boxes by prompt and frame; prompts that are boxes only; objects that are not taken back any more.
        self.exemplars, self.boxes_only, self.settled = {}, set(), set()

    def _det_track_one_frame(self, inference_session, frame_idx, **arguments):
        self.frame = frame_idx
        try:
            return super()._det_track_one_frame(inference_session, frame_idx, **arguments)
        finally:
            # PATCH: what no later frame looks for cannot be held against an object.
            self.settled |= {i for i, prompt in inference_session.obj_id_to_prompt_id.items() if prompt in self.boxes_only}

    def run_detection(self, inference_session, vision_embeds):
        # PATCH: Sam3VideoModel gives its detector words only. Boxes go to the same detector, on the frame they are of, as
        # Sam3Model takes them; a prompt of boxes alone is looked for on no other frame.
        every, found = inference_session.prompts, {}
        for prompt, text in every.items():
            boxes = self.exemplars.get((prompt, self.frame), [])
            if not boxes and prompt in self.boxes_only:
                continue
            inference_session.prompts = {prompt: text}
            self.detector_model.show(boxes)
            found.update(super().run_detection(inference_session, vision_embeds))
        inference_session.prompts = every
        return found

    def _process_hotstart(self, extra_metadata, empty_trk_obj_ids, **arguments):
        # PATCH: transformers never forgets that an object is young in one direction of time when it turns round, or when
        # the user shows where it is.
        removed, metadata = super()._process_hotstart(
            extra_metadata=extra_metadata, empty_trk_obj_ids=empty_trk_obj_ids, **arguments
        )
        metadata["removed_obj_ids"] -= self.settled & removed
        self.empty = list(empty_trk_obj_ids)
        return removed - self.settled, metadata

    def _prepare_recondition_masks(self, inference_session, det_out, trk_id_to_max_iou_high_conf_det, **arguments):
        # PATCH: where the detection's mask is to be remembered transformers makes 0 and 1 of it and takes those for logits:
        # their probabilities are 0.5 and 0.73, and nothing is outside. Here its own logits are.
        masks, ids = super()._prepare_recondition_masks(
            inference_session=inference_session,
            det_out=det_out,
            trk_id_to_max_iou_high_conf_det=trk_id_to_max_iou_high_conf_det,
            **arguments,
        )
        if not self.recondition_on_trk_masks:
            of_object = {inference_session.obj_id_to_idx(i): trk_id_to_max_iou_high_conf_det[i] for i in ids}
            masks = {index: det_out["mask"][of_object[index]][None, None] for index in masks}
        return masks, ids

    def _tracker_update_memories(self, inference_session, frame_idx, low_res_masks, reconditioned_masks=None):
        # Whoever is hidden was just given this logit everywhere.
        self.hidden = [i for i, mask in zip(inference_session.obj_ids, low_res_masks) if (mask == -10).all()]
        super()._tracker_update_memories(inference_session, frame_idx, low_res_masks, reconditioned_masks)

    def run_tracker_update_planning_phase(self, inference_session, frame_idx, det_out, **arguments):
        self.hidden = []
        plan, metadata = super().run_tracker_update_planning_phase(
            inference_session=inference_session, frame_idx=frame_idx, det_out=det_out, **arguments
        )
        extra, removed = metadata["extra_metadata"], plan["obj_ids_newly_removed"]
        often_unmatched = {
            i for i, frames in extra["unmatched_frame_inds"].items() if len(frames) >= self.hotstart_unmatch_thresh
        }
        matches = plan["det_to_matched_trk_obj_ids"]
        self.plans.append({
            "frame": frame_idx,
            "born": plan["new_det_obj_ids"],
            "matches": [matches.get(detection, []) for detection in range(len(det_out["scores"]))],
            "unmatched": plan["unmatched_trk_obj_ids"],
            "empty": self.empty,
            "removed": sorted(removed),
            "duplicates": sorted(removed - often_unmatched),
            "suppressed": sorted(extra["suppressed_obj_ids"][frame_idx] - removed),
            "hidden": self.hidden,
            "reconditioned": sorted(plan["reconditioned_obj_ids"] - removed),
            "dropped": plan["num_obj_dropped_due_to_limit"],
        })
        return plan, metadata

    def _get_objects_to_suppress_based_on_most_recently_occluded(self, masks, last_occluded, obj_ids, reverse=False):
        # PATCH: backwards in time transformers turns "later" round but not its -1 for "never" and its 100000 for
        # "always"; here time itself is turned round.
        if reverse:
            special = (last_occluded < 0) | (last_occluded == self.ALWAYS_OCCLUDED)
            last_occluded = torch.where(special, last_occluded, 1000 - last_occluded)
        return super()._get_objects_to_suppress_based_on_most_recently_occluded(masks, last_occluded, obj_ids)

    def run_tracker_propagation(self, inference_session, frame_idx, reverse):
        self.ids_before = list(inference_session.obj_ids)
        return super().run_tracker_propagation(inference_session, frame_idx, reverse)

    def build_outputs(self, inference_session, **arguments):
        # PATCH: where objects were removed, transformers would give the masks and scores of this frame to the wrong ids,
        # because its list of ids is already the shorter one. forward sets the list anew at its end.
        inference_session.obj_ids = self.ids_before
        return super().build_outputs(inference_session, **arguments)

    def correct(self, session, answer, obj, points):
        """Points on an object of the frame that was tracked last; gives its answer with the object's new mask."""
        # PATCH: Sam3VideoModel takes no points. Its tracker does, as Sam3TrackerVideoModel: this is what its forward does
        # for the one object, without running the others once more. What is kept of it is the official code's: the frame
        # becomes a conditioning frame, and those that the detector made nearby go.
        frame, tracker, index = answer.frame_idx, self.tracker_model, session.obj_id_to_idx(obj)
        coordinates = torch.tensor([[x, y] for x, y, _ in points]) * SCALE
        labels = torch.tensor([label for *_, label in points])
        shown = tracker._run_single_frame_inference(
            inference_session=session, frame_idx=frame, obj_idx=index, batch_size=1, is_init_cond_frame=False,
            point_inputs={"point_coords": coordinates[None, None], "point_labels": labels[None, None]},
            mask_inputs=None, reverse=False,
        )
        remembered = session.output_dict_per_obj[index]
        near = [at for at in remembered["cond_frame_outputs"] if abs(at - frame) <= self.CORRECTION_REACH]
        for at in near:
            del remembered["cond_frame_outputs"][at]
        remembered["non_cond_frame_outputs"].pop(frame, None)
        session.store_output(index, frame, output_value=shown, is_conditioning_frame=True)
        tracker._batch_encode_memories(
            session, frame, [index], [shown["high_res_masks"]], [shown["object_score_logits"]], [True]
        )
        self.settled.add(obj)
        clean = modeling_sam3_video.fill_holes_in_mask_scores(shown["pred_masks"], max_area=self.fill_hole_area)
        answer.obj_id_to_mask[obj] = clean[0]
        answer.obj_id_to_tracker_score[obj] = shown["object_score_logits"].sigmoid().item()
        return answer


def at_full_size(low_res):
    """Logits [N,h,w] as transformers brings them to the size of the video."""
    return F.interpolate(low_res.unsqueeze(1), size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)[:, 0]


def run_lengths(mask):
    """Run lengths of a mask, column by column, starting with background."""
    flat = np.concatenate(([False], mask.T.reshape(-1), [not mask.T.reshape(-1)[-1]]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], edges))).tolist()


def make_clip(out, name, frames, step, seed):
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


