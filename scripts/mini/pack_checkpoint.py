"""Pack a training checkpoint's weights (with the training-only heads, without optimizer state) for `--init`.

    python pack_checkpoint.py RUN/checkpoint.pt OUT.safetensors
"""
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def unpacked(path):
    """What a checkpoint.pt would hold, of a packed one: all but the optimizers' state."""
    with safe_open(str(path), "pt") as packed:
        facts = packed.metadata()
        step = {k: packed.get_tensor(k) for k in packed.keys()}
    return {
        "step": step, "average": {}, "average_steps": 0, "done": int(facts["done"]), "spent": 0.0, "seed": 0,
        "resolution": int(facts["resolution"]), "memory_trained": facts.get("memory_trained") == "true",
    }


def start_from(out, init):
    """What a run in folder `out` goes on from: packed weights, or its own checkpoint.pt where init is None."""
    if init is None:
        return torch.load(out / "checkpoint.pt", weights_only=True)
    (out / "log").mkdir(parents=True, exist_ok=True)
    return unpacked(init)


def pack(saved, out):
    """Write the weights of what a checkpoint.pt holds."""
    weights = {k: v.contiguous().clone() for k, v in saved["step"].items()}
    facts = {
        "done": str(saved["done"]), "resolution": str(saved["resolution"]),
        "memory_trained": "true" if saved.get("memory_trained") else "false",
    }
    save_file(weights, out, metadata=facts)


if __name__ == "__main__":
    pack(torch.load(sys.argv[1], weights_only=True), sys.argv[2])
