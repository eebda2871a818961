"""Checkpoint folders of tiny models, as transformers would save them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from sam3_export.model import Sam3
from sam3_export.tokenizer import END, START, write_bpe_tokenizer


def save_folder(model: Sam3, folder: Path, *, with_tracker: bool, tokenizer: bool = True) -> Path:
    """`Sam3VideoModel`'s layout with the tracker, `Sam3Model`'s without."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    detector = model.detector_model.config.to_dict()
    if with_tracker:
        tracker = model.tracker_model.config.to_dict()
        config = {"model_type": "sam3_video", "detector_config": detector, "tracker_config": tracker}
    else:
        config = detector
        prefix = "detector_model."
        state = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(state, folder / "model.safetensors")
    if tokenizer:
        write_bpe_tokenizer([], folder / "tokenizer.json")
        special = {
            "bos_token": START,
            "eos_token": END,
            "pad_token": END,
            "context_length": 24,
            "box_only_text": "thing",
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return folder


def read_state(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")
