"""Configurations of detector and tracker, and what `--resolution` does to them."""

import copy
from typing import Any

from .errors import ExportError
from .transformers_import import Sam3Config, Sam3TrackerVideoConfig, Sam3VideoConfig

# The official image encoder normalises with 1e-5, transformers' port with 1e-6; a checkpoint keeps its own layout's.
OFFICIAL_VISION_EPS = 1e-5
FULL_WIDTH = 256
MEMORY_CHANNELS = 64
SMALL_TRACKER_INNER = 256


def official_configs() -> tuple[Sam3Config, Sam3TrackerVideoConfig]:
    """The one configuration there is in the official layout."""
    config = Sam3VideoConfig()
    config.detector_config.vision_config.backbone_config.layer_norm_eps = OFFICIAL_VISION_EPS
    return config.detector_config, config.tracker_config


def folder_configs(content: dict[str, Any]) -> tuple[Sam3Config, Sam3TrackerVideoConfig]:
    """Configurations from a transformers `config.json`: a `sam3_video` one, or a `sam3` one (detector only), which may
    carry a `tracker_config` of its own."""
    content = copy.deepcopy(content)
    if content.get("model_type") == "sam3_video":
        video = Sam3VideoConfig(**content)
        return video.detector_config, video.tracker_config
    if content.get("model_type") != "sam3":
        raise ExportError(
            "CHECKPOINT_INVALID",
            f"config.json is of model_type {content.get('model_type')!r}; expected 'sam3' or 'sam3_video'",
        )
    tracker = content.pop("tracker_config", None)
    detector = Sam3Config(**content)
    return detector, derive_tracker(detector) if tracker is None else Sam3TrackerVideoConfig(**tracker)


def derive_tracker(detector: Sam3Config, width: int | None = None) -> Sam3TrackerVideoConfig:
    """A tracker for a detector that came without one.

    A full-size detector gets the official tracker. A smaller one gets a tracker of its own width, but at least of the
    64 channels that memories have, with two memory layers and narrow feed-forward layers.
    """
    backbone = detector.vision_config.backbone_config
    vision = {"backbone_config": backbone.to_dict(), "image_size": backbone.image_size}
    if width is None:
        width = max(detector.vision_config.fpn_hidden_size, MEMORY_CHANNELS)
    if width == FULL_WIDTH:
        return Sam3TrackerVideoConfig(vision_config=vision, image_size=backbone.image_size)
    size = {"image_size": backbone.image_size, "patch_size": backbone.patch_size}
    return Sam3TrackerVideoConfig(
        vision_config={**vision, "fpn_hidden_size": width},
        image_size=backbone.image_size,
        prompt_encoder_config={"hidden_size": width, **size},
        mask_decoder_config={"hidden_size": width, "mlp_dim": SMALL_TRACKER_INNER, "iou_head_hidden_dim": width},
        memory_attention_hidden_size=width,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=SMALL_TRACKER_INNER,
        memory_encoder_hidden_size=width,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=SMALL_TRACKER_INNER,
    )


def set_resolution(detector: Sam3Config, tracker: Sam3TrackerVideoConfig, resolution: int) -> None:
    """Change the input size of both."""
    backbone = detector.vision_config.backbone_config
    step = backbone.patch_size * backbone.window_size
    if resolution < step or resolution % step:
        raise ExportError(
            "BAD_OPTION",
            f"--resolution {resolution} does not fit: it must be a multiple of {step} "
            f"(patch {backbone.patch_size} x window {backbone.window_size})",
        )
    detector.image_size = resolution
    tracker.image_size = resolution


def check_sizes(detector: Sam3Config) -> None:
    """Windows must fit the picture: SAM 3 is never run with padded windows, and our encoder cannot."""
    backbone = detector.vision_config.backbone_config
    step = backbone.patch_size * backbone.window_size
    if backbone.image_size % step:
        raise ExportError(
            "CHECKPOINT_INVALID",
            f"image_size {backbone.image_size} of the configuration is no multiple of {step} "
            f"(patch {backbone.patch_size} x window {backbone.window_size})",
        )
