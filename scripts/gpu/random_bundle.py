"""A bundle of random weights, made without a checkpoint and without the network.

    python scripts/gpu/random_bundle.py --out <folder> --size full|small --dtype fp32|bf16

`full` is the released configuration (0.86 billion weights, 1008 pixels), `small` the tiny one of the tests. Weights come
from a seed, so two machines with the same torch make the same bundle. The tokenizer knows single bytes only.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))

import transformers
from sam3_export.allocator import return_freed_memory
from sam3_export.bundle import export_bundle
from sam3_export.checkpoint import Checkpoint
from sam3_export.configs import official_configs
from sam3_export.manifest import DTYPES
from sam3_export.model import Sam3
from sam3_export.tokenizer import write_bpe_tokenizer
from tiny_models.model import randomise, tiny_model

SEED = 0


def full_model() -> Sam3:
    model = Sam3(*official_configs())
    randomise(model, SEED)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a bundle of random weights.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=["full", "small"], required=True)
    parser.add_argument("--dtype", choices=list(DTYPES), required=True)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    return_freed_memory()
    model = full_model() if options.size == "full" else tiny_model(SEED)
    checkpoint = Checkpoint(model, "transformers", "0" * 64, tracker_trained=True, memory_trained=True, licence="Random weights.")
    export_bundle(
        checkpoint,
        options.out.absolute(),
        name=f"{options.size}-random",
        dtype=options.dtype,
        write_tokenizer=lambda path: write_bpe_tokenizer([], path),
    )


if __name__ == "__main__":
    main()
