"""Features and points, a box or a mask to one object: SAM's prompt encoder and mask decoder."""

import math

import torch
from torch import Tensor, nn

from ..model import Sam3
from ..precision import lower

NOT_A_POINT, IGNORED = -1, -10


class ObjectDecoder(nn.Module):
    """All four masks of every prompt with their quality and object pointers; see `docs/bundle.md`.

    Box corners come as points labelled 2 and 3. One padding point is always appended, as the original does; it looks
    the same after points, after a box and after both, because prompt tokens carry no position.
    """

    def __init__(self, model: Sam3, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        tracker = model.tracker_model
        self.dtype = dtype
        self.prompts = tracker.prompt_encoder
        self.decoder = tracker.mask_decoder
        self.pointer_projection = tracker.object_pointer_proj
        self.resolution = self.prompts.input_image_size
        self.side = self.prompts.image_embedding_size[0]
        self.register_buffer("positions", self._picture_positions(tracker.shared_image_embedding.positional_embedding))
        self.register_buffer("padding_point", torch.zeros(1, 1, 2))
        self.register_buffer("padding_label", torch.tensor([[NOT_A_POINT]]))
        transformer = ["self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token", "mlp"]
        lower(self.decoder, [f"transformer.layers.*.{name}" for name in transformer], dtype)
        lower(self.decoder, ["transformer.final_attn_token_to_image", "upscale_conv1", "upscale_conv2"], dtype)

    @staticmethod
    def _encode(points: Tensor, directions: Tensor) -> Tensor:
        """Random Fourier features (Tancik et al. 2020) of points in 0-1: [...,2] -> [...,Ct]."""
        angles = 2 * math.pi * ((2 * points - 1) @ directions)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def _picture_positions(self, directions: Tensor) -> Tensor:
        """[1, g*g, Ct]: the encoding of the centre of every feature cell, row by row."""
        centres = (torch.arange(self.side, dtype=torch.float32) + 0.5) / self.side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self._encode(torch.stack((x, y), dim=-1), directions.detach().float()).flatten(0, 1)[None]

    def _encode_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """points [N,P,2] in pixels of the R x R square, labels [N,P] -> tokens [N,P+1,Ct]."""
        prompts = self.prompts
        points = torch.cat((points + 0.5, self.padding_point.expand(points.shape[0], -1, -1)), dim=1)
        labels = torch.cat((labels, self.padding_label.expand(labels.shape[0], -1)), dim=1)[..., None]
        tokens = self._encode(points / self.resolution, prompts.shared_embedding.positional_embedding)
        tokens = torch.where(labels == NOT_A_POINT, prompts.not_a_point_embed.weight, tokens)
        tokens = tokens * (labels != IGNORED)
        return tokens + prompts.point_embed(labels[..., 0].clamp(min=0)) * (labels >= 0)

    def _upscale(self, image: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        """[N,g*g,Ct] -> [N,Ct/8,4g,4g], with the finer features added on the way."""
        decoder = self.decoder
        image = image.transpose(1, 2).unflatten(-1, (self.side, self.side))
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image) + middle))
        return decoder.activation(decoder.upscale_conv2(image) + fine)

    def forward(
        self,
        tracker_fine: Tensor,
        tracker_middle: Tensor,
        tracker_coarse: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, ...]:
        decoder = self.decoder
        sparse = self._encode_points(points, labels)
        dense = torch.where(
            has_mask[:, None, None, None],
            self.prompts.mask_embed(mask.float()),
            self.prompts.no_mask_embed.weight[..., None, None],
        )
        outputs = torch.cat((decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight))
        tokens = torch.cat((outputs[None].expand(sparse.shape[0], -1, -1), sparse), dim=1)
        # transformers' layers carry a dimension for several prompts per picture; here it is always one.
        tokens, image = decoder.transformer(
            point_embeddings=tokens[:, None],
            image_embeddings=tracker_coarse.float() + dense,
            image_positional_embeddings=self.positions.transpose(1, 2).unflatten(-1, (self.side, self.side)),
            attention_similarity=None,
        )
        tokens, image = tokens[:, 0], image[:, 0]
        mask_tokens = tokens[:, 2 : 2 + decoder.num_mask_tokens]
        upscaled = self._upscale(image, tracker_middle.float(), tracker_fine.float())
        weights = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1)
        masks = (weights @ upscaled.flatten(2)).unflatten(-1, (4 * self.side, 4 * self.side))
        quality = decoder.iou_prediction_head(tokens[:, 1])
        object_score = decoder.pred_obj_score_head(tokens[:, 0])
        pointers = self.pointer_projection(mask_tokens)
        return masks.to(self.dtype), quality, object_score, pointers.to(self.dtype)
