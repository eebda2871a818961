"""What transformers answers to points, boxes and masks on pictures from files: python object_parity_reference.py OUT

OUT gets the pictures and reference.json. The tiny random models, their cases and the eager Sam3TrackerModel are those of
scripts/export/tiny_models.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "export"))

import numpy as np
import torch
import transformers
from PIL import Image
from tiny_models.model import tiny_model
from tiny_models.objects import OBJECT_CASES, build_object_case, tracker_of

out = Path(sys.argv[1])
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)


def run_lengths(mask):
    """Run lengths of a mask, column by column, starting with background."""
    column_by_column = mask.T.reshape(-1)
    flat = np.concatenate(([False], column_by_column, [not column_by_column[-1]]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], edges))).tolist()


entries = []
for seed in (0, 1):
    tracker = tracker_of(tiny_model(seed))
    for index, case in enumerate(OBJECT_CASES):
        built = build_object_case(tracker, case, 9000 + 100 * seed + index)
        name = f"objects-{seed}-{case.name}.png"
        Image.fromarray(built["picture"].numpy()).save(out / name)
        objects = []
        for row in range(case.objects):
            # The tracker's own answers are not clamped; what the predictor hands out is.
            answers = {
                kind: [
                    {
                        "quality": float(built[f"{kind}_quality"][row, i]),
                        "logits": built[f"{kind}_masks"][row, i].clamp(-32, 32).flatten().tolist(),
                        "counts": run_lengths(built[f"{kind}_final"][row, i].numpy()),
                    }
                    for i in range(built[f"{kind}_masks"].shape[1])
                ]
                for kind in ("three", "single")
            }
            corners = built["points"][row, case.points :].flatten().tolist()
            objects.append({
                "points": built["points"][row, : case.points].tolist(),
                "labels": built["labels"][row, : case.points].tolist(),
                "box": corners if case.box else None,
                "mask": built["previous"][row].flatten().tolist() if case.mask else None,
                "objectScore": float(built["object_score"][row].flatten()[0].sigmoid()),
                **answers,
            })
        entries.append({
            "seed": seed, "name": case.name, "file": name, "width": case.width, "height": case.height, "objects": objects,
        })
(out / "reference.json").write_text(json.dumps(entries))
