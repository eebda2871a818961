"""A frame's features conditioned on what the tracker remembers of the object."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model import Sam3
from ..positions import rotary_tables, sine_grid
from ..precision import lower

CURRENT_POSITION_WEIGHT = 0.1


class MemoryAttention(nn.Module):
    """Self-attention over the frame, cross-attention to memories and object pointers; see `docs/bundle.md`.

    Memory tokens turn with rotary positions, frame after frame over the same grid; pointer tokens do not turn.

    Objects that remember equally much go through `forward`, others through `masked`, with what they lack filled up.
    """

    METHODS = ("forward", "masked")

    def __init__(self, model: Sam3, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        attention = model.tracker_model.memory_attention
        config = attention.config
        self.dtype = dtype
        self.layers = attention.layers
        self.layer_norm = attention.layer_norm
        self.side = config.memory_attention_rope_feat_sizes[0]
        width = config.memory_attention_hidden_size
        self.heads = config.memory_attention_num_attention_heads
        self.head_channels = width // (config.memory_attention_downsample_rate * self.heads)
        cos, sin = rotary_tables(self.side, self.head_channels, config.rope_parameters["rope_theta"], 1.0)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        position = sine_grid(self.side, width).flatten(2).transpose(1, 2)
        self.register_buffer("position", (CURRENT_POSITION_WEIGHT * position).contiguous())
        projections = [f"{name}.{side}_proj" for name in ("self_attn", "cross_attn_image") for side in "qkvo"]
        lower(self, [f"layers.*.{name}" for name in (*projections, "linear1", "linear2")], dtype)

    def _split(self, tokens: Tensor) -> Tensor:
        """[N, S, heads * c] -> [N, heads, S, c]."""
        return tokens.unflatten(-1, (self.heads, self.head_channels)).transpose(1, 2)

    def _rotate(self, tokens: Tensor) -> Tensor:
        """Turn neighbouring channels as pairs: [N, heads, frames * g*g, c], the tables repeat for every frame."""
        frames = tokens.unflatten(2, (-1, self.side * self.side))
        even, odd = frames.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((-odd, even), dim=-1).flatten(-2)
        return (frames * self.cos + turned * self.sin).flatten(2, 3)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, there: Tensor | None = None) -> Tensor:
        query, key, value = (part.to(self.dtype) for part in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=there)
        return attended.transpose(1, 2).flatten(2).float()

    def _self_attention(self, attention: nn.Module, tokens: Tensor) -> Tensor:
        query = self._rotate(self._split(attention.q_proj(tokens)))
        key = self._rotate(self._split(attention.k_proj(tokens)))
        return attention.o_proj(self._attend(query, key, self._split(attention.v_proj(tokens))))

    def _cross_attention(
        self, attention: nn.Module, tokens: Tensor, keys: tuple[Tensor, Tensor], values: Tensor, there: Tensor | None
    ) -> Tensor:
        """keys: memory with its positions, pointers with theirs; values: both without, in the same order; there: true
        for every value that is no filling, or None."""
        memory, pointers = (self._split(attention.k_proj(part)) for part in keys)
        key = torch.cat((self._rotate(memory), pointers), dim=2)
        query = self._rotate(self._split(attention.q_proj(tokens)))
        return attention.o_proj(self._attend(query, key, self._split(attention.v_proj(values)), there))

    def _condition(
        self,
        coarse: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        pointers: Tensor,
        pointer_position: Tensor,
        there: Tensor | None,
    ) -> Tensor:
        memory, pointers = memory.float(), pointers.float()
        keys = (memory + memory_position.float(), pointers + pointer_position.float())
        values = torch.cat((memory, pointers), dim=1)
        tokens = coarse.float().flatten(2).transpose(1, 2) + self.position
        for layer in self.layers:
            tokens = tokens + self._self_attention(layer.self_attn, layer.layer_norm1(tokens))
            normed = layer.layer_norm2(tokens)
            tokens = tokens + self._cross_attention(layer.cross_attn_image, normed, keys, values, there)
            tokens = tokens + layer.linear2(layer.activation(layer.linear1(layer.layer_norm3(tokens))))
        tokens = self.layer_norm(tokens).transpose(1, 2).unflatten(-1, (self.side, self.side))
        return tokens.contiguous().to(self.dtype)

    def forward(
        self, coarse: Tensor, memory: Tensor, memory_position: Tensor, pointers: Tensor, pointer_position: Tensor
    ) -> Tensor:
        return self._condition(coarse, memory, memory_position, pointers, pointer_position, None)

    def masked(
        self,
        coarse: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        pointers: Tensor,
        pointer_position: Tensor,
        memory_there: Tensor,
        pointers_there: Tensor,
    ) -> Tensor:
        """memory_there [N,M], pointers_there [N,T] bool: false where there is only filling, which changes nothing."""
        there = torch.cat((memory_there, pointers_there), dim=1)[:, None, None, :]
        return self._condition(coarse, memory, memory_position, pointers, pointer_position, there)
