"""Puts a checkpoint's tensors into a model built on the meta device, and checks that every one fits."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from .errors import ExportError
from .model import Sam3
from .official import Source, take
from .transformers_import import Sam3TrackerVideoConfig, Sam3TrackerVideoModel, Sam3VisionNeck

NAMED = 5
TRACKER_SEED = 0
PICTURE_DIRECTIONS = "shared_image_embedding.positional_embedding"
PROMPT_DIRECTIONS = "prompt_encoder.shared_embedding.positional_embedding"


def fill_model(
    model: Sam3,
    state: Mapping[str, Tensor],
    source_of: Callable[[str], Source],
    may_be_left: Callable[[str], bool],
) -> None:
    """Assign `state` to `model` in fp32. Missing, unknown or ill-shaped keys are an error that names them.

    `source_of` says where each tensor of the model comes from, `may_be_left` which keys need not be used.
    """
    missing, ill_shaped, filled, used = [], [], {}, set()
    for name, wanted in model.state_dict().items():
        source = source_of(name)
        used.update(source.keys)
        absent = [key for key in source.keys if key not in state]
        if absent:
            missing += absent
            continue
        value = _try_take(source, state)
        if value is None or value.shape != wanted.shape:
            ill_shaped.append(f"{source.keys[0]} {list(state[source.keys[0]].shape)} (for {name} {list(wanted.shape)})")
            continue
        # A part of a larger tensor is copied, or the whole one would be kept and stored with it.
        filled[name] = value.to(torch.float32) if source.take == "all" else value.to(torch.float32, copy=True)
    unknown = [key for key in state if key not in used and not may_be_left(key)]
    problems = [("missing", list(dict.fromkeys(missing))), ("of another shape", ill_shaped), ("unknown", unknown)]
    if any(keys for _, keys in problems):
        found = "; ".join(_describe(kind, keys) for kind, keys in problems if keys)
        raise ExportError("CHECKPOINT_INVALID", f"the checkpoint does not fit SAM 3: {found}")
    model.load_state_dict(filled, assign=True)


def _try_take(source: Source, state: Mapping[str, Tensor]) -> Tensor | None:
    try:
        return take(source, state)
    except (IndexError, RuntimeError):
        return None


def _describe(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return f"{len(keys)} {kind}: {', '.join(keys[:NAMED])}{more}"


def initialise_tracker(config: Sam3TrackerVideoConfig) -> dict[str, Tensor]:
    """Weights for the tracker of a checkpoint that has none: the same every time, and of no use until trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TRACKER_SEED)
        fresh = nn.ModuleDict(
            {
                "tracker_neck": Sam3VisionNeck(config.vision_config),
                "tracker_model": Sam3TrackerVideoModel(config, remove_vision_encoder=True),
            }
        )
    state = fresh.state_dict()
    # One table of random directions, which transformers holds twice.
    state[f"tracker_model.{PICTURE_DIRECTIONS}"] = state[f"tracker_model.{PROMPT_DIRECTIONS}"]
    return state
