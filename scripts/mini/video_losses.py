"""Losses of following objects through a window of a clip: every frame after the first must find them again.

The masks of objects, their memories and pointers are what the model itself made, as when it is used, but gradients go
back one step only: from a frame through the memories it attends to, not through the answers those were made of.
"""
import numpy as np
import torch
import torch.nn.functional as F

from losses import mask_terms
from object_losses import FAR, enlarged, first_prompts
from video_network import ABSENT, Answer, kept

CERTAIN = 10.0  # logits of true masks


def true_answer(masks, visible, pointer):
    """What a perfect answer would have been: coverage [N, S, S] on a frame."""
    score = torch.where(visible, CERTAIN, -CERTAIN)[:, None]
    return Answer(torch.where(visible[:, None, None, None], true_logits(masks, visible), ABSENT), score, pointer)


def prompted_answer(video, fine, middle, coarse, data, kind, rng):
    """Answer on the first frame to a click, a box or a mask for every object."""
    gold = data["masks"][:, 0]
    if kind == "mask":
        size = (video.objects.resolution,) * 2
        return video.given(fine, middle, coarse, F.interpolate(gold[:, None], size, mode="bilinear", align_corners=False)[:, 0] > 0.5)
    cell = video.objects.resolution / gold.shape[-1]
    places, labels = first_prompts((gold > 0.5).numpy(), data["boxes"].numpy(), kind, rng, cell)
    points = (torch.from_numpy(places) + 0.5) * cell - 0.5
    found = video.decoded(fine, middle, video.plain(coarse), points, torch.from_numpy(labels))
    return video.answer(*found, single=kind == "box")


def true_logits(masks, visible):
    """Low-resolution logits [N, 1, S / 2, S / 2] of coverage [N, S, S], all of them negative where nothing is visible."""
    low = (F.avg_pool2d(masks[:, None], 2) - 0.5) * 2 * CERTAIN
    return torch.where(visible[:, None, None, None], low, -CERTAIN)


def mask_features(video, logits):
    """What a mask as a prompt adds to a frame's features."""
    prompts = video.tracker.prompt_encoder
    return prompts.mask_embed(logits) - prompts.no_mask_embed.weight[..., None, None]


def mask_loss(video, masks, visible):
    """The memory encoder's view of masks should start as the prompt encoder's, which the decoder understands."""
    logits = true_logits(masks, visible)
    with torch.no_grad():
        wanted = mask_features(video, logits)
    made = video.tracker.memory_encoder.mask_downsampler(video.scaled(logits, prompted=True))
    return (made - wanted).pow(2).mean()


def feature_loss(features, wanted, masks):
    """Mean square of the difference, the places around the object before all."""
    grid = features.shape[-1]
    near = F.max_pool2d(F.avg_pool2d(masks[:, None], masks.shape[-1] // grid), 3, 1, 1).clamp(0, 1)
    weight = 0.1 + near
    return ((features - wanted).pow(2).mean(1, keepdim=True) * weight).sum() / weight.sum()


def frame_losses(video, now, conditioned, masks, score, gold, visible):
    """Losses of the masks [N, S / 2, S / 2] that were found on one frame; `now` are its coarse features."""
    there = visible == 1
    with torch.no_grad():
        # Those of the frame with its true mask as a prompt.
        wanted = video.plain(now) + mask_features(video, true_logits(gold, visible > 0))
    losses = {"video_features": feature_loss(conditioned, wanted, gold)}
    known = visible < 2  # hardly visible is neither; frames without the object are fewer, and count once more
    if known.any():
        entropy = F.binary_cross_entropy_with_logits(score[known, 0], there[known].float(), reduction="none")
        gone = ~there[known]
        losses["video_score"] = entropy.mean() + (entropy[gone].mean() if gone.any() else 0)
    if there.any():
        bce, dice = mask_terms(enlarged(masks[there, None])[:, 0], gold[there], FAR)
        losses["video_mask"], losses["video_dice"] = bce.mean(), dice.mean()
    return losses


def used(memory):
    """A memory whose gradients stay with it, until `back_into` hands them on."""
    return memory._replace(map=memory.map.detach().requires_grad_(), pointer=memory.pointer.detach().requires_grad_())


def back_into(trail):
    """Backward through what made memories, with the gradients that later frames left in them: pairs of a memory as it was
    made, and as it was used."""
    for made, seen in trail:
        pairs = [(m, s.grad) for m, s in ((made.map, seen.map), (made.pointer, seen.pointer)) if s.grad is not None]
        if pairs:
            torch.autograd.backward(*zip(*pairs))


def window_backward(video, features, data, rng, teach, weights):
    """Forward and backward through a window, frame by frame, so that no more than one frame's graph is held.

    features are fine, middle and coarse of all frames, data a window's arrays as tensors; `teach` is the share of
    windows whose memories are made of true masks. Gives the mean losses over the frames, as numbers.
    """
    fine, middle, coarse = features
    count, frames = data["masks"].shape[:2]
    times, rows = data["times"], torch.arange(count)
    counted = data["visible"][:, 1 + data["given"] :]
    scored, seen = int((counted < 2).any(0).sum()), int((counted == 1).any(0).sum())
    terms = {"video_features": counted.shape[1], "video_score": scored, "video_mask": seen, "video_dice": seen}
    sums = {}

    def at(t):
        return [f[t : t + 1].expand(count, -1, -1, -1) for f in (fine, middle, coarse)]

    kind = str(rng.choice(["click", "box", "mask"], p=[0.35, 0.25, 0.4]))
    made = video.remembered(at(0)[2], prompted_answer(video, *at(0), data, kind, rng), times[0], True)
    trail = [(made, used(made))]
    taught = rng.random() < teach
    for t in range(1, frames):
        gold, visible = data["masks"][:, t], data["visible"][:, t]
        now_fine, now_middle, now = at(t)
        given = t <= data["given"]
        conditioned = video.conditioned(now, [seen for _, seen in trail], times[t])
        masks, quality, score, tokens = video.decoded(now_fine, now_middle, conditioned)
        best = 1 + quality[:, 1:].argmax(1)
        if not given:
            losses = frame_losses(video, now, conditioned, masks[rows, best], score, gold, visible)
            sum(weights[name] / terms[name] * value for name, value in losses.items()).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / terms[name]
        if given or taught:
            pointer = torch.where((visible > 0)[:, None], video.tracker.object_pointer_proj(tokens[rows, best].detach()), video.tracker.no_object_pointer)
            answer = true_answer(gold, visible > 0, pointer)
        else:
            answer = video.answer(masks.detach(), quality.detach(), score.detach(), tokens.detach())
        made = video.remembered(now, answer, times[t], False)
        trail.append((made, used(made)))
        staying = {memory.frame for memory in kept([made for made, _ in trail], times[t])}
        back_into([pair for pair in trail if pair[0].frame not in staying])
        trail = [pair for pair in trail if pair[0].frame in staying]
    back_into(trail)
    return sums


def window_tensors(window):
    """A window's arrays as tensors."""
    return {
        "pixels": torch.from_numpy(window["pixels"]).float().div_(127.5).sub_(1),
        "masks": torch.from_numpy(window["masks"]).float().div_(255),
        "visible": torch.from_numpy(window["visible"]), "boxes": torch.from_numpy(window["boxes"]),
        "times": window["times"].tolist(), "given": window["given"],
    }


@torch.no_grad()
def follow(video, features_of, frames, data, kind, rng):
    """Masks bool [N, T, 4g, 4g] of objects prompted on the first frame of a clip; features_of(t) are one frame's."""
    answers, memories = [], []
    count = len(data["masks"])
    for t in range(frames):
        now = [f.expand(count, -1, -1, -1) for f in features_of(t)]
        if t == 0:
            found = prompted_answer(video, *now, data, kind, rng)
        else:
            found = video.answer(*video.decoded(now[0], now[1], video.conditioned(now[2], memories, t)))
        answers.append(found.masks[:, 0])
        memories = kept([*memories, video.remembered(now[2], found, t, t == 0)], t)
    return torch.stack(answers, 1)
