"""A picture's features and an object's mask to one memory of that frame."""

import torch
from torch import Tensor, nn

from ..model import Sam3
from ..positions import sine_grid
from ..precision import lower


class MemoryEncoder(nn.Module):
    """tracker_coarse [N,Ct,g,g], mask [N,1,16g,16g] scaled by the caller -> memory and position, both [N,64,g,g]."""

    def __init__(self, model: Sam3, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self.encoder = model.tracker_model.memory_encoder
        side = model.tracker_model.prompt_encoder.image_embedding_size[0]
        self.register_buffer("position", sine_grid(side, self.encoder.projection.out_channels))
        lower(self.encoder, ["mask_downsampler.layers.*.conv", "mask_downsampler.final_conv"], dtype)
        lower(self.encoder, ["feature_projection", "projection"], dtype)
        convolutions = ["depthwise_conv", "pointwise_conv1", "pointwise_conv2"]
        lower(self.encoder, [f"memory_fuser.layers.*.{name}" for name in convolutions], dtype)

    def forward(self, tracker_coarse: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        encoder = self.encoder
        features = encoder.feature_projection(tracker_coarse.float()) + encoder.mask_downsampler(mask.float())
        memory = encoder.projection(encoder.memory_fuser(features)).to(self.dtype)
        return memory, self.position.to(self.dtype).expand(memory.shape[0], -1, -1, -1)
