"""transformers' SAM 3, imported without torchvision, whether that is installed or not.

transformers marks its SAM 3 classes as needing torchvision, for one function only: `roi_align` in the geometry
encoder. PyPI carries torchvision's CUDA build alone, which does not load beside a CPU torch, and our export has a
`sam3::roi_align` of its own (`roi_align.py`). So transformers is told that torchvision is not there, and that its
classes may be used all the same. Calling transformers' own geometry encoder then fails, loudly, with a NameError; a
reference run gives it ours first (`tiny_models/reference.py`).
"""

from transformers import utils
from transformers.utils import import_utils

utils.is_torchvision_available = import_utils.is_torchvision_available = lambda: False
import_utils.BACKENDS_MAPPING["torchvision"] = (lambda: True, "")

from transformers.models.sam3.configuration_sam3 import Sam3Config
from transformers.models.sam3.modeling_sam3 import (
    Sam3Model,
    Sam3VisionNeck,
    box_cxcywh_to_xyxy,
    inverse_sigmoid,
)
from transformers.models.sam3_tracker_video.configuration_sam3_tracker_video import Sam3TrackerVideoConfig
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoModel
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

__all__ = [
    "Sam3Config",
    "Sam3Model",
    "Sam3TrackerVideoConfig",
    "Sam3TrackerVideoModel",
    "Sam3VideoConfig",
    "Sam3VisionNeck",
    "box_cxcywh_to_xyxy",
    "inverse_sigmoid",
]
