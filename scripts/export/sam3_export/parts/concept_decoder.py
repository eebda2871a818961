"""Features and a concept prompt to every instance: fusion encoder, object decoder, scores and masks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model import Sam3
from ..positions import sine_divisors, sine_encode, sine_grid
from ..precision import lower
from ..transformers_import import box_cxcywh_to_xyxy, inverse_sigmoid
from .geometry import Geometry
from .mask_head import MaskHead


class ConceptDecoder(nn.Module):
    """See `docs/bundle.md` for inputs and outputs.

    In a bf16 or fp16 bundle boxes, relative positions, presence, scores, the object decoder's feed-forward layers and
    all residual streams stay in fp32.
    """

    def __init__(self, model: Sam3, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        detector = model.detector_model
        backbone = detector.vision_encoder.config.backbone_config
        self.dtype = dtype
        self.side = backbone.image_size // backbone.patch_size
        channels = detector.detr_decoder.hidden_size
        self.geometry = Geometry(detector, self.side, dtype)
        self.encoder_layers = detector.detr_encoder.layers
        self.decoder = detector.detr_decoder
        self.scoring = detector.dot_product_scoring
        self.mask_head = MaskHead(detector, self.side, dtype)
        self.register_buffer("positions", sine_grid(self.side, channels).flatten(2).transpose(1, 2).contiguous())
        self.register_buffer("steps", torch.arange(self.side, dtype=torch.float32) / self.side)
        self.register_buffer("divisors", sine_divisors(channels // 2))
        lower(self, ["encoder_layers.*.self_attn", "encoder_layers.*.cross_attn", "encoder_layers.*.mlp"], dtype)
        lower(self.decoder, ["layers.*.self_attn", "layers.*.text_cross_attn", "layers.*.vision_cross_attn"], dtype)

    def _relative_positions(self, boxes: Tensor) -> Tensor:
        """boxes [N,Q,4] -> attention bias [N,heads,Q+1,g*g]; row 0, the presence token's, is zero.

        "boxRPB" of Plain DETR (Lin et al. 2023): distances of every column and row of the grid to the box edges, times
        eight, on a signed logarithmic scale, through one small network per axis, summed.
        """
        edges = box_cxcywh_to_xyxy(boxes)
        x = self._log_scale(self.steps[:, None] - edges[..., None, 0::2])
        y = self._log_scale(self.steps[:, None] - edges[..., None, 1::2])
        x, y = self.decoder.box_rpb_embed_x(x), self.decoder.box_rpb_embed_y(y)
        bias = (y[:, :, :, None] + x[:, :, None]).flatten(2, 3).permute(0, 3, 1, 2)
        return F.pad(bias, (0, 0, 1, 0))

    @staticmethod
    def _log_scale(distances: Tensor) -> Tensor:
        scaled = distances * 8
        return torch.sign(scaled) * torch.log2(torch.abs(scaled) + 1.0) / math.log2(8)

    def _query_positions(self, boxes: Tensor) -> Tensor:
        """boxes [N,Q,4] -> [N,Q,C]: sine encoding of y, x, width, height through a small network."""
        x, y, width, height = sine_encode(boxes * (2 * math.pi), self.divisors).unbind(-2)
        return self.decoder.ref_point_head(torch.cat((y, x, width, height), dim=-1))

    def _decode(self, vision: Tensor, prompt: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """vision [N,g*g,C], prompt [N,P,C], mask [N,1,1,P] -> queries [N,Q,C], boxes [N,Q,4], presence [N,1]."""
        decoder = self.decoder
        count = vision.shape[0]
        start = torch.cat((decoder.presence_token.weight, decoder.query_embed.weight))
        hidden = start[None].expand(count, -1, -1)
        boxes = decoder.reference_points.weight.sigmoid()[None].expand(count, -1, -1)
        for layer in decoder.layers:
            hidden = layer(
                hidden,
                query_pos=self._query_positions(boxes),
                text_features=prompt,
                vision_features=vision,
                vision_pos_encoding=self.positions,
                text_cross_attn_mask=mask,
                vision_cross_attn_mask=self._relative_positions(boxes),
            )
            queries = decoder.output_layer_norm(hidden[:, 1:])
            boxes = (decoder.box_head(queries) + inverse_sigmoid(boxes)).sigmoid()
        limit = decoder.clamp_presence_logit_max_val
        presence = decoder.presence_head(decoder.presence_layer_norm(hidden[:, 0])).clamp(-limit, limit)
        return queries, boxes, presence

    def forward(
        self,
        fine: Tensor,
        middle: Tensor,
        coarse: Tensor,
        text: Tensor,
        text_mask: Tensor,
        boxes: Tensor,
        box_labels: Tensor,
        box_mask: Tensor,
    ) -> tuple[Tensor, ...]:
        coarse, text = coarse.float(), text.float()
        tokens, token_mask = self.geometry(coarse, self.positions, boxes, box_labels, box_mask)
        prompt = torch.cat((text, tokens), dim=1)
        prompt_mask = torch.cat((text_mask, token_mask), dim=1)
        visible = prompt_mask[:, None, None, :]

        vision = coarse.flatten(2).transpose(1, 2)
        for layer in self.encoder_layers:
            vision = layer(vision, prompt, self.positions, visible)
        queries, found, presence = self._decode(vision, prompt, visible)
        logits = self.scoring(queries[None], prompt, prompt_mask)[0, :, :, 0]
        masks, semantic = self.mask_head(queries, fine, middle, vision, prompt, visible)
        return logits, box_cxcywh_to_xyxy(found), presence, masks.to(self.dtype), semantic.to(self.dtype)
