"""The parts of a bundle, one module per file. Shapes use the letters of `docs/bundle.md`.

Each part is a thin `nn.Module` around modules of transformers' SAM 3: weights and layers are theirs, and what they
compute from sizes, devices or Python numbers is replaced by buffers and by code whose trace holds for every batch
size, prompt length and number of boxes.
"""

from .concept_decoder import ConceptDecoder
from .image_encoder import ImageEncoder
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .object_decoder import ObjectDecoder
from .text_encoder import TextEncoder
from .tracker_constants import TrackerConstants

PARTS = {
    "image_encoder": ImageEncoder,
    "text_encoder": TextEncoder,
    "concept_decoder": ConceptDecoder,
    "object_decoder": ObjectDecoder,
    "memory_encoder": MemoryEncoder,
    "memory_attention": MemoryAttention,
    "tracker_constants": TrackerConstants,
}
