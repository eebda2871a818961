"""Pack a training checkpoint's weights (with the training-only heads, without optimizer state) for `--init`.

    python pack_checkpoint.py RUN/checkpoint.pt OUT.safetensors
"""
import sys

import torch
from safetensors.torch import save_file

if __name__ == "__main__":
    saved = torch.load(sys.argv[1], weights_only=True)
    weights = {k: v.contiguous().clone() for k, v in saved["step"].items()}
    save_file(weights, sys.argv[2], metadata={"done": str(saved["done"]), "resolution": str(saved["resolution"])})
