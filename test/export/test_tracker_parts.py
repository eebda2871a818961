"""The tracker's parts against transformers' Sam3TrackerVideoModel with the same random weights.

The helpers here are the arithmetic that `docs/bundle.md` leaves to the caller.
"""

import pytest
import torch
import torch.nn.functional as F

from sam3_export.examples import Sizes, example_inputs

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
NO_OBJECT = -1024.0


def inputs(model, part, **sizes):
    return example_inputs(model, part, torch.float32, Sizes(**sizes), seed=7)


def choose(outputs, constants, multimask, delta=0.05, threshold=0.98):
    """Mask, quality and pointer of one object from the four tokens."""
    masks, quality, object_score, pointers = outputs
    row = torch.arange(len(masks))
    best = quality[:, 1:].argmax(1) + 1
    if multimask:
        mask_token, pointer_token = best, best
    else:
        single = masks[:, 0].flatten(1)
        inner, outer = (single > delta).sum(1).float(), (single > -delta).sum(1).float()
        stable = torch.where(outer > 0, inner / outer, 1.0) >= threshold
        mask_token, pointer_token = torch.where(stable, 0, best), torch.zeros_like(best)
    appears = object_score > 0
    mask = torch.where(appears[..., None], masks[row, mask_token], NO_OBJECT)
    pointer = torch.where(appears, pointers[row, pointer_token], constants.no_object_pointer)
    return mask, quality[row, mask_token], pointer


@torch.no_grad()
@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", ["points", "box", "mask", "nothing"])
def test_object_decoder(model, parts, prompt, multimask):
    tracker = model.tracker_model
    n, resolution = 3, tracker.image_size
    fine, middle, coarse, points, _, mask, _ = inputs(model, "object_decoder", prompts=n, points=2)
    labels = torch.tensor([[1, 0], [1, 1], [0, -1]])
    corners = torch.rand(n, 2, 2).sort(1).values * resolution
    theirs = {"input_points": None, "input_labels": None, "input_boxes": None, "input_masks": None}
    ours_points, ours_labels = torch.zeros(n, 1, 2), torch.full((n, 1), -1)
    if prompt == "points":
        theirs |= {"input_points": points[:, None], "input_labels": labels[:, None]}
        ours_points, ours_labels = points, labels
    if prompt == "box":
        theirs["input_boxes"] = corners.flatten(1)[:, None]
        ours_points, ours_labels = corners, torch.tensor([[2, 3]]).expand(n, -1)
    if prompt == "mask":
        theirs["input_masks"] = mask
    has_mask = torch.full((n,), prompt == "mask")

    outputs = parts["object_decoder"](fine, middle, coarse, ours_points, ours_labels, mask, has_mask)
    mask_out, quality, pointer = choose(outputs, parts["tracker_constants"], multimask)
    # transformers' tracker takes one object at a time.
    for row in range(n):
        one = {name: value if value is None else value[row : row + 1] for name, value in theirs.items()}
        features = [feature[row : row + 1] for feature in (fine, middle, coarse)]
        expected = tracker._single_frame_forward(image_embeddings=features, multimask_output=multimask, **one)
        torch.testing.assert_close(outputs[2][row], expected.object_score_logits[0, 0], **CLOSE)
        torch.testing.assert_close(mask_out[row], expected.pred_masks[0, 0], **CLOSE)
        torch.testing.assert_close(pointer[row], expected.object_pointer[0, 0], **CLOSE)
        torch.testing.assert_close(quality[row], expected.iou_scores.max(), **CLOSE)


@torch.no_grad()
def test_points_with_a_box(model, parts):
    """transformers puts the corners and the padding point after the points; ours come as the caller lists them."""
    tracker = model.tracker_model
    fine, middle, coarse, points, _, mask, _ = inputs(model, "object_decoder", prompts=1, points=2)
    labels = torch.tensor([[1, 0]])
    corners = torch.tensor([[[9.0, 7], [30, 40]]])
    sparse, dense = tracker.prompt_encoder(points[:, None], labels[:, None], corners.flatten(1)[:, None], None)
    masks, _, _, object_score = tracker.mask_decoder(
        image_embeddings=coarse,
        image_positional_embeddings=tracker.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        high_resolution_features=[fine, middle],
    )
    for order in ((points, corners), (corners, points)):
        all_labels = torch.tensor([[1, 0, 2, 3]] if order[0] is points else [[2, 3, 1, 0]])
        ours = parts["object_decoder"](
            fine, middle, coarse, torch.cat(order, 1), all_labels, mask, torch.tensor([False])
        )
        torch.testing.assert_close(ours[0][:, 1:], masks[:, 0], **CLOSE)
        torch.testing.assert_close(ours[2], object_score[:, 0], **CLOSE)


@torch.no_grad()
def test_object_decoder_tells_rows_with_masks_apart(model, parts):
    args = list(inputs(model, "object_decoder", prompts=2))
    args[6] = torch.tensor([True, False])
    mixed = parts["object_decoder"](*args)
    for row, has_mask in enumerate(args[6]):
        single = parts["object_decoder"](*(value[row : row + 1] for value in args[:6]), has_mask[None])
        for ours, alone in zip(mixed, single, strict=True):
            torch.testing.assert_close(ours[row : row + 1], alone, **CLOSE)


@torch.no_grad()
def test_ignored_points_leave_an_empty_token(model, parts):
    """Label -10, transformers' padding."""
    args = list(inputs(model, "object_decoder", prompts=1, points=2))
    args[4], args[6] = torch.tensor([[1, -10]]), torch.tensor([False])
    expected = model.tracker_model._single_frame_forward(
        image_embeddings=args[:3], input_points=args[3][:, None], input_labels=args[4][:, None], multimask_output=True
    )
    mask, _, _ = choose(parts["object_decoder"](*args), parts["tracker_constants"], True)
    torch.testing.assert_close(mask, expected.pred_masks[:, 0], **CLOSE)


@torch.no_grad()
def test_memory_encoder(model, parts):
    features, mask = inputs(model, "memory_encoder", prompts=3)
    memory, position = model.tracker_model.memory_encoder(features, mask)
    ours = parts["memory_encoder"](features, mask)
    torch.testing.assert_close(ours[0], memory, **CLOSE)
    # transformers' table has one row for all, ours one per object.
    torch.testing.assert_close(ours[1], position.expand_as(memory), **CLOSE)


@torch.no_grad()
def test_memory_as_the_tracking_loop_makes_it(model, parts):
    """`_encode_new_memory` of transformers: scale, encode, add `no_object_spatial` where the object is hidden."""
    tracker, constants = model.tracker_model, parts["tracker_constants"]
    features, logits = inputs(model, "memory_encoder", prompts=2)
    score = torch.tensor([[3.0], [-3.0]])
    for from_points in (True, False):
        theirs, _ = tracker._encode_new_memory(
            features.flatten(2).permute(2, 0, 1), logits, score[:, None], from_points
        )
        scaled = (logits > 0).float() if from_points else logits.sigmoid()
        config = tracker.config
        scaled = scaled * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        memory, _ = parts["memory_encoder"](features, scaled)
        memory = memory + (score <= 0)[..., None, None] * constants.no_object_spatial[..., None, None]
        # transformers stores memories in bf16; both sides round the same numbers.
        ours = memory.to(torch.bfloat16).flatten(2).permute(2, 0, 1)
        torch.testing.assert_close(ours.float(), theirs.float(), atol=1e-2, rtol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize(("memories", "pointers"), [(1, 0), (1, 4), (3, 0), (7, 32)])
def test_memory_attention(model, parts, memories, pointers):
    args = inputs(model, "memory_attention", prompts=2, memories=memories, pointers=pointers)
    coarse, memory, memory_position, pointer, pointer_position = args
    tracker = model.tracker_model
    flat = coarse.flatten(2).permute(2, 0, 1)
    shape = (1, tracker.hidden_dim, *coarse.shape[-2:])
    position = model.tracker_neck.position_encoding(shape, coarse.device, coarse.dtype)
    theirs = tracker.memory_attention(
        current_vision_features=flat,
        current_vision_position_embeddings=position.flatten(2).permute(2, 0, 1),
        memory=torch.cat((memory, pointer), 1).transpose(0, 1),
        memory_posision_embeddings=torch.cat((memory_position, pointer_position), 1).transpose(0, 1),
        num_object_pointer_tokens=pointers,
    )
    torch.testing.assert_close(parts["memory_attention"](*args).flatten(2), theirs[0].transpose(1, 2), **CLOSE)


@torch.no_grad()
def test_filling_of_shorter_memories_changes_nothing(model, parts):
    """Objects that remember 1 to 7 frames and 0 to 16 pointers, as one batch and each alone."""
    attention = parts["memory_attention"]
    cells = model.tracker_model.backbone_feature_sizes[-1][0] ** 2
    lengths = [(1, 0), (7, 32), (3, 32), (7, 4), (2, 6)]
    n, frames, tokens = len(lengths), 7, 32
    coarse, *whole = inputs(model, "memory_attention", prompts=n, memories=frames, pointers=tokens)
    there = torch.zeros(n, frames * cells, dtype=torch.bool), torch.zeros(n, tokens, dtype=torch.bool)
    for row, (memories, pointers) in enumerate(lengths):
        there[0][row, : memories * cells] = True
        there[1][row, :pointers] = True
    # What fills up may hold anything that is a number.
    filled = [
        torch.where(there[part // 2][..., None], value, torch.full_like(value, 1e3)) for part, value in enumerate(whole)
    ]
    together = attention.masked(coarse, *filled, *there)
    for row, (memories, pointers) in enumerate(lengths):
        own = [
            value[row : row + 1, : memories * cells if part < 2 else pointers] for part, value in enumerate(whole)
        ]
        alone = attention(coarse[row : row + 1], *own)
        torch.testing.assert_close(together[row : row + 1], alone, **CLOSE)


@torch.no_grad()
def test_constants(model, parts):
    constants, tracker = parts["tracker_constants"], model.tracker_model
    assert torch.equal(constants.no_memory, tracker.no_memory_embedding.view(1, -1, 1, 1))
    assert torch.equal(constants.memory_temporal, tracker.memory_temporal_positional_encoding[:, 0, 0])
    mask = torch.rand(1, 1, tracker.image_size, tracker.image_size)
    ours = F.conv2d(mask, constants.mask_downsample_weight, constants.mask_downsample_bias, stride=4)
    assert torch.equal(ours, tracker.mask_downsample(mask))
    time = torch.randn(5, tracker.hidden_dim)
    ours = F.linear(time, constants.pointer_temporal_weight, constants.pointer_temporal_bias)
    assert torch.equal(ours, tracker.temporal_positional_encoding_projection_layer(time))


@torch.no_grad()
@pytest.mark.parametrize("empty", [False, True])
def test_mask_as_answer(model, parts, empty):
    """A given mask is taken as it is; only its pointer is computed."""
    tracker, constants = model.tracker_model, parts["tracker_constants"]
    fine, middle, coarse, *_ = inputs(model, "object_decoder", prompts=1)
    side = tracker.image_size
    mask = torch.zeros(1, 1, side, side)
    if not empty:
        mask[:, :, 10:40, 20:50] = 1
    theirs = tracker._use_mask_as_output(coarse, [fine, middle], mask)

    small = (4 * coarse.shape[-1],) * 2
    resize = {"size": small, "mode": "bilinear", "align_corners": False, "antialias": True}
    torch.testing.assert_close(F.interpolate(20 * mask - 10, **resize), theirs.pred_masks, **CLOSE)
    prompt = F.conv2d(mask, constants.mask_downsample_weight, constants.mask_downsample_bias, stride=4)
    nothing = (torch.zeros(1, 1, 2), torch.tensor([[-1]]))
    outputs = parts["object_decoder"](
        fine, middle, coarse, *nothing, F.interpolate(prompt, **resize), torch.tensor([True])
    )
    _, _, pointer = choose(outputs, constants, multimask=True)
    if empty:
        pointer = constants.no_object_pointer
    torch.testing.assert_close(pointer, theirs.object_pointer[:, 0], **CLOSE)
    assert float(theirs.object_score_logits) == (-10 if empty else 10)
