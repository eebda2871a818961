"""A SAM 3 with every mechanism of the real one and a few hundred thousand random weights."""

import torch
from torch import nn

from sam3_export.configs import derive_tracker
from sam3_export.model import Sam3
from sam3_export.transformers_import import Sam3Config

RESOLUTION, PATCH, WINDOW = 64, 8, 4
WIDTH = 32
# Twice the memories' channels, as in the official model an object pointer is more than one memory token.
TRACKER_WIDTH = 128
VOCABULARY = 256 + 256 + 2
# What brings the object scores of the clips of `videos.py` around zero, by seed.
OBJECT_SCORE_SLOPE, OBJECT_SCORE_SHIFTS = 8, {0: 0.41, 1: -0.575, 2: 0.905}


def tiny_config() -> Sam3Config:
    """Windowed and global blocks, tiled positions (4 x 4 over 8 x 8), two layers of everything, ten queries."""
    side = RESOLUTION // PATCH
    block = {"hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 64, "num_layers": 2}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "hidden_size": 64,
                "intermediate_size": 96,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "image_size": RESOLUTION,
                "patch_size": PATCH,
                "window_size": WINDOW,
                "pretrain_image_size": WINDOW * PATCH,
                "global_attn_indexes": [1, 3],
            },
            "fpn_hidden_size": WIDTH,
            "backbone_feature_sizes": [[4 * side, 4 * side], [2 * side, 2 * side], [side, side]],
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": VOCABULARY,
            "hidden_size": 48,
            "intermediate_size": 64,
            "projection_dim": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
            "bos_token_id": VOCABULARY - 2,
            "eos_token_id": VOCABULARY - 1,
        },
        geometry_encoder_config=block,
        detr_encoder_config=block,
        detr_decoder_config={**block, "num_queries": 10},
        mask_decoder_config={"hidden_size": WIDTH, "num_attention_heads": 4},
    )


def randomise(model: Sam3, seed: int) -> None:
    """Fill every parameter, zero-initialised ones too, so that no mechanism is switched off.

    Matrices keep the size of what passes through them. In the object decoder, attention adds little that all queries
    share, and the score head is wide and unbiased: so some queries pass the threshold of 0.5 and others do not.
    """
    random = torch.Generator().manual_seed(seed)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, parameter in model.named_parameters():
        value = torch.randn(parameter.shape, generator=random)
        if "norm" in name and name.endswith("weight"):
            value = 1 + 0.2 * value
        elif name.endswith("bias"):
            value = 0.2 * value
        elif name.endswith("reference_points.weight"):
            value = 1.2 * value
        elif name.endswith("weight") and value.dim() > 1 and id(parameter) not in tables:
            value = value / value[0].numel() ** 0.5
        parameter.data = value
    tracker = model.tracker_model
    directions = torch.randn(tracker.shared_image_embedding.positional_embedding.shape, generator=random)
    for encoder in (tracker.shared_image_embedding, tracker.prompt_encoder.shared_embedding):
        encoder.positional_embedding.copy_(directions)
    # Whether an object is there hangs on little, so that in a clip some are there on some frames.
    score = tracker.mask_decoder.pred_obj_score_head.proj_out
    score.weight.data *= OBJECT_SCORE_SLOPE
    score.bias.data = (score.bias.data + OBJECT_SCORE_SHIFTS.get(seed, 0)) * OBJECT_SCORE_SLOPE
    decoder, scoring = model.detector_model.detr_decoder, model.detector_model.dot_product_scoring
    decoder.query_embed.weight.data *= 2
    for layer in decoder.layers:
        for attention in (layer.self_attn, layer.text_cross_attn, layer.vision_cross_attn):
            attention.o_proj.weight.data *= 0.5
            attention.o_proj.bias.data.zero_()
    decoder.output_layer_norm.bias.data.zero_()
    decoder.presence_head.layer3.bias.data.fill_(3.0)
    scoring.query_proj.weight.data *= 6
    scoring.query_proj.bias.data.zero_()


def tiny_model(seed: int) -> Sam3:
    """The same model for the same seed."""
    detector = tiny_config()
    model = Sam3(detector, derive_tracker(detector, TRACKER_WIDTH))
    randomise(model, seed)
    return model
