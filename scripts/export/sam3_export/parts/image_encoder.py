"""Pixels to features: the vision transformer and its two necks."""

import torch
from torch import Tensor, nn

from ..model import Sam3
from ..positions import rotary_tables
from ..precision import lower


class ImageEncoder(nn.Module):
    """pixels [B,3,R,R] -> detector features at three scales, tracker features at three scales.

    The necks' fourth, coarsest level is never used by SAM 3 and not computed. `conv_s0` and `conv_s1` of the tracker's
    mask decoder are applied here, once per picture instead of once per prompt.
    """

    def __init__(self, model: Sam3, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        vision = model.detector_model.vision_encoder
        config = vision.config.backbone_config
        self.dtype = dtype
        self.side = config.image_size // config.patch_size
        self.window = config.window_size
        self.global_layers = set(config.global_attn_indexes)
        self.patches = vision.backbone.embeddings.patch_embeddings.projection
        self.layer_norm = vision.backbone.layer_norm
        self.layers = vision.backbone.layers
        self.detector_neck = vision.neck.fpn_layers[:3]
        self.tracker_neck = model.tracker_neck.fpn_layers[:3]
        self.fine_projection = model.tracker_model.mask_decoder.conv_s0
        self.middle_projection = model.tracker_model.mask_decoder.conv_s1

        self.register_buffer("positions", self._tile(vision.backbone.embeddings.position_embeddings))
        head_channels = config.hidden_size // config.num_attention_heads
        theta = config.rope_parameters["rope_theta"]
        window_tables = rotary_tables(self.window, head_channels, theta, 1.0)
        global_tables = rotary_tables(self.side, head_channels, theta, self.window / self.side)
        for kind, (cos, sin) in (("window", window_tables), ("global", global_tables)):
            self.register_buffer(f"{kind}_cos", cos)
            self.register_buffer(f"{kind}_sin", sin)

        lower(self, ["layers.*.attention", "layers.*.mlp", "patches"], dtype)
        lower(self, ["detector_neck.*", "tracker_neck.*", "fine_projection", "middle_projection"], dtype)

    def _tile(self, embeddings: Tensor) -> Tensor:
        """Repeat the pretraining grid over the picture, as SAM 3 does: [1, s*s, D] -> [1, g, g, D]."""
        pretrained = int(embeddings.shape[1] ** 0.5)
        grid = embeddings.detach().reshape(1, pretrained, pretrained, -1)
        repeats = -(-self.side // pretrained)
        return grid.tile(1, repeats, repeats, 1)[:, : self.side, : self.side].contiguous()

    def _split_windows(self, tokens: Tensor) -> Tensor:
        """[B, g, g, D] -> [B * windows, w, w, D]."""
        count, window = self.side // self.window, self.window
        tokens = tokens.reshape(-1, count, window, count, window, tokens.shape[-1])
        return tokens.transpose(2, 3).reshape(-1, window, window, tokens.shape[-1])

    def _join_windows(self, tokens: Tensor) -> Tensor:
        """[B * windows, w, w, D] -> [B, g, g, D]."""
        count, window = self.side // self.window, self.window
        tokens = tokens.reshape(-1, count, count, window, window, tokens.shape[-1])
        return tokens.transpose(2, 3).reshape(-1, self.side, self.side, tokens.shape[-1])

    def _encode(self, pixels: Tensor) -> Tensor:
        """[B,3,R,R] -> [B, D, g, g]: windowed blocks with a few global ones in between."""
        tokens = self.patches(pixels.float()).permute(0, 2, 3, 1) + self.positions
        tokens = self.layer_norm(tokens)
        for index, layer in enumerate(self.layers):
            hidden = layer.layer_norm1(tokens)
            if index in self.global_layers:
                hidden, _ = layer.attention(hidden, (self.global_cos, self.global_sin))
            else:
                hidden, _ = layer.attention(self._split_windows(hidden), (self.window_cos, self.window_sin))
                hidden = self._join_windows(hidden)
            tokens = tokens + hidden
            tokens = tokens + layer.mlp(layer.layer_norm2(tokens))
        return tokens.permute(0, 3, 1, 2)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        hidden = self._encode(pixels)
        features = [level(hidden) for level in self.detector_neck]
        fine, middle, coarse = (level(hidden) for level in self.tracker_neck)
        features += [self.fine_projection(fine), self.middle_projection(middle), coarse]
        return tuple(feature.to(self.dtype).contiguous() for feature in features)
