"""Queries and features to mask logits: the pixel decoder and its two heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import lower
from ..transformers_import import Sam3Model


class MaskHead(nn.Module):
    """Masks [N,Q,4g,4g] and the semantic map [N,1,4g,4g], both logits.

    transformers clones every feature map first; nothing here writes into them, so the clones are left out.
    """

    def __init__(self, detector: Sam3Model, side: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.decoder = detector.mask_decoder
        self.side = side
        self.dtype = dtype
        lower(self.decoder, ["prompt_cross_attn", "mask_embedder", "pixel_decoder.conv_layers.*"], dtype)
        lower(self.decoder, ["instance_projection", "semantic_projection"], dtype)

    def _embed_pixels(self, levels: list[Tensor]) -> Tensor:
        """Coarse to fine: nearest-neighbour upsampling, sum, convolution, group norm, ReLU -> [N,C,4g,4g]."""
        pixels = levels[-1]
        pixel_decoder = self.decoder.pixel_decoder
        for index, level in enumerate(reversed(levels[:-1])):
            pixels = F.interpolate(pixels, scale_factor=2.0, mode="nearest") + level
            pixels = F.relu(pixel_decoder.norms[index](pixel_decoder.conv_layers[index](pixels)))
        return pixels

    def forward(
        self, queries: Tensor, fine: Tensor, middle: Tensor, vision: Tensor, prompt: Tensor, visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """vision [N,g*g,C]: the fused tokens, which replace the coarse level; visible [N,1,1,P] masks the prompt."""
        decoder = self.decoder
        attended, _ = decoder.prompt_cross_attn(
            query=decoder.prompt_cross_attn_norm(vision), key=prompt, value=prompt, attention_mask=visible
        )
        coarse = (vision + attended).transpose(1, 2).unflatten(-1, (self.side, self.side))
        pixels = self._embed_pixels([fine, middle, coarse])
        instances = decoder.instance_projection(pixels).to(self.dtype).flatten(2)
        embedded = decoder.mask_embedder(queries).to(self.dtype)
        masks = (embedded @ instances).unflatten(-1, (4 * self.side, 4 * self.side))
        return masks, decoder.semantic_projection(pixels)
