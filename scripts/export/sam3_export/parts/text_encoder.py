"""Token ids to prompt tokens: CLIP's causal text transformer and the projection to the detector's width."""

import torch
from torch import Tensor, nn

from ..model import Sam3
from ..precision import lower


class TextEncoder(nn.Module):
    """ids [N,L] int64, mask [N,L] bool (true = token) -> text [N,L,C]. L may be anything up to the context length."""

    def __init__(self, model: Sam3, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        text = model.detector_model.text_encoder.text_model
        self.dtype = dtype
        self.token_embedding = text.embeddings.token_embedding
        self.position_embedding = text.embeddings.position_embedding
        self.layers = text.encoder.layers
        self.final_layer_norm = text.final_layer_norm
        self.projection = model.detector_model.text_projection
        length = self.position_embedding.weight.shape[0]
        self.register_buffer("causal", torch.ones(length, length, dtype=torch.bool).tril())
        lower(self, ["layers.*.self_attn", "layers.*.mlp"], dtype)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        length = ids.shape[1]
        hidden = self.token_embedding(ids) + self.position_embedding.weight[:length]
        visible = self.causal[:length, :length] & mask[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, visible)
        return self.projection(self.final_layer_norm(hidden)).to(self.dtype)
