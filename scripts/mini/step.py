"""One training step's losses: pictures, words and exemplar boxes to objects, and the share of object prompts."""
import numpy as np
import torch
import torch.nn.functional as F

from losses import (
    box_iou_terms, box_losses, box_owners, cover_loss, dense_targets, exemplar_label_loss, exemplar_loss, exemplar_name_loss, local_masks,
    mask_losses, match, name_loss, place_loss, score_loss, word_loss,
)
from model import build_model, place_code
from network import Helpers, TrainingForward, corners, coverage_tensor, pixel_tensor
from object_losses import object_losses
from object_network import ObjectForward
from tokenizer import kind_of_token

MASK_PICTURES, MASK_PAIRS, TEXT_LENGTH = 4, 6, 16
ALL_PLACES_FROM = 0.8  # place in the schedule from which every pair sees the whole picture
WEIGHTS = {
    "score": 2.0, "presence": 1.5, "l1": 5.0, "giou": 2.0, "mask": 4.0, "dice": 4.0, "semantic": 1.0,
    "vit_kinds": 6.0, "fpn_kinds": 6.0, "fpn_box": 1.0, "fine": 1.5, "cover": 16.0,
    "vit_names": 1.5, "fpn_names": 1.5, "vit_local": 2.0, "word": 6.0, "exemplar": 6.0, "exemplar_names": 1.0, "exemplar_label": 1.0, "level": 0.1, "fpn_place": 1.5,
    "memory_place": 2.0, "pixel_place": 2.0,
    "object_cover": 16.0, "object_mask": 2.0, "object_dice": 2.0, "object_quality": 1.0, "object_score": 0.3,
}


def tensors(batch, pad):
    """A batch's arrays as tensors; texts are padded to one length, boxes to the most any pair has."""
    pixels = pixel_tensor(batch["pixels"])
    masks = coverage_tensor(batch["masks"])
    objects = torch.from_numpy(batch["objects"])
    pairs = batch["pairs"]
    ids = torch.full((len(pairs), TEXT_LENGTH), pad)
    text_mask = torch.zeros(len(pairs), TEXT_LENGTH, dtype=torch.bool)
    most = max(1, max(len(p[2]) for p in pairs))
    boxes = torch.full((len(pairs), most, 4), 0.5)
    box_mask = torch.zeros(len(pairs), most, dtype=torch.bool)
    labels = torch.zeros(len(pairs), most, dtype=torch.long)
    for i, (_, tokens, given, _, _) in enumerate(pairs):
        tokens = tokens if len(tokens) <= TEXT_LENGTH else tokens[: TEXT_LENGTH - 1] + tokens[-1:]
        ids[i, : len(tokens)] = torch.tensor(tokens)
        text_mask[i, : len(tokens)] = True
        for j, (box, label) in enumerate(given):
            boxes[i, j], box_mask[i, j], labels[i, j] = torch.tensor(box), True, label
    return {
        "pixels": pixels, "masks": masks, "objects": objects, "ids": ids, "text_mask": text_mask, "boxes": boxes,
        "box_mask": box_mask, "labels": labels, "row": torch.tensor([p[0] for p in pairs]),
        "targets": [p[3] for p in pairs], "kinds": [p[4] for p in pairs],
    }


def prompt_features(net, data, text, coarse, cls_for_text):
    """Text, boxes and CLS token of every pair; the geometry encoder runs on pairs with boxes only."""
    boxed = data["box_mask"].any(1)
    pairs, most = data["box_mask"].shape
    rows = data["row"]
    extra = text.new_zeros(pairs, most + 1, text.shape[-1])
    extra_mask = torch.zeros(pairs, most + 1, dtype=torch.bool)
    if boxed.any():
        made, made_mask = net.geometry(data["boxes"][boxed], data["box_mask"][boxed], data["labels"][boxed], coarse[rows[boxed]])
        at = boxed.nonzero().squeeze(1)
        extra = extra.index_put((at,), made)
        extra_mask[boxed] = made_mask
    if cls_for_text and not boxed.all():
        none = data["boxes"].new_zeros(len(coarse), 0, 4)
        cls, _ = net.geometry(none, none[..., 0].bool(), none[..., 0].long(), coarse)
        at = (~boxed).nonzero().squeeze(1)
        extra = extra.index_put((at, torch.full_like(at, most)), cls[rows[at], 0])
        extra_mask[at, most] = True
    return torch.cat([text, extra], 1), torch.cat([data["text_mask"], extra_mask], 1)


def choose_for_masks(data, generator):
    """A few pictures, and the pairs on them whose masks are trained: the fine maps are dear.

    Pairs with many objects rather: telling those apart is what takes longest.
    """
    pictures = torch.randperm(len(data["pixels"]), generator=generator)[:MASK_PICTURES]
    mine = (data["row"][:, None] == pictures).any(1).nonzero().squeeze(1)
    luck = torch.rand(len(mine), generator=generator).tolist()
    best = sorted(zip(mine.tolist(), luck), key=lambda item: -item[1] * len(data["targets"][item[0]]))
    return pictures, [p for p, _ in best[:MASK_PAIRS]]


def places_to_keep(covered, generator):
    """Half of the places of every picture [B, K]: those with objects and their neighbours, the rest by chance.

    covered [B, g*g]. The DETR part sees no other places of most pairs until late in the training: it costs half.
    """
    grid = int(covered.shape[1] ** 0.5)
    near = F.max_pool2d(covered.unflatten(1, (grid, grid))[:, None], 3, 1, 1).flatten(1) > 0
    chance = torch.rand(covered.shape, generator=generator)
    return (near + chance).topk(covered.shape[1] // 2, dim=1).indices.sort(1).values


class Step(torch.nn.Module):
    """The losses of one batch; their weights are WEIGHTS."""

    def __init__(self, model):
        super().__init__()
        self.net = TrainingForward(model)
        self.objects = ObjectForward(model.config)
        self.helpers = Helpers()
        self.kind_of_token = torch.tensor(kind_of_token())
        self.object_share = {}  # what `object_losses` shall do otherwise than by itself
        self.detector_only = False
        at = (torch.arange(self.net.grid) + 0.5) / self.net.grid
        y, x = torch.meshgrid(at, at, indexing="ij")
        self.places = torch.stack([x, y], -1).view(1, -1, 2)
        self.own_place = place_code(self.places[0])

    def keep_shared(self):
        """Only what finds concepts learns from here on; what object prompts and video go by stays as it is."""
        self.detector_only = True
        self.net.model.vision_encoder.backbone.requires_grad_(False)
        self.objects.requires_grad_(False)

    def forward(self, data, progress, generator, vision_only=False):
        net = self.net
        pictures = len(data["pixels"])
        truth = dense_targets(data["masks"], data["objects"], pictures, net.grid)
        tokens = net.backbone(data["pixels"])
        coarse = net.neck(tokens, levels=(2,))[2]
        text = net.text(data["ids"], data["text_mask"])
        losses = self.place_losses(data, tokens, coarse, text, truth)
        cls_for_text = torch.rand((), generator=generator).item() < 0.5
        prompt, mask = prompt_features(net, data, text, coarse, cls_for_text and not vision_only)
        losses |= self.box_losses(data, prompt[:, text.shape[1] : -1], coarse, truth)
        if not vision_only:
            losses |= self.concept_losses(data, tokens, coarse, prompt, mask, truth, progress, generator)
            if len(data["objects"]) and not self.detector_only:
                rng = np.random.default_rng(int(torch.randint(1 << 31, (), generator=generator)))
                losses |= object_losses(self.objects, self.helpers.object_cover, tokens, data, rng, **self.object_share)
        return losses

    def pixel_place_loss(self, pixel, wanted_of, data):
        """Pixel features must tell the centre of their object, or masks of like objects run together: every second cell."""
        cells = self.helpers.pixel_place(pixel[:, :, ::2, ::2].flatten(2).transpose(1, 2))
        total, count = cells.sum() * 0, 0
        for seen, targets in zip(cells, wanted_of):
            if targets:
                masks = data["masks"][targets]
                cover, owner = F.avg_pool2d(masks[:, None], masks.shape[-1] // (2 * self.net.grid)).flatten(1).max(0)
                at = cover > 0.5
                centres = place_code(data["objects"][targets, 3:5])[owner[at]]
                total, count = total + (seen[at] - centres).pow(2).mean(-1).sum(), count + int(at.sum())
        return total / max(count, 1)

    def exported(self):
        """The weights that make up the model, by their names in an exported folder."""
        return {**self.net.model.state_dict(), **self.objects.state_dict()}

    def place_losses(self, data, tokens, coarse, text, truth):
        """What every place of the picture side's outputs must tell: kinds, names, outlines, boxes, words."""
        net, helpers = self.net, self.helpers
        kinds, _, owner, owner_weight, _ = truth
        losses = {}
        flat = coarse.flatten(2).transpose(1, 2)
        seen = helpers.vit_norm(tokens)
        losses["vit_kinds"] = cover_loss(helpers.vit_kinds(seen), kinds)
        losses["vit_names"] = name_loss(helpers.vit_names(seen), data["objects"], owner, owner_weight)
        local = local_masks(data["masks"], data["objects"], len(tokens), net.grid)
        losses["vit_local"] = cover_loss(helpers.vit_local(seen), local)
        losses["level"] = flat.pow(2).mean().log().pow(2)  # large features would drown the prompt in the DETR encoder
        normal = helpers.fpn_norm(flat)
        losses["fpn_kinds"] = cover_loss(helpers.fpn_kinds(normal), kinds)
        losses["fpn_names"] = name_loss(helpers.fpn_names(normal), data["objects"], owner, owner_weight)
        side = F.softplus(helpers.fpn_boxes(normal) - 2.0)
        centre = self.places
        guess = torch.cat([centre - side[..., :2], centre + side[..., 2:]], -1)
        if len(data["objects"]):
            _, giou = box_iou_terms(guess, corners(data["objects"][:, 3:7])[owner])
            losses["fpn_box"] = ((1 - giou) * owner_weight).sum() / owner_weight.sum().clamp(min=1)
        losses["fpn_place"] = place_loss(
            helpers.fpn_place(normal), self.own_place, place_code(data["objects"][:, 3:5]), owner, owner_weight,
        )
        losses["word"] = word_loss(
            normal, text, data["ids"], data["row"], kinds, self.kind_of_token, helpers.word_scale, helpers.word_bias,
        )
        return losses

    def box_losses(self, data, tokens, coarse, truth):
        """What every exemplar box's token must tell: its object's names, and where else they are."""
        helpers = self.helpers
        pair, at, own = box_owners(data["boxes"], data["box_mask"], data["row"], data["objects"])
        made = tokens[pair, at]
        return {
            "exemplar": exemplar_loss(
                helpers.fpn_norm(coarse.flatten(2).transpose(1, 2)), made, data["row"][pair], own, data["objects"],
                truth[4], helpers.word_scale, helpers.word_bias,
            ),
            "exemplar_names": exemplar_name_loss(helpers.box_names(made), own),
            "exemplar_label": exemplar_label_loss(helpers.box_label(made).squeeze(-1), data["labels"][pair, at]),
        }

    def concept_losses(self, data, tokens, coarse, prompt, mask, truth, progress, generator):
        """What every prompt must find."""
        net, helpers = self.net, self.helpers
        _, _, owner, owner_weight, coarse_masks = truth
        centres = place_code(data["objects"][:, 3:5])
        losses = {}
        flat = coarse.flatten(2).transpose(1, 2)
        mask4 = mask[:, None, None, :]
        row, targets = data["row"], data["targets"]
        cover = torch.zeros(len(row), net.grid**2)
        for i, t in enumerate(targets):
            if t:
                cover[i] = coarse_masks[t].sum(0)
        pictures, masked = choose_for_masks(data, generator)
        groups = [(torch.arange(len(row)), None)]
        if progress < ALL_PLACES_FROM:
            others = torch.tensor([p for p in range(len(row)) if p not in masked], dtype=torch.long)
            kept = places_to_keep(truth[0].sum(2), generator)
            groups = [(torch.tensor(masked, dtype=torch.long), None), (others, kept[row[others]])]
        parts, memory_of_masked = [], None
        for pairs, keep in groups:
            tokens_here = flat.index_select(0, row[pairs])
            if keep is not None:
                tokens_here = tokens_here.gather(1, keep[..., None].expand(-1, -1, flat.shape[-1]))
            memory = net.encode(tokens_here, prompt[pairs], mask4[pairs], keep)
            found = net.decode(memory, prompt[pairs], mask4[pairs], keep)
            at = torch.arange(net.grid**2).expand(len(pairs), -1) if keep is None else keep
            normal = helpers.memory_norm(memory)
            here = {
                "cover": cover_loss(helpers.prompt_cover(normal).squeeze(-1), cover[pairs].clamp(0, 1).gather(1, at)),
                "memory_place": place_loss(
                    helpers.memory_place(normal), self.own_place[at], centres, owner[row[pairs]].gather(1, at),
                    owner_weight[row[pairs]].gather(1, at),
                ),
            }
            for name, value in here.items():
                losses[name] = losses.get(name, 0) + value * len(pairs) / len(row)
            parts.append((pairs, found))
            if keep is None:
                memory_of_masked = memory if len(groups) > 1 else memory[masked]
        back = torch.cat([pairs for pairs, _ in parts]).argsort()
        hidden, boxes, logits, presence = (torch.cat(group, 1)[:, back] for group in zip(*(found for _, found in parts)))
        start = net.model.detr_decoder.reference_points.weight.detach().sigmoid()[:, :2]
        prior = 8.0 * (1 - progress) ** 2 + 1.0
        gold_boxes = data["objects"][:, 3:7]
        matches = match(boxes.detach(), logits.detach(), start, targets, gold_boxes, prior, [3, 1, 1])
        there = torch.tensor([1.0 if t else 0.0 for t in targets])
        for layer, (pair, query, obj) in enumerate(matches):
            share = 1.0 if layer == len(matches) - 1 else 0.5
            count = max(len(pair), 1)
            l1, giou = box_losses(boxes[layer][pair, query], gold_boxes[obj], count)
            for name, value in {
                "score": score_loss(logits[layer], pair, query, count), "l1": l1, "giou": giou,
                "presence": F.binary_cross_entropy_with_logits(presence[layer], there),
            }.items():
                losses[name] = losses.get(name, 0) + share * value
        if masked:
            losses |= self.mask_losses(data, tokens, truth, pictures, masked, memory_of_masked, hidden[-1], prompt, mask4, matches[-1])
        return losses

    def mask_losses(self, data, tokens, truth, pictures, chosen, memory, hidden, prompt, mask4, matched):
        """Masks of the matched queries of the chosen pairs, whose encoded places are `memory`."""
        net, row, targets = self.net, data["row"], data["targets"]
        fine, middle, _ = net.neck(tokens.index_select(0, pictures), levels=(0, 1))
        losses = {"fine": cover_loss(self.helpers.fine(fine), truth[1][pictures])}
        pair, query, obj = matched
        wanted_of = [targets[p] for p in chosen]
        if not any(wanted_of):
            return losses
        slots = torch.zeros(len(chosen), max(len(t) for t in wanted_of), dtype=torch.long)
        used, place, wanted = [], [], []
        for k, p in enumerate(chosen):
            its = (pair == p).nonzero().squeeze(1)
            slots[k, : len(its)] = query[its]
            used += [k] * len(its)
            place += range(len(its))
            wanted += obj[its].tolist()
        at = torch.tensor([pictures.tolist().index(int(row[p])) for p in chosen])
        chosen = torch.tensor(chosen)
        pixel, semantic = net.pixels_of(
            memory, prompt.index_select(0, chosen), mask4[chosen], fine.index_select(0, at), middle.index_select(0, at),
        )
        found = net.masks_of(hidden[chosen[:, None], slots], pixel)[used, place]
        losses["mask"], losses["dice"] = mask_losses(found, data["masks"][wanted])
        losses["pixel_place"] = self.pixel_place_loss(pixel, wanted_of, data)
        covered = torch.stack([data["masks"][t].sum(0) for t in wanted_of])
        losses["semantic"] = cover_loss(semantic, F.avg_pool2d(covered[:, None], 2)[:, 0].clamp(0, 1))
        return losses


def frozen_step(saved):
    """A step with the weights of a checkpoint (what checkpoint.pt holds, or `unpacked`); nothing of it learns yet."""
    step = Step(build_model(saved["resolution"]))
    step.load_state_dict(saved["step"])
    return step.requires_grad_(False)
