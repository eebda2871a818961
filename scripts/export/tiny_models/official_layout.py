"""A model's weights under the official keys: the inverse of the loader's mapping, to make checkpoints to load."""

import torch
from torch import Tensor

from sam3_export.model import Sam3
from sam3_export.official import source_of


def as_official(model: Sam3) -> dict[str, Tensor]:
    """The state dict of an official `sam3.pt`, with one key of each kind that is not needed."""
    thirds: dict[str, list[Tensor | None]] = {}
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        source = source_of(name)
        key = source.keys[0]
        if source.take == "third":
            thirds.setdefault(key, [None] * 3)[source.third] = value
        elif source.take == "without first row":
            state[key] = torch.cat((torch.full_like(value[:, :1], 7.0), value), 1)
        elif source.take == "transposed":
            state[key] = value.T.contiguous()
        elif source.take == "rows":
            state |= {part: value[row : row + 1].clone() for row, part in enumerate(source.keys)}
        else:
            state[key] = value
    state |= {key: torch.cat(values) for key, values in thirds.items()}
    state["detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis"] = torch.zeros(4, 4, dtype=torch.complex64)
    state["detector.geometry_encoder.points_pool_project.weight"] = torch.zeros(2, 2)
    return state
