"""Exemplar boxes to prompt tokens, always followed by the CLS token."""

import math

import torch
from torch import Tensor, nn

from ..positions import sine_divisors, sine_encode
from ..precision import lower
from ..roi_align import roi_align
from ..transformers_import import Sam3Model, box_cxcywh_to_xyxy


class Geometry(nn.Module):
    """Box tokens [N,K+1,C] with their mask [N,K+1] bool; K may be 0.

    transformers moves the CLS token forward to the end of each row's valid boxes. Here it stays last and the padding
    before it is masked: prompt tokens carry no position and are only attended to, so their order has no meaning.
    """

    def __init__(self, detector: Sam3Model, side: int, dtype: torch.dtype) -> None:
        super().__init__()
        encoder = detector.geometry_encoder
        self.encoder = encoder
        self.side = side
        self.bins = encoder.roi_size
        self.register_buffer("divisors", sine_divisors(encoder.hidden_size // 2))
        lower(encoder, ["layers.*.self_attn", "layers.*.cross_attn", "layers.*.mlp", "boxes_pool_project"], dtype)

    def _pool(self, boxes: Tensor, coarse: Tensor) -> Tensor:
        """Features under each box: [N,K,4] and [N,C,g,g] -> [N,K,C]."""
        features = self.encoder.vision_layer_norm(coarse.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
        # The row of every box, counted without an `arange`, which would carry a device.
        row = torch.ones_like(boxes[..., :1]).cumsum(0) - 1
        rois = torch.cat((row, box_cxcywh_to_xyxy(boxes) * self.side), dim=-1).flatten(0, 1)
        pooled = roi_align(features, rois, 1.0, self.bins, self.bins, -1, False)
        return self.encoder.boxes_pool_project(pooled).reshape(boxes.shape[0], boxes.shape[1], coarse.shape[1])

    def _place(self, boxes: Tensor) -> Tensor:
        """Sine encoding of the centre and the plain height and width: [N,K,4] -> [N,K,C+2]."""
        centre = sine_encode(boxes[..., :2] * (2 * math.pi), self.divisors)
        x, y = centre.unbind(-2)
        return torch.cat((y, x, boxes[..., 3:], boxes[..., 2:3]), dim=-1)

    def forward(
        self, coarse: Tensor, positions: Tensor, boxes: Tensor, labels: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """coarse [N,C,g,g] and positions [1,g*g,C] in fp32; boxes [N,K,4] fp32, labels [N,K], mask [N,K]."""
        encoder = self.encoder
        tokens = encoder.boxes_direct_project(boxes) + self._pool(boxes, coarse)
        tokens = encoder.label_embed(labels) + (tokens + encoder.boxes_pos_enc_project(self._place(boxes)))
        cls = encoder.cls_embed.weight[None].expand(boxes.shape[0], -1, -1)
        tokens = encoder.prompt_layer_norm(encoder.final_proj(torch.cat((tokens, cls), dim=1)))
        mask = torch.cat((mask, torch.ones_like(cls[..., 0], dtype=torch.bool)), dim=1)
        vision = coarse.flatten(2).transpose(1, 2)
        for layer in encoder.layers:
            tokens = layer(tokens, vision, positions, mask[:, None, None, :])
        return encoder.output_layer_norm(tokens), mask
