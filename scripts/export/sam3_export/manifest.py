"""`manifest.json`: what a bundle says about itself. Schema: `lib/bundle/manifest.ts`."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from .model import Sam3

FORMAT = 1
SCORE_THRESHOLD, MASK_THRESHOLD = 0.5, 0.0
MEAN = STD = [0.5, 0.5, 0.5]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What `Lowered` never wraps, in words.
KEPT_IN_FP32 = [
    "residual streams and normalisations",
    "rotary and sine positions",
    "token and position embeddings",
    "box coordinates and box refinement",
    "relative position logarithms",
    "presence and scores",
    "object decoder feed-forward layers",
    "roi_align",
    "prompt encoder of the tracker",
    "quality, object score and pointer heads of the tracker",
    "tracker constants",
]

LICENCES = {
    "official": "Weights made from Meta's SAM 3 checkpoint: the SAM License applies to them and to this bundle.",
    "transformers": "The licence of the checkpoint this bundle was made from applies.",
}


def hash_file(path: Path) -> str:
    """sha256 in hex, read in pieces (`hashlib.file_digest` would need Python 3.11)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """{file, sha256, bytes} of one file of the bundle."""
    return {"file": path.name, "sha256": hash_file(path), "bytes": path.stat().st_size}


def tracker_section(model: Sam3, trained: bool, memory_trained: bool) -> dict[str, Any]:
    """Widths and constants of the tracking loop, from transformers' configuration."""
    config = model.tracker_model.config
    decoder = config.mask_decoder_config
    return {
        "trained": trained,
        "memoryTrained": memory_trained,
        "width": model.tracker_model.hidden_dim,
        "memoryChannels": config.memory_encoder_output_channels,
        "memories": config.num_maskmem,
        "maxConditioningFrames": config.max_cond_frame_num,
        "maxObjectPointers": config.max_object_pointers_in_encoder,
        "memoryMaskScale": config.sigmoid_scale_for_mem_enc,
        "memoryMaskBias": config.sigmoid_bias_for_mem_enc,
        "multimaskStabilityDelta": decoder.dynamic_multimask_stability_delta,
        "multimaskStabilityThreshold": decoder.dynamic_multimask_stability_thresh,
    }


def build_manifest(
    model: Sam3,
    *,
    name: str,
    dtype: str,
    parts: dict[str, Path],
    tokenizer: dict[str, Any],
    layout: str,
    source_sha256: str,
    tracker_trained: bool,
    memory_trained: bool,
    licence: str | None,
) -> dict[str, Any]:
    """The manifest as plain data, keys in the order of the schema."""
    vision = model.detector_model.vision_encoder.config
    side = vision.image_size // vision.backbone_config.patch_size
    return {
        "format": FORMAT,
        "name": name,
        "resolution": vision.image_size,
        "patchSize": vision.backbone_config.patch_size,
        "featureSize": side,
        "maskSize": 4 * side,
        "width": model.detector_model.detr_decoder.hidden_size,
        "queries": model.detector_model.detr_decoder.query_embed.num_embeddings,
        "dtype": dtype,
        "keptInFp32": [] if dtype == "fp32" else KEPT_IN_FP32,
        "torch": torch.__version__.split("+")[0],
        "parts": {part: describe(path) for part, path in parts.items()},
        "tokenizer": tokenizer,
        "normalize": {"mean": MEAN, "std": STD},
        "thresholds": {"score": SCORE_THRESHOLD, "mask": MASK_THRESHOLD},
        "tracker": tracker_section(model, tracker_trained, memory_trained),
        "source": {"layout": layout, "sha256": source_sha256},
        "licence": licence or LICENCES[layout],
    }
