"""Losses of following objects through a window of a clip: every frame after the first must find them again.

The masks of objects, their memories and pointers are what the model itself made, as when it is used, but gradients go
back one step only: from a frame through the memories it attends to, not through the answers those were made of.
"""
import numpy as np
import torch
import torch.nn.functional as F

from clips import box_of
from losses import mask_terms
from network import coverage_tensor, pixel_tensor
from object_losses import FAR, answer_losses, enlarged, first_prompts, overlaps
from video_network import ABSENT, best_of, kept

CERTAIN = 10.0  # logits of true masks
MISLED = 0.6  # of windows with given frames: some objects are remembered as something else on the last of them,
SPARED = 0.35  # but this share of objects is not
MISTAKES = {"other": 0.5, "both": 0.22, "absent": 0.18, "moved": 0.1}
ALIKE = 3.0  # times as often as another, an object is taken for one of its own colour
PICTURES = 6  # objects of a window that are prompted anew on some frame, as in a picture
FEWEST = 30  # cells of a mask to be prompted on
LEAST_SEEN = 0.5  # places of the coarse map that an object must cover to be compared


def told(video, fine, middle, coarse, masks, visible):
    """Answer as if coverage [N, S, S] had been found on a frame, where visible [N]: the pointer is that of the mask as a prompt."""
    logits = true_logits(masks, visible)
    with torch.no_grad():
        masks, quality, _, tokens = video.decoded(fine, middle, video.plain(coarse), mask=logits)
    answer = video.answer(masks, quality, torch.where(visible, CERTAIN, -CERTAIN)[:, None], tokens)
    return answer._replace(masks=torch.where(visible[:, None, None, None], logits, ABSENT), sure=visible)


def given_masks(data, rng):
    """Coverage [N, G, S, S] and visible bool [N, G] that the frames after the first are remembered with: the truth, but in
    a share of windows some objects are taken for something else on the last ones. What was prompted must be found again."""
    frames = slice(1, 1 + data["given"])
    true, seen, kinds = data["masks"][:, frames], data["visible"][:, frames] > 0, data["kinds"]
    masks, visible = true.clone(), seen.clone()
    if rng.random() >= MISLED or not data["given"]:
        return masks, visible
    for i in range(len(masks)):
        mistake = str(rng.choice(list(MISTAKES), p=list(MISTAKES.values())))
        wrong = slice(data["given"] - int(rng.integers(1, data["given"] + 1)), None)
        others = [j for j in range(len(masks)) if kinds[j] != kinds[i]]
        if rng.random() < SPARED or (mistake in ("other", "both") and not others):
            continue
        if mistake == "absent":
            visible[i, wrong] = False
        elif mistake == "moved":
            by = rng.integers(-true.shape[-1] // 5, true.shape[-1] // 5 + 1, 2).tolist()
            masks[i, wrong] = true[i, wrong].roll(by, (-2, -1))
        else:
            alike = np.array([ALIKE if kinds[j][0] == kinds[i][0] else 1.0 for j in others])
            j = int(rng.choice(others, p=alike / alike.sum()))
            masks[i, wrong] = true[j, wrong] if mistake == "other" else torch.maximum(true[i, wrong], true[j, wrong])
            visible[i, wrong] = seen[j, wrong] if mistake == "other" else seen[i, wrong] | seen[j, wrong]
    return masks, visible


def prompted_answer(video, fine, middle, coarse, data, kind, rng):
    """Answer on the first frame to a click, a box or a mask for every object."""
    gold = data["masks"][:, 0]
    if kind == "mask":
        size = (video.objects.resolution,) * 2
        return video.given(fine, middle, coarse, F.interpolate(gold[:, None], size, mode="bilinear", align_corners=False)[:, 0] > 0.5)
    with torch.no_grad():
        found = video.decoded(fine, middle, video.plain(coarse), *prompts(video, gold, data["boxes"], kind, rng))
    return video.answer(*found, single=kind == "box")


def prompts(video, gold, boxes, kind, rng):
    """Points and labels of a click or a box for coverage [N, S, S]."""
    cell = video.objects.resolution / gold.shape[-1]
    places, labels = first_prompts((gold > 0.5).numpy(), boxes.numpy(), kind, rng, cell)
    return (torch.from_numpy(places) + 0.5) * cell - 0.5, torch.from_numpy(labels)


def picture_losses(video, features, data, rng):
    """Losses of clicks and boxes on frames of a window, each as if it were a picture: of objects that are hidden in part first."""
    solid = data["masks"] > 0.5
    areas = solid.sum((2, 3))
    shares = (areas / areas.amax(1, keepdim=True).clamp(min=1)).numpy() * rng.uniform(0.2, 1, areas.shape)
    shares[areas.numpy() < FEWEST] = np.inf
    pairs = [divmod(int(at), areas.shape[1]) for at in np.argsort(shares, axis=None)[:PICTURES] if shares.flat[at] < np.inf]
    if not pairs:
        return {}
    gold = torch.stack([data["masks"][i, t] for i, t in pairs])
    boxes = torch.tensor([box_of(solid[i, t].numpy()) for i, t in pairs], dtype=torch.float32)
    kind = str(rng.choice(["click", "box"], p=[0.7, 0.3]))
    fine, middle, coarse = [f[[t for _, t in pairs]] for f in features]
    masks, quality, score, _ = video.decoded(fine, middle, video.plain(coarse), *prompts(video, gold, boxes, kind, rng))
    losses, _ = answer_losses(masks, quality, gold)
    return losses | {"object_score": F.binary_cross_entropy_with_logits(score, torch.ones_like(score))}


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


def frame_losses(video, now, conditioned, masks, quality, score, gold, visible):
    """Losses of what was found on one frame; `now` are its coarse features."""
    there = visible == 1
    chosen = masks[torch.arange(len(masks)), best_of(quality)][there, None]
    with torch.no_grad():
        # Those of the frame with its true mask as a prompt.
        wanted = video.plain(now) + mask_features(video, true_logits(gold, visible > 0))
    losses = {
        "video_features": feature_loss(conditioned, wanted, gold),
        # What was taken for something else is not what was asked for, however good its outline.
        "video_quality": (quality[:, 1:] - overlaps(masks[:, 1:], gold)).abs().mean(),
    }
    known = visible < 2  # hardly visible is neither; frames without the object are fewer, and count twice more
    if known.any():
        entropy = F.binary_cross_entropy_with_logits(score[known, 0], there[known].float(), reduction="none")
        gone = ~there[known]
        losses["video_score"] = entropy.mean() + (2 * entropy[gone].mean() if gone.any() else 0)
    if there.any():
        bce, dice = mask_terms(enlarged(chosen)[:, 0], gold[there], FAR)
        losses["video_mask"], losses["video_dice"] = bce.mean(), dice.mean()
    return losses


def looks_compared(helpers, coarse, masks):
    """Of objects on the first frame and those on later ones, logits [N, N, T - 1] of looking the same, whether they are, and
    whether both are seen: an object looks like the mean over its places, after `looks` the same are near each other.
    coarse [T, C, g, g], coverage [N, T, S, S]."""
    weights = F.avg_pool2d(masks, masks.shape[-1] // coarse.shape[-1]).flatten(2)
    seen = weights.sum(2) > LEAST_SEEN
    weights = weights * (weights > 0.5 * weights.amax(2, keepdim=True))
    means = torch.einsum("ntp,tcp->ntc", weights, coarse.flatten(2)) / weights.sum(2, keepdim=True).clamp(min=1e-6)
    looks = helpers.looks(means)
    logits = helpers.looks_bias - (looks[:, None, :1] - looks[None, :, 1:]).pow(2).sum(-1) / 8
    same = torch.eye(len(masks), dtype=torch.bool)[..., None].expand_as(logits)
    return logits, same, seen[:, None, :1] & seen[None, :, 1:]


def looks_loss(helpers, coarse, masks):
    """Whether an object of the first frame can be told from the others of later frames by its features."""
    logits, same, compared = looks_compared(helpers, coarse, masks)
    entropy = F.binary_cross_entropy_with_logits(logits, same.float(), reduction="none") * (1 + same.float()) / 2
    return (entropy * compared).sum() / compared.sum().clamp(min=1)


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


def window_backward(video, features, data, rng, teach, weights, with_pictures=False):
    """Forward and backward through a window, frame by frame, so that no more than one frame's graph is held.

    features are fine, middle and coarse of all frames, data a window's arrays as tensors; `teach` is the share of
    windows whose memories are made of true masks. With pictures its frames are asked for as such, too, which only the
    decoder learns from. Gives the mean losses over the frames, as numbers.
    """
    fine, middle, coarse = features
    count, frames = data["masks"].shape[:2]
    times = data["times"]
    counted = data["visible"][:, 1 + data["given"] :]
    scored, seen = int((counted < 2).any(0).sum()), int((counted == 1).any(0).sum())
    terms = {"video_score": scored, "video_mask": seen, "video_dice": seen}
    sums = {}

    def backward(losses, every=1):
        parts = {name: value / terms.get(name, every) for name, value in losses.items()}
        sum(weights[name] * value for name, value in parts.items()).backward()
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())

    def at(t):
        return [f[t : t + 1].expand(count, -1, -1, -1) for f in (fine, middle, coarse)]

    if with_pictures and (of_pictures := picture_losses(video, features, data, rng)):
        backward(of_pictures)
    kind = str(rng.choice(["click", "box", "mask"], p=[0.5, 0.2, 0.3]))
    made = video.remembered(at(0)[2], prompted_answer(video, *at(0), data, kind, rng), times[0], True)
    trail = [(made, used(made))]
    taught = rng.random() < teach
    given, given_there = given_masks(data, rng)
    for t in range(1, frames):
        gold, visible = data["masks"][:, t], data["visible"][:, t]
        now_fine, now_middle, now = at(t)
        if t <= data["given"]:
            answer = told(video, now_fine, now_middle, now, given[:, t - 1], given_there[:, t - 1])
        else:
            conditioned = video.conditioned(now, [seen for _, seen in trail], times[t])
            masks, quality, score, tokens = video.decoded(now_fine, now_middle, conditioned)
            backward(frame_losses(video, now, conditioned, masks, quality, score, gold, visible), counted.shape[1])
            if taught:
                answer = told(video, now_fine, now_middle, now, gold, visible > 0)
            else:
                answer = video.answer(masks.detach(), quality.detach(), score.detach(), tokens.detach())
        made = video.remembered(now, answer, times[t], False)
        trail.append((made, used(made)))
        staying = {memory.frame for memory in kept([made for made, _ in trail])}
        back_into([pair for pair in trail if pair[0].frame not in staying])
        trail = [pair for pair in trail if pair[0].frame in staying]
    back_into(trail)
    return sums


def window_tensors(window):
    """A window's arrays as tensors."""
    return {
        "pixels": pixel_tensor(window["pixels"]),
        "masks": coverage_tensor(window["masks"]),
        "visible": torch.from_numpy(window["visible"]), "boxes": torch.from_numpy(window["boxes"]),
        "times": window["times"].tolist(), "given": window["given"], "kinds": window["kinds"],
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
        memories = kept([*memories, video.remembered(now[2], found, t, t == 0)])
    return torch.stack(answers, 1)
