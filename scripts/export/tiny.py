"""Make tiny random models: bundles, and fixtures with what transformers answers for them.

python scripts/export/tiny.py --out <folder> [--seeds 3]
"""

import argparse
import shutil
from pathlib import Path

import transformers
from sam3_export.bundle import export_bundle
from sam3_export.checkpoint import Checkpoint
from sam3_export.tokenizer import write_bpe_tokenizer
from tiny_models.faults import write_fault_bundle
from tiny_models.fixtures import CASES, build_case, save_fixture, save_for_javascript
from tiny_models.model import tiny_model
from tiny_models.objects import OBJECT_CASES, build_object_case, tracker_of
from tiny_models.videos import build_video

README = """Tiny random SAM 3 models, made by scripts/export/tiny.py.

<seed>/bundle       a bundle as docs/bundle.md describes it, fp32
<seed>/<case>.pt    inputs and what transformers' own Sam3Model answers (eager, the same weights); read in C++ with
                    torch::jit::load(path).named_buffers(), in Python with dict(torch.jit.load(path).named_buffers())

A case holds one picture and N prompts:
  picture      [H,W,3] uint8
  pixels       [1,3,R,R] expected preprocessed picture
  ids, mask    [N,L] int64 (0 where mask is false), bool
  boxes        [N,K,4] fp32 centre x, centre y, width, height in 0-1; K may be 0
  box_labels   [N,K] int64 (1 positive, 0 negative); box_mask [N,K] bool
  logits [N,Q], pred_boxes [N,Q,4], presence [N,1], masks [N,Q,4g,4g], semantic [N,1,4g,4g]: raw outputs
  final_*      objects with sigmoid(logit) * sigmoid(presence) > 0.5, ordered by prompt, then query:
  final_prompt [n], final_query [n] int64, final_scores [n], final_boxes [n,4] in pixels (not clipped),
  final_masks  [n,H,W] bool: logits resized to H x W (bilinear, align_corners false) > 0
  final_semantic [N,H,W] bool: probabilities resized likewise > 0.5

<seed>/objects/<case>.pt, .safetensors   object prompts and what transformers' Sam3TrackerModel answers; one picture, N objects:
  picture      [H,W,3] uint8
  points       [N,P,2] fp32 in pixels of the picture, corners of boxes last; P may be 0
  labels       [N,P] int64: 1 positive, 0 negative, 2 and 3 corners of a box
  previous     [N,1,4g,4g] mask prompts, or [0,1,4g,4g] without
  three_masks  [N,3,4g,4g], three_quality [N,3], three_final [N,3,H,W] bool: with multimask_output
  single_masks [N,1,4g,4g], single_quality [N,1], single_final [N,1,H,W] bool: without
  object_score [N,1] logit

<seed>/videos/tracking.pt   a clip, prompts for several objects, and what transformers' Sam3TrackerVideoModel answers, call
                            by call; n is a call's number, r a row in it
  clip         [T,H,W,3] uint8
  frames, reverse, prompts   [calls] the frame of each call, whether time runs backward, how many objects are told something
  object_n_r   the object told something, and what: points_n_r [P,2] in pixels of the clip and labels_n_r [P] (as above),
               or mask_n_r [H,W] of 0 and 1
  masks_n      [objects,4g,4g] of the objects there are, in the order they came; scores_n [objects] logits

faults/bundle       the bundle of seed 0 with an operation `sam3_test::watch(Tensor x, str part) -> Tensor` on the first
                    input of every part, through which a test makes a part fail (native/test/faults.cpp); its memory_attention
                    has no `masked`
"""


def write_seed(seed: int, folder: Path) -> None:
    """One model: its fixtures first, from the untouched model, then its bundle."""
    folder.mkdir(parents=True)
    model = tiny_model(seed)
    for index, case in enumerate(CASES):
        tensors = build_case(model, case, seed=1000 * seed + index)
        save_fixture(tensors, folder / f"{case.name}.pt")
        print(f"seed {seed} {case.name}: {len(tensors['final_scores'])} objects")
    tracker = tracker_of(model)
    (folder / "objects").mkdir()
    for index, case in enumerate(OBJECT_CASES):
        tensors = build_object_case(tracker, case, 1000 * seed + 500 + index)
        save_fixture(tensors, folder / "objects" / f"{case.name}.pt")
        save_for_javascript(tensors, folder / "objects" / f"{case.name}.safetensors")
    (folder / "videos").mkdir()
    save_fixture(build_video(model, 1000 * seed + 700), folder / "videos" / "tracking.pt")
    checkpoint = Checkpoint(
        model, "transformers", "0" * 64, tracker_trained=True, memory_trained=True, licence="Random weights."
    )
    export_bundle(
        checkpoint,
        folder / "bundle",
        name=f"tiny-{seed}",
        dtype="fp32",
        write_tokenizer=lambda path: write_bpe_tokenizer([], path),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make tiny random models with bundles and fixtures.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    out = options.out.absolute()
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for seed in range(options.seeds):
        write_seed(seed, fresh / str(seed))
    write_fault_bundle(tiny_model(0), fresh / "0" / "bundle", fresh / "faults" / "bundle")
    (fresh / "README").write_text(README)
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)


if __name__ == "__main__":
    main()
