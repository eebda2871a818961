"""Reads a checkpoint of either layout into a model, or says precisely what is wrong with it."""

import hashlib
import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .configs import check_sizes, folder_configs, official_configs, set_resolution
from .errors import ExportError
from .fill import fill_model, initialise_tracker
from .manifest import hash_file
from .model import Sam3, build_on_meta
from .official import Source, is_multiplex, is_official, not_needed, rename_old_prefixes, source_of
from .transformers_import import Sam3Config, Sam3TrackerVideoConfig

# Tables that older transformers versions stored; we compute them.
COMPUTED = ("position_ids", "inv_freq")


@dataclass
class Checkpoint:
    """A model with its weights and what the manifest says of where they came from."""

    model: Sam3
    layout: str
    sha256: str
    tracker_trained: bool
    # Whether what makes and reads the tracker's memories was trained too; without, a model answers clicks, but no video.
    memory_trained: bool
    tokenizer_folder: Path | None = None
    licence: str | None = None


def load_checkpoint(path: Path, resolution: int | None = None) -> Checkpoint:
    """Load `sam3.pt`, `model.safetensors` (with its config.json beside it, if any) or a folder of either."""
    if not path.exists():
        raise ExportError("CHECKPOINT_NOT_FOUND", f"no such file or folder: {path}")
    files = weight_files(path)
    state: dict[str, Tensor] = {}
    for file in files:
        state |= read_tensors(file)
    sha256 = combined_hash(files)
    if is_official(state):
        return _load_official(state, sha256, resolution)
    return _load_transformers(state, path if path.is_dir() else path.parent, sha256, resolution)


def _load_official(state: dict[str, Tensor], sha256: str, resolution: int | None) -> Checkpoint:
    if is_multiplex(state):
        raise ExportError("CHECKPOINT_INVALID", "this is a SAM 3.1 (object multiplex) checkpoint; SAM 3 is supported")
    model = _build(*official_configs(), resolution)
    fill_model(model, rename_old_prefixes(state), source_of, not_needed)
    return Checkpoint(model, "official", sha256, tracker_trained=True, memory_trained=True)


def _load_transformers(state: dict[str, Tensor], folder: Path, sha256: str, resolution: int | None) -> Checkpoint:
    """A `Sam3VideoModel` with all parts, or a `Sam3Model`: the detector alone, which gets an untrained tracker."""
    content = read_config(folder, state)
    detector, tracker = folder_configs(content)
    model = _build(detector, tracker, resolution)
    has_tracker = any(key.startswith(("tracker_model.", "tracker_neck.")) for key in state)
    if not any(key.startswith("detector_model.") for key in state):
        state = {key if key.startswith("tracker_") else f"detector_model.{key}": state[key] for key in state}
    if not has_tracker:
        state = state | initialise_tracker(tracker)
    fill_model(model, state, lambda name: Source((name,)), lambda key: key.endswith(COMPUTED))
    tokenizer_folder = folder if (folder / "tokenizer.json").is_file() else None
    memory_trained = has_tracker and content.get("memory_trained", True) is not False
    return Checkpoint(
        model, "transformers", sha256, has_tracker, memory_trained, tokenizer_folder, content.get("licence")
    )


def _build(detector: Sam3Config, tracker: Sam3TrackerVideoConfig, resolution: int | None) -> Sam3:
    if resolution is not None:
        set_resolution(detector, tracker, resolution)
    check_sizes(detector)
    return build_on_meta(detector, tracker)


def weight_files(path: Path) -> list[Path]:
    """The file itself, or a folder's `model.safetensors`, sharded or not, or its `sam3.pt`."""
    if path.is_file():
        return [path]
    index = path / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
        files = [path / Path(name).name for name in names]
    else:
        files = [path / name for name in ("model.safetensors", "sam3.pt") if (path / name).is_file()][:1]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        wanted = ", ".join(missing) or "model.safetensors, model.safetensors.index.json or sam3.pt"
        raise ExportError("CHECKPOINT_NOT_FOUND", f"no {wanted} in the folder {path}")
    return files


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of one file. Pickles are read with `weights_only`: code in them is refused, not run."""
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ExportError(
            "CHECKPOINT_INVALID", f"{path} is not a readable checkpoint (truncated, or another kind of file): {reason}"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ExportError("CHECKPOINT_INVALID", f"{path} holds no state dict of tensors")
    return content


def read_config(folder: Path, state: dict[str, Tensor]) -> dict:
    """A folder's config.json; without one, keys of a whole transformers checkpoint mean the released model's."""
    path = folder / "config.json"
    if path.is_file():
        return read_json(path)
    if any(key.startswith("detector_model.") for key in state):
        return {"model_type": "sam3_video"}
    raise ExportError(
        "CHECKPOINT_INVALID",
        f"the keys are not those of SAM 3 ({', '.join(list(state)[:3])}, …), and there is no config.json in {folder}",
    )


def read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ExportError("CHECKPOINT_INVALID", f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ExportError("CHECKPOINT_INVALID", f"{path} is not a JSON object")
    return content


def combined_hash(files: list[Path]) -> str:
    """sha256 of the one weight file; of several, the sha256 over their digests in order of name."""
    digests = [hash_file(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
