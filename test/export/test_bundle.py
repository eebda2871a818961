"""The whole program: files, manifest, progress, repeatability, other resolutions and dtypes."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from folders import save_folder

from sam3_export.cli import main
from sam3_export.parts import PARTS
from sam3_export.transformers_import import Sam3Config, Sam3Model
from tiny_models.fixtures import CASES, build_case
from tiny_models.model import tiny_model
from tiny_models.reference import preprocess, run_detector, Prompts

PROGRAM = Path(__file__).parents[2] / "scripts" / "export"
RAW = ("logits", "pred_boxes", "presence", "masks", "semantic")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_folder(tiny_model(0), tmp_path_factory.mktemp("tiny") / "checkpoint", with_tracker=True)


@pytest.fixture(scope="module")
def bundle(checkpoint):
    """Exported by a process of its own, as `sam3 export` does."""
    out = checkpoint.parent / "bundle"
    command = [sys.executable, str(PROGRAM), "--checkpoint", str(checkpoint), "--out", str(out), "--name", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return out, [json.loads(line) for line in done.stdout.splitlines()]


def run_bundle(folder, pixels, prompts, dtype=torch.float32):
    """What a runtime does with the first three parts."""
    parts = {name: torch.jit.load(folder / f"{name}.pt") for name in PARTS}
    with torch.inference_mode():
        features = [f.expand(len(prompts.ids), -1, -1, -1) for f in parts["image_encoder"](pixels.to(dtype))[:3]]
        text = parts["text_encoder"](prompts.ids, prompts.mask)
        boxes = (prompts.boxes, prompts.box_labels, prompts.box_mask)
        return dict(zip(RAW, parts["concept_decoder"](*features, text, prompts.mask, *boxes), strict=True))


def case_prompts(case):
    return Prompts(*(case[name] for name in ("ids", "mask", "boxes", "box_labels", "box_mask")))


def test_manifest_describes_the_files(bundle, checkpoint):
    folder, _ = bundle
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["manifest.json", "tokenizer.json", *(f"{name}.pt" for name in PARTS)]
    )
    for entry in [*manifest["parts"].values(), manifest["tokenizer"]]:
        content = (folder / entry["file"]).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    source = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert manifest["source"] == {"layout": "transformers", "sha256": source}
    assert (manifest["name"], manifest["dtype"], manifest["torch"]) == ("tiny", "fp32", "2.13.0")
    assert [manifest[k] for k in ("resolution", "patchSize", "featureSize", "maskSize", "width", "queries")] == [
        64,
        8,
        8,
        32,
        32,
        10,
    ]
    facts = {
        name: manifest["tokenizer"][name]
        for name in ("contextLength", "startToken", "endToken", "padToken", "fallbackText")
    }
    assert facts == {"contextLength": 24, "startToken": 512, "endToken": 513, "padToken": 513, "fallbackText": "thing"}
    assert manifest["tracker"] == {
        "trained": True,
        "memoryTrained": True,
        "width": 128,
        "memoryChannels": 64,
        "memories": 7,
        "maxConditioningFrames": 4,
        "maxObjectPointers": 16,
        "memoryMaskScale": 20.0,
        "memoryMaskBias": -10.0,
        "multimaskStabilityDelta": 0.05,
        "multimaskStabilityThreshold": 0.98,
    }


def test_progress_lines(bundle):
    _, lines = bundle
    assert [line["stage"] for line in lines] == ["checkpoint", "checkpoint", *PARTS, "manifest", "done"]
    assert all(0 <= line["done"] <= line["total"] for line in lines)


def test_parity_of_the_bundle(bundle):
    folder, _ = bundle
    case = build_case(tiny_model(0), CASES[5], seed=21)
    outputs = run_bundle(folder, case["pixels"], case_prompts(case))
    for name in RAW:
        assert (outputs[name] - case[name]).abs().max() <= 1e-5 * max(1.0, float(case[name].abs().max())), name


def test_the_same_bytes_again_and_an_old_bundle_is_replaced(bundle, checkpoint):
    folder, _ = bundle
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "manifest.json").write_text("{}")
    command = [sys.executable, str(PROGRAM), "--checkpoint", str(checkpoint), "--out", str(folder), "--name", "tiny"]
    subprocess.run(command, capture_output=True, check=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["bundle", "checkpoint"]


def test_no_traces_of_this_machine(bundle):
    folder, _ = bundle
    places = [
        str(place).encode() for place in (Path.home(), sys.prefix, PROGRAM.parents[1], Path(torch.__file__).parent)
    ]
    for path in folder.glob("*.pt"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                assert not entry.filename.endswith(".debug_pkl")
                assert entry.date_time == (1980, 1, 1, 0, 0, 0)
                content = archive.read(entry)
                assert not any(place in content for place in places if len(place) > 1), entry.filename


def test_tensors_are_aligned(bundle):
    """64 bytes, as PyTorch writes them, so that a reader can map them."""
    folder, _ = bundle
    for path in folder.glob("*.pt"):
        content = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name, extra = (int.from_bytes(content[entry.header_offset + at :][:2], "little") for at in (26, 28))
                assert (entry.header_offset + 30 + name + extra) % 64 == 0


def test_detector_only_gets_an_untrained_tracker(tmp_path):
    """The same one every time, and said so."""
    source = save_folder(tiny_model(1), tmp_path / "checkpoint", with_tracker=False)
    constants = []
    for out in (tmp_path / "one", tmp_path / "two"):
        assert main(["--checkpoint", str(source), "--out", str(out)]) == 0
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["tracker"]["trained"] is False
        assert manifest["tracker"]["memoryTrained"] is False
        assert manifest["tracker"]["width"] == 64
        constants.append(torch.jit.load(out / "tracker_constants.pt").pointer_temporal_weight)
    assert torch.equal(*constants)


def test_a_checkpoint_says_whether_its_memory_was_trained(tmp_path):
    """A model may have learnt to answer clicks and not to remember."""
    source = save_folder(tiny_model(1), tmp_path / "checkpoint", with_tracker=True)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "memory_trained": False}))
    assert main(["--checkpoint", str(source), "--out", str(tmp_path / "bundle")]) == 0
    tracker = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["tracker"]
    assert (tracker["trained"], tracker["memoryTrained"]) == (True, False)


def test_an_explicit_tracker_configuration_wins(tmp_path):
    source = save_folder(tiny_model(1), tmp_path / "checkpoint", with_tracker=False)
    config = json.loads((source / "config.json").read_text())
    config["tracker_config"] = tiny_model(1).tracker_model.config.to_dict()
    (source / "config.json").write_text(json.dumps(config))
    assert main(["--checkpoint", str(source), "--out", str(tmp_path / "bundle")]) == 0
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["tracker"]["width"] == 128


def test_another_resolution(checkpoint, tmp_path):
    assert main(["--checkpoint", str(checkpoint), "--out", str(tmp_path / "large"), "--resolution", "96"]) == 0
    manifest = json.loads((tmp_path / "large" / "manifest.json").read_text())
    assert (manifest["resolution"], manifest["featureSize"], manifest["maskSize"]) == (96, 12, 48)
    original = tiny_model(0).detector_model
    config = Sam3Config(**original.config.to_dict())
    config.image_size = 96
    detector = Sam3Model(config).eval()
    detector.load_state_dict(original.state_dict())
    case = build_case(tiny_model(0), CASES[1], seed=4)
    pixels, prompts = preprocess(case["picture"], 96), case_prompts(case)
    expected = run_detector(detector, pixels, prompts)
    outputs = run_bundle(tmp_path / "large", pixels, prompts)
    for name in RAW:
        assert (outputs[name] - expected[name]).abs().max() <= 1e-5 * max(1.0, float(expected[name].abs().max())), name


@pytest.mark.parametrize(
    ("dtype", "torch_dtype", "step"), [("bf16", torch.bfloat16, 2**-8), ("fp16", torch.float16, 2**-11)]
)
def test_half_precision(checkpoint, bundle, tmp_path, dtype, torch_dtype, step):
    """Every product rounds its inputs by up to `step`; dozens follow each other, and the tiny model's score head is six
    times as steep as usual. The mean error stays within sixteen steps of an output's size."""
    out = tmp_path / "half"
    assert main(["--checkpoint", str(checkpoint), "--out", str(out), "--dtype", dtype]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["dtype"] == dtype
    assert manifest["keptInFp32"]
    for seed, kind in enumerate(CASES[:4]):
        case = build_case(tiny_model(0), kind, seed)
        outputs = run_bundle(out, case["pixels"], case_prompts(case), torch_dtype)
        for name in RAW:
            assert outputs[name].dtype == (torch_dtype if name in ("masks", "semantic") else torch.float32)
            error = (outputs[name].float() - case[name]).abs().mean()
            assert error <= 16 * step * case[name].square().mean().sqrt(), name
    full, _ = bundle
    assert (out / "image_encoder.pt").stat().st_size < 0.7 * (full / "image_encoder.pt").stat().st_size


def test_what_stays_in_fp32(checkpoint, tmp_path):
    out = tmp_path / "half"
    assert main(["--checkpoint", str(checkpoint), "--out", str(out), "--dtype", "bf16"]) == 0
    kept = ["norm", "box_head", "ref_point_head", "box_rpb", "presence", "scoring", "embedding", "direct_project"]
    lowered = ["attention", "attn", "conv_layers", "neck"]
    for part in PARTS:
        for name, value in torch.jit.load(out / f"{part}.pt").named_parameters():
            if any(word in name for word in kept) or (
                part == "concept_decoder" and "decoder.layers" in name and "mlp" in name
            ):
                assert value.dtype == torch.float32, name
            elif any(word in name for word in lowered):
                assert value.dtype == torch.bfloat16, name
        for name, value in torch.jit.load(out / f"{part}.pt").named_buffers():
            assert value.dtype != torch.bfloat16, name
