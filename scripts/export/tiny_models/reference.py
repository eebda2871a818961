"""What the real transformers model answers: the expected values of every parity test."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from sam3_export.roi_align import roi_align_reference
from sam3_export.transformers_import import Sam3Model
from transformers.models.sam3 import modeling_sam3

PADDING_BOX_LABEL = -10
SCORE_THRESHOLD = 0.5


def _roi_align(features: Tensor, boxes: list[Tensor], size: int) -> Tensor:
    """`torchvision.ops.roi_align` in the one form that transformers calls it."""
    rois = [torch.cat((torch.full_like(box[:, :1], index), box), dim=1) for index, box in enumerate(boxes)]
    return roi_align_reference(features, torch.cat(rois), 1.0, size, size, -1, False)


def use_our_roi_align() -> None:
    """Give transformers' geometry encoder the operation it wants from torchvision, where that is not installed."""
    if not hasattr(modeling_sam3, "torchvision"):
        modeling_sam3.torchvision = SimpleNamespace(ops=SimpleNamespace(roi_align=_roi_align))


@dataclass
class Prompts:
    """N concept prompts as the parts take them."""

    ids: Tensor
    mask: Tensor
    boxes: Tensor
    box_labels: Tensor
    box_mask: Tensor


def preprocess(picture: Tensor, resolution: int) -> Tensor:
    """picture [H,W,3] uint8 -> [1,3,R,R]: torchvision's Resize on uint8 (bilinear, antialias), /255, mean and std .5.

    torchvision's v2 transform calls this very `interpolate`; a test compares them.
    """
    small = F.interpolate(
        picture.permute(2, 0, 1)[None], size=(resolution, resolution), mode="bilinear", antialias=True
    )
    return (small.float() / 255 - 0.5) / 0.5


@torch.no_grad()
def run_detector(detector: Sam3Model, pixels: Tensor, prompts: Prompts) -> dict[str, Tensor]:
    """pixels [1,3,R,R] and N prompts -> the raw outputs of transformers' Sam3Model, eager, under their bundle names.

    A row without a valid box still gets the geometry encoder's CLS token: one padding box, as the model's authors do.
    """
    use_our_roi_align()
    labels = torch.where(prompts.box_mask, prompts.box_labels, PADDING_BOX_LABEL)
    boxes = prompts.boxes
    if boxes.shape[1] == 0:
        boxes = torch.zeros(len(boxes), 1, 4)
        labels = torch.full((len(boxes), 1), PADDING_BOX_LABEL)
    output = detector(
        pixel_values=pixels.expand(len(boxes), -1, -1, -1),
        input_ids=prompts.ids,
        attention_mask=prompts.mask.long(),
        input_boxes=boxes,
        input_boxes_labels=labels,
    )
    return {
        "logits": output.pred_logits,
        "pred_boxes": output.pred_boxes,
        "presence": output.presence_logits,
        "masks": output.pred_masks,
        "semantic": output.semantic_seg,
    }


def finish(raw: dict[str, Tensor], height: int, width: int, threshold: float = SCORE_THRESHOLD) -> dict[str, Tensor]:
    """Objects over the threshold, ordered by prompt and query, boxes in pixels, masks and semantic maps in the
    picture's size."""
    scores = raw["logits"].sigmoid() * raw["presence"].sigmoid()
    prompt, query = torch.nonzero(scores > threshold, as_tuple=True)
    masks = torch.zeros(0, height, width, dtype=torch.bool)
    if len(prompt):
        logits = raw["masks"][prompt, query][:, None]
        masks = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)[:, 0] > 0
    # As `post_process_semantic_segmentation`: probabilities are resized.
    semantic = F.interpolate(raw["semantic"].sigmoid(), size=(height, width), mode="bilinear", align_corners=False)
    return {
        "final_prompt": prompt,
        "final_query": query,
        "final_scores": scores[prompt, query],
        "final_boxes": raw["pred_boxes"][prompt, query] * torch.tensor([width, height, width, height]),
        "final_masks": masks,
        "final_semantic": semantic[:, 0] > 0.5,
    }
