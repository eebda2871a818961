"""The official key layout (`sam3.pt`): where in it every tensor of transformers' model comes from.

Names of layers differ throughout; beyond names, six things do:

- query, key and value projections are one fused tensor (`qkv`, `in_proj_weight`): ours are its thirds;
- the image encoder's position table still holds the class token of its pretraining in row 0: dropped;
- the text projection is stored transposed (it is not part of a bundle, only of transformers' model);
- the four point embeddings of the prompt encoder are four tensors: ours are their rows in one;
- transformers keeps the prompt encoder's random directions twice;
- the image encoder normalises with eps 1e-5 (`configs.py`).

`NOT_NEEDED` lists the official keys that nothing is made from. Older releases named the two halves `sam3_model.` and
`sam2_predictor.model.`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

OLD_PREFIXES = {"sam3_model.": "detector.", "sam2_predictor.model.": "tracker."}

NOT_NEEDED = {
    r"detector\.backbone\.vision_backbone\.trunk\.blocks\.\d+\.attn\.freqs_cis": (
        "rotary angles, computed again for the resolution of the bundle"
    ),
    r"detector\.geometry_encoder\.points_(direct|pool|pos_enc)_project\.(weight|bias)": (
        "point exemplars: the model's image and video interfaces give boxes only, and transformers leaves them out"
    ),
}

# Names shared by the geometry encoder's and the fusion encoder's layers.
_PRE_NORM = {
    r"cross_attn\.": "cross_attn_image.",
    r"o_proj": "out_proj",
    r"mlp\.fc": "linear",
    r"layer_norm(\d)": r"norm\1",
}
# Small networks: transformers numbers layers from 1 or gives the first and last names of their own.
_NUMBERED_FROM_ONE = {rf"\.layer{index + 1}\.": f".layers.{index}." for index in range(3)}
_FEED_FORWARD = {r"\.layers\.0\.": ".layers.1.", r"\.proj_in\.": ".layers.0.", r"\.proj_out\.": ".layers.2."}
_NECK = {
    r"^0\.scale_layers\.0": "0.dconv_2x2_0",
    r"^0\.scale_layers\.2": "0.dconv_2x2_1",
    r"^1\.scale_layers\.0": "1.dconv_2x2",
    r"proj1": "conv_1x1",
    r"proj2": "conv_3x3",
}

# (prefix in transformers, prefix in the official layout, replacements within the rest, applied in this order).
# The first section whose prefix fits is the one that counts.
SECTIONS: list[tuple[str, str, dict[str, str]]] = [
    (
        "detector_model.vision_encoder.backbone.",
        "detector.backbone.vision_backbone.trunk.",
        {
            r"embeddings\.position_embeddings": "pos_embed",
            r"embeddings\.patch_embeddings\.projection": "patch_embed.proj",
            r"layer_norm(\d)": r"norm\1",
            r"layer_norm": "ln_pre",
            r"layers": "blocks",
            r"attention\.o_proj": "attn.proj",
            r"attention": "attn",
        },
    ),
    ("detector_model.vision_encoder.neck.fpn_layers.", "detector.backbone.vision_backbone.convs.", _NECK),
    ("tracker_neck.fpn_layers.", "detector.backbone.vision_backbone.sam2_convs.", _NECK),
    (
        "detector_model.text_encoder.",
        "detector.backbone.language_backbone.encoder.",
        {
            r"text_projection\.weight": "text_projection",
            r"text_model\.embeddings\.position_embedding\.weight": "positional_embedding",
            r"text_model\.embeddings\.": "",
            r"text_model\.final_layer_norm": "ln_final",
            r"text_model\.encoder\.layers": "transformer.resblocks",
            r"self_attn": "attn",
            r"layer_norm(\d)": r"ln_\1",
            r"fc1": "c_fc",
            r"fc2": "c_proj",
        },
    ),
    ("detector_model.text_projection.", "detector.backbone.language_backbone.resizer.", {}),
    ("detector_model.geometry_encoder.layers.", "detector.geometry_encoder.encode.", _PRE_NORM),
    (
        "detector_model.geometry_encoder.",
        "detector.geometry_encoder.",
        {"vision_layer_norm": "img_pre_norm", "prompt_layer_norm": "norm", "output_layer_norm": "encode_norm"},
    ),
    ("detector_model.detr_encoder.", "detector.transformer.encoder.", _PRE_NORM),
    (
        "detector_model.detr_decoder.layers.",
        "detector.transformer.decoder.layers.",
        {
            r"vision_cross_attn_layer_norm": "norm1",
            r"self_attn_layer_norm": "norm2",
            r"mlp_layer_norm": "norm3",
            r"text_cross_attn_layer_norm": "catext_norm",
            r"text_cross_attn": "ca_text",
            r"vision_cross_attn": "cross_attn",
            r"o_proj": "out_proj",
            r"mlp\.fc": "linear",
        },
    ),
    (
        "detector_model.detr_decoder.",
        "detector.transformer.decoder.",
        {
            r"box_rpb_embed": "boxRPB_embed",
            r"box_head": "bbox_embed",
            r"presence_head": "presence_token_head",
            r"presence_layer_norm": "presence_token_out_norm",
            r"output_layer_norm": "norm",
            **_NUMBERED_FROM_ONE,
        },
    ),
    (
        "detector_model.dot_product_scoring.",
        "detector.dot_prod_scoring.",
        {
            r"text_mlp_out_norm": "prompt_mlp.out_norm",
            r"text_mlp": "prompt_mlp",
            r"text_proj": "prompt_proj",
            r"query_proj": "hs_proj",
            **_NUMBERED_FROM_ONE,
        },
    ),
    (
        "detector_model.mask_decoder.",
        "detector.segmentation_head.",
        {
            r"prompt_cross_attn_norm": "cross_attn_norm",
            r"prompt_cross_attn": "cross_attend_prompt",
            r"o_proj": "out_proj",
            r"mask_embedder": "mask_predictor.mask_embed",
            r"instance_projection": "instance_seg_head",
            r"semantic_projection": "semantic_seg_head",
        },
    ),
    (
        "tracker_model.memory_attention.",
        "tracker.transformer.encoder.",
        {r"o_proj": "out_proj", r"layer_norm": "norm"},
    ),
    (
        "tracker_model.memory_encoder.",
        "tracker.maskmem_backbone.",
        {
            # Convolution, norm and activation of four stages lie in one list: 0 1 2, 3 4 5, 6 7 8, 9 10 11.
            **{rf"mask_downsampler\.layers\.{i}\.conv": f"mask_downsampler.encoder.{3 * i}" for i in range(4)},
            **{
                rf"mask_downsampler\.layers\.{i}\.layer_norm": f"mask_downsampler.encoder.{3 * i + 1}" for i in range(4)
            },
            r"mask_downsampler\.final_conv": "mask_downsampler.encoder.12",
            r"feature_projection": "pix_feat_proj",
            r"memory_fuser": "fuser",
            r"depthwise_conv": "dwconv",
            r"pointwise_conv": "pwconv",
            r"layer_norm": "norm",
            r"scale": "gamma",
            r"^projection": "out_proj",
        },
    ),
    (
        "tracker_model.prompt_encoder.",
        "tracker.sam_prompt_encoder.",
        {
            r"shared_embedding\.positional_embedding": "pe_layer.positional_encoding_gaussian_matrix",
            r"mask_embed\.conv1": "mask_downscaling.0",
            r"mask_embed\.layer_norm1": "mask_downscaling.1",
            r"mask_embed\.conv2": "mask_downscaling.3",
            r"mask_embed\.layer_norm2": "mask_downscaling.4",
            r"mask_embed\.conv3": "mask_downscaling.6",
            r"^point_embed\.weight": "point_embeddings.{}.weight",
        },
    ),
    (
        "tracker_model.shared_image_embedding.",
        "tracker.sam_prompt_encoder.",
        {r"positional_embedding": "pe_layer.positional_encoding_gaussian_matrix"},
    ),
    (
        "tracker_model.mask_decoder.transformer.",
        "tracker.sam_mask_decoder.transformer.",
        {
            r"o_proj": "out_proj",
            r"mlp\.proj_in": "mlp.lin1",
            r"mlp\.proj_out": "mlp.lin2",
            r"layer_norm_final_attn": "norm_final_attn",
            r"layer_norm": "norm",
        },
    ),
    (
        "tracker_model.mask_decoder.",
        "tracker.sam_mask_decoder.",
        {
            r"upscale_conv1": "output_upscaling.0",
            r"upscale_layer_norm": "output_upscaling.1",
            r"upscale_conv2": "output_upscaling.3",
            **_FEED_FORWARD,
        },
    ),
    (
        "tracker_model.object_pointer_proj.",
        "tracker.obj_ptr_proj.",
        {f"^{k[2:]}": v[1:] for k, v in _FEED_FORWARD.items()},
    ),
    (
        "tracker_model.",
        "tracker.",
        {
            r"no_memory_embedding": "no_mem_embed",
            r"no_memory_positional_encoding": "no_mem_pos_enc",
            r"memory_temporal_positional_encoding": "maskmem_tpos_enc",
            r"no_object_pointer": "no_obj_ptr",
            r"occlusion_spatial_embedding_parameter": "no_obj_embed_spatial",
            r"temporal_positional_encoding_projection_layer": "obj_ptr_tpos_proj",
        },
    ),
]

THIRDS = {"q_proj": 0, "k_proj": 1, "v_proj": 2}
POINT_EMBEDDINGS = 4


@dataclass(frozen=True)
class Source:
    """Official keys and how one tensor of ours is taken from them.

    `take` is "all", "third" (the one numbered `third`), "without first row", "transposed" or "rows" (one per key).
    """

    keys: tuple[str, ...]
    take: str = "all"
    third: int = 0


def source_of(name: str) -> Source:
    """Where the tensor `name` of transformers' model comes from."""
    prefix, official, replacements = next(section for section in SECTIONS if name.startswith(section[0]))
    rest = name[len(prefix) :]
    for pattern, replacement in replacements.items():
        rest = re.sub(pattern, replacement, rest)
    key = official + rest
    if official.startswith("detector."):
        fused = re.fullmatch(r"(.*\.)([qkv]_proj)\.(weight|bias)", key)
        if fused:
            join = "qkv." if ".trunk." in key else "in_proj_"
            return Source((fused[1] + join + fused[3],), "third", THIRDS[fused[2]])
    if "{}" in key:
        return Source(tuple(key.format(index) for index in range(POINT_EMBEDDINGS)), "rows")
    if key.endswith("pos_embed"):
        return Source((key,), "without first row")
    if key.endswith("encoder.text_projection"):
        return Source((key,), "transposed")
    return Source((key,))


def take(source: Source, state: Mapping[str, Tensor]) -> Tensor:
    """The tensor itself."""
    first = state[source.keys[0]]
    if source.take == "third":
        return first.chunk(3)[source.third]
    if source.take == "without first row":
        return first[:, 1:]
    if source.take == "transposed":
        return first.T
    if source.take == "rows":
        return torch.cat([state[key] for key in source.keys])
    return first


def is_official(keys: Mapping[str, object]) -> bool:
    """Whether these are keys of an official checkpoint, of any release."""
    return any(key.startswith(("detector.", *OLD_PREFIXES)) for key in keys)


def is_multiplex(keys: Mapping[str, object]) -> bool:
    """Whether this is SAM 3.1 ("object multiplex"), whose tracker is another architecture."""
    return any("propagation_convs" in key or "interactive_convs" in key for key in keys)


def rename_old_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys of older releases under today's prefixes."""
    renamed = {}
    for key, value in state.items():
        old = next((prefix for prefix in OLD_PREFIXES if key.startswith(prefix)), None)
        renamed[key if old is None else OLD_PREFIXES[old] + key[len(old) :]] = value
    return renamed


def not_needed(key: str) -> bool:
    """Whether nothing is made from this official key, for one of the written reasons."""
    return any(re.fullmatch(pattern, key) for pattern in NOT_NEEDED)
