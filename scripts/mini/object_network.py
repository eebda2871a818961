"""Object prompts: the tracker's neck, prompt encoder and mask decoder, from ViT tokens and clicks to masks.

The modules are those of transformers' Sam3TrackerVideoModel; what joins them is written here so that a picture is
encoded once for all its objects and any mixture of points, boxes and masks is one call (`check_forward.py` compares).
"""
import math

import torch
from torch import nn
from transformers import Sam3TrackerVideoConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionNeck
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoAttention, Sam3TrackerVideoModel,
)

NOT_A_POINT = -1
FREQUENCY = 2.0  # spread of the random directions that encode coordinates: at 24 places a side, 1 blurs over two of them


def tracker_config(detector):
    """The tracker beside a detector of this configuration: as wide as it, which must be the 64 channels of a memory."""
    backbone = detector.vision_config.backbone_config
    width = detector.vision_config.fpn_hidden_size
    size = {"image_size": backbone.image_size, "patch_size": backbone.patch_size}
    return Sam3TrackerVideoConfig(
        vision_config={
            "backbone_config": backbone.to_dict(), "image_size": backbone.image_size, "fpn_hidden_size": width,
        },
        image_size=backbone.image_size,
        prompt_encoder_config={"hidden_size": width, **size},
        mask_decoder_config={
            "hidden_size": width, "mlp_dim": 256, "iou_head_hidden_dim": width, "num_attention_heads": 4,
            "attention_downsample_rate": 1,
        },
        memory_attention_hidden_size=width, memory_attention_num_layers=3, memory_attention_feed_forward_hidden_size=256,
        memory_encoder_hidden_size=width, mask_downsampler_embed_dim=width, memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=256,
    )


def start_layers(root):
    """Starting weights of useful size for a module's layers; norms stay."""
    for module in root.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(3))
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)


class ObjectForward(nn.Module):
    """Picture side and prompt side of object prompts."""

    def __init__(self, detector_config, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = tracker_config(detector_config)
            self.tracker_neck = Sam3VisionNeck(config.vision_config)
            self.tracker_model = Sam3TrackerVideoModel._from_config(config, attn_implementation="sdpa", remove_vision_encoder=True)
            self._start()
        self.grid = self.tracker_model.prompt_encoder.image_embedding_size[0]
        self.resolution = self.tracker_model.prompt_encoder.input_image_size

    @torch.no_grad()
    def _start(self):
        """Starting weights: of useful size, and attention that looks where the coordinates agree."""
        prompts, decoder = self.tracker_model.prompt_encoder, self.tracker_model.mask_decoder
        for root in (self.tracker_neck, prompts, decoder):
            start_layers(root)
        for layer in decoder.transformer.layers:
            for cross in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token):
                cross.q_proj.weight.mul_(1.6)
                cross.k_proj.weight.copy_(cross.q_proj.weight)
        self.tracker_neck.fpn_layers[2].proj2.weight.mul_(0.3)  # or what a place shows would outweigh where it is
        assert all(m.config.attention_downsample_rate == 1 for m in decoder.modules() if isinstance(m, Sam3TrackerVideoAttention))
        directions = torch.randn_like(prompts.shared_embedding.positional_embedding) * FREQUENCY
        prompts.shared_embedding.positional_embedding.copy_(directions)
        self.tracker_model.shared_image_embedding.positional_embedding.copy_(directions)

    def features(self, tokens):
        """ViT tokens [B, g*g, D] to fine [B, C/8, 4g, 4g], middle [B, C/4, 2g, 2g] and coarse [B, C, g, g]."""
        x = tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        fine, middle, coarse = (layer(x) for layer in self.tracker_neck.fpn_layers[:3])
        decoder = self.tracker_model.mask_decoder
        return decoder.conv_s0(fine), decoder.conv_s1(middle), coarse + self.tracker_model.no_memory_embedding.view(1, -1, 1, 1)

    def points(self, points, labels):
        """Points [N, P, 2] in pixels of the square and labels [N, P] (1, 0; 2 and 3 box corners; -1 none) to tokens."""
        prompts = self.tracker_model.prompt_encoder
        points = torch.cat([points + 0.5, points.new_zeros(len(points), 1, 2)], 1) / self.resolution
        labels = torch.cat([labels, labels.new_full((len(labels), 1), NOT_A_POINT)], 1)[..., None]
        places = torch.where(labels == NOT_A_POINT, prompts.not_a_point_embed.weight, prompts.shared_embedding(points))
        return places + prompts.point_embed(labels[..., 0].clamp(min=0)) * (labels >= 0)

    def forward(self, features, points, labels, mask=None, has_mask=None):
        """Masks [N, 4, 4g, 4g] (logits), quality [N, 4], object score [N, 1] of N prompts with their own features.

        mask [N, 1, 4g, 4g] are earlier logits, used where has_mask [N]. Last come, for training, the mask tokens
        [N, 4, C] and the places [N, g*g, C] after each layer and at the end.
        """
        fine, middle, coarse = features
        prompts, decoder = self.tracker_model.prompt_encoder, self.tracker_model.mask_decoder
        dense = prompts.no_mask_embed.weight[..., None, None]
        if mask is not None:
            dense = torch.where(has_mask[:, None, None, None], prompts.mask_embed(mask), dense)
        out = torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([out.expand(len(points), -1, -1), self.points(points, labels)], 1)
        where = self.tracker_model.get_image_wide_positional_embeddings()
        tokens, places, earlier = self.two_way(tokens, (coarse + dense).flatten(2).transpose(1, 2), where.flatten(2).transpose(1, 2))
        image = places.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        x = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image) + middle))
        x = decoder.activation(decoder.upscale_conv2(x) + fine)
        heads = decoder.output_hypernetworks_mlps
        weights = torch.stack([head(tokens[:, 2 + i]) for i, head in enumerate(heads)], 1)
        masks = (weights @ x.flatten(2)).unflatten(2, x.shape[-2:])
        return masks, decoder.iou_prediction_head(tokens[:, 1]), decoder.pred_obj_score_head(tokens[:, 0]), earlier + [(tokens[:, 2:6], places)]

    def two_way(self, tokens, places, where):
        """The decoder's transformer: tokens [N, T, C] and places [N, g*g, C], and (mask tokens, places) after each layer."""
        transformer = self.tracker_model.mask_decoder.transformer
        own, where = tokens[:, None], where[:, None]
        queries, keys, earlier = own, places[:, None], []
        for layer in transformer.layers:
            queries, keys, _ = layer(
                queries=queries, keys=keys, query_point_embedding=own, key_point_embedding=where, attention_similarity=None,
            )
            earlier.append((queries[:, 0, 2:6], keys[:, 0]))
        found, _ = transformer.final_attn_token_to_image(query=queries + own, key=keys + where, value=keys)
        return transformer.layer_norm_final_attn(queries + found)[:, 0], keys[:, 0], earlier
