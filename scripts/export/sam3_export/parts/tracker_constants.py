"""Small tensors that the tracking loop needs outside any network."""

import torch
from torch import Tensor, nn

from ..model import Sam3


class TrackerConstants(nn.Module):
    """Buffers to be read by name, fp32 whatever the bundle's dtype: they are a few thousand numbers."""

    def __init__(self, model: Sam3, _dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        tracker = model.tracker_model
        pointer_time = tracker.temporal_positional_encoding_projection_layer
        buffers = {
            "no_memory": tracker.no_memory_embedding.reshape(1, -1, 1, 1),
            "no_object_pointer": tracker.no_object_pointer,
            "no_object_spatial": tracker.occlusion_spatial_embedding_parameter,
            "memory_temporal": tracker.memory_temporal_positional_encoding.flatten(1),
            "pointer_temporal_weight": pointer_time.weight,
            "pointer_temporal_bias": pointer_time.bias,
            "mask_downsample_weight": tracker.mask_downsample.weight,
            "mask_downsample_bias": tracker.mask_downsample.bias,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.detach().float().clone())

    def forward(self) -> Tensor:
        """TorchScript wants a method; nothing calls it."""
        return self.no_memory
