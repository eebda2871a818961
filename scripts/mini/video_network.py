"""Following objects through a video: what is remembered of a frame, and features conditioned on what is remembered.

The modules are those of transformers' Sam3TrackerVideoModel; the loop is that of `docs/bundle.md`, for several objects
at once, all of which were prompted on the same frame (`check_forward.py` compares).
"""
import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoRoPEAttention

from object_network import start_layers

MEMORIES, POINTERS = 7, 16  # memory maps and object pointers attended to at most, the prompted frame's included
MASK_SCALE, MASK_BIAS = 20.0, -10.0  # of masks to be remembered
ABSENT = -1024.0  # mask logit where there is no object
SURE = 0.01  # effective IoU from which a frame is remembered: SAM 3's memory selection
PARTS = (
    "memory_attention", "memory_encoder", "object_pointer_proj", "temporal_positional_encoding_projection_layer",
    "memory_temporal_positional_encoding", "no_object_pointer", "occlusion_spatial_embedding_parameter", "mask_downsample",
)


class Memory(NamedTuple):
    """Of all objects on one frame: map [N, g*g, 64], pointer [N, C], the frame's number, whether it was prompted, and
    which objects were surely there, bool [N]."""

    map: Tensor
    pointer: Tensor
    frame: int
    prompted: bool
    sure: Tensor


class Answer(NamedTuple):
    """Of all objects on one frame: mask logits [N, 1, 4g, 4g], object score logits [N, 1], pointer [N, C], sure bool [N]."""

    masks: Tensor
    score: Tensor
    pointer: Tensor
    sure: Tensor


def half_attention(module, query, key, value, attention_mask, scaling, **_):
    """Attention without mask or dropout in bfloat16, for training on processors that multiply it twice as fast."""
    query, key, value = (x.bfloat16() for x in (query * scaling, key, value))
    weights = (query @ key.transpose(-1, -2)).softmax(-1)
    return (weights @ value).float().transpose(1, 2), None


def attend_in_half(tracker):
    """Let the memory attention compute in bfloat16 from now on."""
    ALL_ATTENTION_FUNCTIONS.register("mini_half", half_attention)
    for module in tracker.memory_attention.modules():
        if isinstance(module, Sam3TrackerVideoRoPEAttention):
            module.config = copy.copy(module.config)
            module.config._attn_implementation = "mini_half"


def memory_parameters(tracker):
    """The parameters that only video needs: (name, parameter)."""
    return [(name, p) for name, p in tracker.named_parameters() if name.split(".")[0] in PARTS]


def decoder_parameters(tracker):
    """Those of the mask decoder, but for what belongs to a frame's features: (name, parameter)."""
    return [(n, p) for n, p in tracker.mask_decoder.named_parameters() if not n.startswith("conv_s")]


@torch.no_grad()
def start_memory(tracker, seed=0, sharpness=2.5, sharp=5):
    """Starting weights of the parts that only video needs: they follow what hardly moves before they have learned anything.

    Attention looks around the same place of earlier frames (as `model.look_at_neighbours` does it, with the `sharp`
    highest frequencies of each axis) for what looks the same. A memory is some of the frame's features with what
    stands for the mask, which attention adds to the features; what leaves it has their size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in PARTS:
            part = getattr(tracker, name)
            if isinstance(part, nn.Module):
                start_layers(part)
        layers = tracker.memory_attention.layers
        for layer in layers:
            cross = layer.cross_attn_image
            nn.init.orthogonal_(cross.q_proj.weight)
            cross.k_proj.weight.copy_(cross.q_proj.weight)
            for projection in (cross.q_proj, cross.k_proj):
                for axis in projection.bias.chunk(2):
                    axis[0 : 2 * sharp : 2] = sharpness
            nn.init.eye_(cross.v_proj.weight)
            nn.init.eye_(cross.o_proj.weight).div_(len(layers))
            layer.self_attn.o_proj.weight.mul_(0.05)
            layer.linear2.weight.mul_(0.05)
        tracker.memory_attention.layer_norm.weight.fill_(2.2)
        encoder = tracker.memory_encoder
        nn.init.dirac_(encoder.feature_projection.weight).mul_(0.3)
        nn.init.dirac_(encoder.projection.weight)
        for block in encoder.memory_fuser.layers:
            block.scale.fill_(0.05)
        nn.init.normal_(tracker.memory_temporal_positional_encoding, std=0.1)
        nn.init.normal_(tracker.no_object_pointer, std=0.3)
        nn.init.normal_(tracker.occlusion_spatial_embedding_parameter, std=0.1)
        tracker.mask_downsample.weight.fill_(MASK_SCALE / 16)  # a mask's coverage to logits, as prompts in training have them
        tracker.mask_downsample.bias.fill_(MASK_BIAS)


def ages(times, width):
    """Sines and cosines of pointers' ages (shares of the longest) [K]: [K, width], as transformers encodes them."""
    index = torch.arange(width // 2, dtype=torch.float32)
    angles = times[:, None] / 10000 ** (2 * (index // 2) / (width // 2))
    return torch.cat([angles.sin(), angles.cos()], -1)


class VideoForward(nn.Module):
    """The memory parts of an ObjectForward, on features that are made once per frame."""

    def __init__(self, objects):
        super().__init__()
        self.objects, self.tracker = objects, objects.tracker_model
        self.tracker.memory_attention.eval()  # no dropout: the model is too small for it
        grid, width = objects.grid, self.tracker.hidden_dim
        channels = self.tracker.mem_dim
        def table(encoding, size):
            return encoding(torch.Size([1, size, grid, grid]), torch.device("cpu"), torch.float32).flatten(2).permute(2, 0, 1).clone()
        self.here = table(objects.tracker_neck.position_encoding, width)  # [g*g, 1, C]
        self.there = table(self.tracker.memory_encoder.position_encoding, channels)  # [g*g, 1, 64]

    def features(self, tokens):
        """ViT tokens [T, g*g, D] to fine, middle and coarse maps; coarse without `no_memory_embedding`."""
        fine, middle, coarse = self.objects.features(tokens)
        return fine, middle, coarse - self.tracker.no_memory_embedding.view(1, -1, 1, 1)

    def plain(self, coarse):
        """Features of a frame that stands alone."""
        return coarse + self.tracker.no_memory_embedding.view(1, -1, 1, 1)

    def conditioned(self, coarse, memories, frame, longest=POINTERS, selection=True):
        """Features [N, C, g, g] of a frame, conditioned on memories; coarse without `no_memory_embedding`.

        longest is the number of pointers attended to at most, fewer in clips known to be shorter. With selection every
        object attends to the frames on which it was surely there, as the package does unless told otherwise.
        """
        groups = {}
        for i in range(len(coarse)):
            newest = newest_of(memories, longest - 1, i if selection else None)
            groups.setdefault(tuple(m.frame for m in newest), (newest, []))[1].append(i)
        if len(groups) == 1:
            return self._attended(coarse, memories, newest, slice(None), frame, longest, selection)
        out = torch.empty_like(coarse)
        for newest, rows in groups.values():
            out[rows] = self._attended(coarse[rows], memories, newest, rows, frame, longest, selection)
        return out

    def _attended(self, coarse, memories, newest, rows, frame, longest, selection):
        """`conditioned` of objects that attend to the same frames: the prompted one and the newest."""
        table = self.tracker.memory_temporal_positional_encoding.flatten(1)
        prompted, recent = [m for m in memories if m.prompted], newest[: MEMORIES - 1]
        maps = [m.map[rows] for m in (*prompted, *recent)]
        places = [self.there + table[row] for row in (*[MEMORIES - 1] * len(prompted), *range(len(recent)))]
        # As in the official code the oldest that is selected lends no pointer.
        lending = (newest[:-1] if selection else newest)[: longest - 1]
        pointers = [m.pointer[rows].unflatten(1, (-1, self.tracker.mem_dim)) for m in (*prompted, *lending)]
        steps = [*[frame - m.frame for m in prompted], *range(1, len(lending) + 1)]
        times = [step / (longest - 1) for step in steps]
        count, width = coarse.shape[:2]
        split = pointers[0].shape[1]
        when = self.tracker.temporal_positional_encoding_projection_layer(ages(torch.tensor(times), width))
        memory = torch.cat([*maps, *pointers], 1).transpose(0, 1)
        place = torch.cat([*places, when.repeat_interleave(split, 0)[:, None]]).expand(-1, count, -1)
        out = self.tracker.memory_attention(
            current_vision_features=coarse.flatten(2).permute(2, 0, 1),
            current_vision_position_embeddings=self.here.expand(-1, count, -1),
            memory=memory, memory_posision_embeddings=place, num_object_pointer_tokens=split * len(pointers),
        )
        return out.view(count, -1, width).transpose(1, 2).unflatten(2, coarse.shape[2:])

    def decoded(self, fine, middle, coarse, points=None, labels=None, mask=None):
        """All masks [N, 4, 4g, 4g], their quality [N, 4], object score [N, 1] and mask tokens [N, 4, C]."""
        if points is None:
            points, labels = coarse.new_zeros(len(coarse), 1, 2), torch.full((len(coarse), 1), -1)
        has_mask = None if mask is None else torch.ones(len(coarse), dtype=torch.bool)
        masks, quality, score, steps = self.objects((fine, middle, coarse), points, labels, mask, has_mask)
        return masks, quality, score, steps[-1][0]

    def answer(self, masks, quality, score, tokens, single=False):
        """One mask per object: the best of three, or the single one (after a box, or several clicks)."""
        rows = torch.arange(len(masks))
        best = torch.zeros(len(masks), dtype=torch.long) if single else best_of(quality)
        there = score > 0
        pointer = torch.where(there, self.tracker.object_pointer_proj(tokens[rows, best]), self.tracker.no_object_pointer)
        sure = ((2 * score[:, 0].sigmoid() - 1) * quality[rows, best] > SURE) & there[:, 0]
        return Answer(torch.where(there[..., None, None], masks[rows, best][:, None], ABSENT), score, pointer, sure)

    def given(self, fine, middle, coarse, masks):
        """Masks bool [N, R, R] taken as they are, as the answer on their frame; coarse without `no_memory_embedding`."""
        side = 4 * self.objects.grid
        solid = masks[:, None].float()
        there = solid.flatten(1).any(1, keepdim=True)
        low = F.interpolate(solid * MASK_SCALE + MASK_BIAS, (side, side), mode="bilinear", align_corners=False, antialias=True)
        prompt = F.interpolate(self.tracker.mask_downsample(solid), (side, side), mode="bilinear", align_corners=False, antialias=True)
        with torch.no_grad():
            decoded = self.decoded(fine, middle, coarse, mask=prompt)
        found = self.answer(*decoded)
        pointer = torch.where(there, found.pointer, self.tracker.no_object_pointer)
        return Answer(low, there * MASK_SCALE + MASK_BIAS, pointer, there[:, 0])

    def scaled(self, masks, prompted):
        """Mask logits [N, 1, 4g, 4g] as the memory encoder takes them."""
        square = (self.objects.resolution,) * 2
        large = F.interpolate(masks, square, mode="bilinear", align_corners=False)
        side = 16 * self.objects.grid
        large = F.interpolate(large, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return ((large > 0).float() if prompted else large.sigmoid()) * MASK_SCALE + MASK_BIAS

    def remembered(self, coarse, answer, frame, prompted):
        """A frame's memory; coarse without `no_memory_embedding`."""
        made, _ = self.tracker.memory_encoder(coarse, self.scaled(answer.masks, prompted))
        made = made + (answer.score <= 0).float()[..., None, None] * self.tracker.occlusion_spatial_embedding_parameter[..., None, None]
        return Memory(made.flatten(2).transpose(1, 2), answer.pointer, frame, prompted, answer.sure)


def best_of(quality):
    """Which of a prompt's three masks is shown [N], of everyone's quality [N, 4]."""
    return 1 + quality[:, 1:].argmax(1)


def newest_of(memories, most, row=None):
    """The newest memories, newest first: with a row those on which that object was surely there and the last of all."""
    tracked = [m for m in reversed(memories) if not m.prompted]
    if row is None:
        return tracked[:most]
    sure = [m for m in tracked if m.sure[row]][:most]
    return sure if not tracked or (sure and sure[0] is tracked[0]) else [tracked[0], *sure]


def kept(memories):
    """Those a later frame can still need."""
    rows = range(len(memories[0].sure))
    needed = {m.frame for row in rows for m in newest_of(memories, POINTERS - 1, row)}
    return [m for m in memories if m.prompted or m.frame in needed]
