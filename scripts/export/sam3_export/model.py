"""The whole model as the export sees it: transformers' detector, tracker neck and tracker side by side."""

import torch
from torch import nn

from .transformers_import import Sam3Config, Sam3Model, Sam3TrackerVideoConfig, Sam3TrackerVideoModel, Sam3VisionNeck


class Sam3(nn.Module):
    """Parameter names are those of transformers' `Sam3VideoModel`.

    One difference: the tracker neck takes its width from the tracker's own vision configuration, so that a small model
    may have a tracker wider than its detector. In the official model both are 256.
    """

    def __init__(self, detector: Sam3Config, tracker: Sam3TrackerVideoConfig) -> None:
        super().__init__()
        self.detector_model = Sam3Model(detector)
        self.tracker_neck = Sam3VisionNeck(tracker.vision_config)
        self.tracker_model = Sam3TrackerVideoModel(tracker, remove_vision_encoder=True)
        self.eval()


def build_on_meta(detector: Sam3Config, tracker: Sam3TrackerVideoConfig) -> Sam3:
    """The model without memory behind its weights; the checkpoint's tensors are assigned to it."""
    with torch.device("meta"):
        return Sam3(detector, tracker)
