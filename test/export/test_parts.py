"""Every part against transformers' own modules with the same random weights."""

from types import SimpleNamespace

import pytest
import torch

from sam3_export.examples import Sizes, example_inputs
from tiny_models.fixtures import CASES, build_case
from tiny_models.reference import Prompts, run_detector
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
RAW = ("logits", "pred_boxes", "presence", "masks", "semantic")


def inputs(model, part, **sizes):
    return example_inputs(model, part, torch.float32, Sizes(**sizes), seed=7)


@torch.no_grad()
def test_image_encoder(model, parts):
    (pixels,) = inputs(model, "image_encoder", pictures=2)
    vision = model.detector_model.vision_encoder(pixels)
    holder = SimpleNamespace(tracker_model=model.tracker_model, tracker_neck=model.tracker_neck)
    tracker, _ = Sam3VideoModel.get_vision_features_for_tracker(holder, vision)
    outputs = parts["image_encoder"](pixels)
    for ours, theirs in zip(outputs[:3], vision.fpn_hidden_states[:3], strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)
    for ours, theirs in zip(outputs[3:], tracker, strict=True):
        torch.testing.assert_close(ours.flatten(2).permute(2, 0, 1), theirs, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("tokens", [1, 7, 32])
def test_text_encoder(model, parts, tokens):
    ids, mask = inputs(model, "text_encoder", prompts=3, tokens=tokens)
    theirs = model.detector_model.get_text_features(input_ids=ids, attention_mask=mask.long()).pooler_output
    torch.testing.assert_close(parts["text_encoder"](ids, mask), theirs, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_concepts_from_picture_to_masks(model, parts, case):
    """The three parts in a row against Sam3Model; also with the rows of a batch computed one by one."""
    expected = build_case(model, case, seed=11)
    features = parts["image_encoder"](expected["pixels"])[:3]
    rows = {name: expected[name] for name in ("ids", "mask", "boxes", "box_labels", "box_mask")}
    batches = [rows] + [{name: value[row : row + 1] for name, value in rows.items()} for row in range(len(rows["ids"]))]
    for index, batch in enumerate(batches):
        n = len(batch["ids"])
        text = parts["text_encoder"](batch["ids"], batch["mask"])
        expanded = [feature.expand(n, -1, -1, -1) for feature in features]
        boxes = (batch["boxes"], batch["box_labels"], batch["box_mask"])
        outputs = parts["concept_decoder"](*expanded, text, batch["mask"], *boxes)
        wanted = [expected[name] if index == 0 else expected[name][index - 1 : index] for name in RAW]
        for name, ours, theirs in zip(RAW, outputs, wanted, strict=True):
            scale = max(1.0, float(theirs.abs().max()))
            assert (ours - theirs).abs().max() <= 1e-5 * scale, name


@torch.no_grad()
def test_padding_a_prompt_changes_nothing(model, parts):
    """Masked tokens and masked boxes may hold anything."""
    args = list(inputs(model, "concept_decoder", prompts=1, tokens=6, boxes=2))
    args[4][:] = True
    args[7][:] = True
    plain = parts["concept_decoder"](*args)
    text, text_mask, boxes, labels, box_mask = args[3:]
    padded = [
        torch.cat((text, torch.randn(1, 3, text.shape[2])), 1),
        torch.cat((text_mask, torch.zeros(1, 3, dtype=torch.bool)), 1),
        torch.cat((boxes, torch.rand(1, 2, 4)), 1),
        torch.cat((labels, torch.ones(1, 2, dtype=torch.int64)), 1),
        torch.cat((box_mask, torch.zeros(1, 2, dtype=torch.bool)), 1),
    ]
    for ours, theirs in zip(parts["concept_decoder"](*args[:3], *padded), plain, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))


@torch.no_grad()
def test_negative_boxes_and_order(model, parts):
    """A label matters; the order of boxes does not."""
    args = list(inputs(model, "concept_decoder", prompts=1, boxes=2))
    args[6], args[7] = torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool)
    logits = parts["concept_decoder"](*args)[0]
    both = parts["concept_decoder"](*args[:6], torch.tensor([[1, 1]]), args[7])[0]
    swapped = parts["concept_decoder"](*args[:5], args[5].flip(1), args[6].flip(1), args[7])[0]
    assert (logits - both).abs().max() > 1e-3
    torch.testing.assert_close(logits, swapped, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_text_only_carries_the_cls_token(model, parts):
    """Without boxes the answer is the one with a padding box, not the one without any geometry."""
    (pixels,) = inputs(model, "image_encoder")
    ids, mask = inputs(model, "text_encoder", prompts=1)
    mask[:] = True
    none = (torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.bool))
    expected = run_detector(model.detector_model, pixels, Prompts(ids, mask, *none))
    bare = model.detector_model(pixel_values=pixels, input_ids=ids, attention_mask=mask.long())
    outputs = parts["concept_decoder"](
        *parts["image_encoder"](pixels)[:3], parts["text_encoder"](ids, mask), mask, *none
    )
    torch.testing.assert_close(outputs[0], expected["logits"], **CLOSE)
    assert (outputs[0] - bare.pred_logits).abs().max() > 1e-3
