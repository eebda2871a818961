"""Checkpoints and options that are wrong: one JSON line with a code, exit code 1, nothing left behind."""

import json
import pickle

import pytest
import torch
from folders import read_state, save_folder
from safetensors.torch import save_file

from sam3_export.cli import main
from tiny_models.model import tiny_model


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory):
    return save_folder(tiny_model(0), tmp_path_factory.mktemp("good") / "checkpoint", with_tracker=False)


@pytest.fixture
def copy(good_folder, tmp_path):
    """A folder of our own with the same files."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for file in good_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def fails(tmp_path, capsys, monkeypatch):
    """Run the program, expect this code, return the message."""
    monkeypatch.delenv("SAM3_BPE_PATH", raising=False)

    def run(code, checkpoint, *options, out=None):
        before = sorted(path for path in tmp_path.rglob("*"))
        assert main(["--checkpoint", str(checkpoint), "--out", str(out or tmp_path / "bundle"), *options]) == 1
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line for line in lines if "error" in line] == lines[-1:]
        assert lines[-1]["error"]["code"] == code
        assert sorted(path for path in tmp_path.rglob("*")) == before
        return lines[-1]["error"]["message"]

    return run


def test_no_such_file(fails, tmp_path):
    assert "nothing.pt" in fails("CHECKPOINT_NOT_FOUND", tmp_path / "nothing.pt")


def test_empty_folder(fails, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "model.safetensors" in fails("CHECKPOINT_NOT_FOUND", tmp_path / "empty")


@pytest.mark.parametrize("name", ["sam3.pt", "model.safetensors"])
@pytest.mark.parametrize("kind", ["picture", "nothing", "text"])
def test_another_kind_of_file(fails, tmp_path, name, kind):
    path = tmp_path / name
    if kind == "picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    else:
        path.write_bytes(b"" if kind == "nothing" else b"not a checkpoint\n" * 100)
    assert name in fails("CHECKPOINT_INVALID", path)


@pytest.mark.parametrize("name", ["sam3.pt", "model.safetensors"])
def test_truncated(fails, copy, name):
    path = copy / name
    if name == "sam3.pt":
        torch.save({"detector.x": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "truncated" in fails("CHECKPOINT_INVALID", path)


def test_code_in_a_pickle_is_not_run(fails, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trap"), "w"))

    (tmp_path / "sam3.pt").write_bytes(pickle.dumps({"detector.x": Trap()}))
    fails("CHECKPOINT_INVALID", tmp_path / "sam3.pt")
    assert not (tmp_path / "trap").exists()


def test_no_tensors(fails, tmp_path):
    torch.save({"detector.x": 3}, tmp_path / "sam3.pt")
    assert "no state dict" in fails("CHECKPOINT_INVALID", tmp_path / "sam3.pt")


def test_another_models_weights(fails, tmp_path):
    save_file({"encoder.layer.0.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert "encoder.layer.0.weight" in fails("CHECKPOINT_INVALID", tmp_path / "model.safetensors")


def test_missing_unknown_and_ill_shaped_keys_are_named(fails, copy):
    state = read_state(copy)
    del state["text_projection.weight"]
    state["text_projection.bias"] = torch.zeros(7)
    state["surprise"] = torch.zeros(1)
    save_file(state, copy / "model.safetensors")
    message = fails("CHECKPOINT_INVALID", copy)
    assert "1 missing: detector_model.text_projection.weight" in message
    assert "1 of another shape: detector_model.text_projection.bias [7]" in message
    assert "1 unknown: detector_model.surprise" in message


def test_missing_official_keys_are_named(fails, tmp_path):
    torch.save({"detector.backbone.vision_backbone.trunk.pos_embed": torch.zeros(1, 577, 1024)}, tmp_path / "sam3.pt")
    message = fails("CHECKPOINT_INVALID", tmp_path / "sam3.pt")
    assert "missing: detector.backbone.vision_backbone.trunk.patch_embed.proj.weight" in message


def test_sam_3_1(fails, tmp_path):
    key = "detector.backbone.vision_backbone.propagation_convs.0.conv_1x1.weight"
    torch.save({key: torch.zeros(1)}, tmp_path / "sam3.1.pt")
    assert "SAM 3.1" in fails("CHECKPOINT_INVALID", tmp_path / "sam3.1.pt")


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "bert"}'])
def test_bad_config(fails, copy, content):
    (copy / "config.json").write_text(content)
    assert "config.json" in fails("CHECKPOINT_INVALID", copy)


def test_config_that_needs_padded_windows(fails, copy):
    config = json.loads((copy / "config.json").read_text())
    config["vision_config"]["backbone_config"]["image_size"] = 72
    (copy / "config.json").write_text(json.dumps(config))
    assert "no multiple of 32" in fails("CHECKPOINT_INVALID", copy)


@pytest.mark.parametrize("resolution", ["65", "16", "0", "-32"])
def test_resolution_that_does_not_fit(fails, good_folder, resolution):
    assert "multiple of 32" in fails("BAD_OPTION", good_folder, "--resolution", resolution)


def test_no_tokenizer(fails, copy, tmp_path):
    (copy / "tokenizer.json").unlink()
    assert "--bpe" in fails("TOKENIZER_NOT_FOUND", copy)
    assert "nowhere.gz" in fails("TOKENIZER_NOT_FOUND", copy, "--bpe", str(tmp_path / "nowhere.gz"))
    (tmp_path / "picture.gz").write_bytes(b"\x89PNG")
    fails("TOKENIZER_NOT_FOUND", copy, "--bpe", str(tmp_path / "picture.gz"))


def test_tokenizer_without_special_tokens(fails, copy):
    (copy / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    assert "<s>" in fails("CHECKPOINT_INVALID", copy)


def test_other_peoples_folders_are_left_alone(fails, good_folder, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    assert "not a bundle" in fails("OUTPUT_FAILED", good_folder, out=tmp_path / "photos")
    assert "is a file" in fails("OUTPUT_FAILED", good_folder, out=tmp_path / "photos" / "cat.jpg")


def test_output_below_a_file(fails, good_folder, tmp_path):
    (tmp_path / "file").write_text("")
    fails("OUTPUT_FAILED", good_folder, out=tmp_path / "file" / "bundle")


def test_a_full_disk_leaves_nothing(fails, good_folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sam3_export.bundle.save", full)
    assert "No space left" in fails("OUTPUT_FAILED", good_folder)
