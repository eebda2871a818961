"""The official key layout: complete, rightly shaped, and the same model as the transformers layout."""

import json

import pytest
import torch
from support import shared_file

from sam3_export.checkpoint import load_checkpoint
from sam3_export.configs import OFFICIAL_VISION_EPS, derive_tracker, official_configs
from sam3_export.examples import Sizes, example_inputs
from sam3_export.model import Sam3, build_on_meta
from sam3_export.official import NOT_NEEDED, OLD_PREFIXES, not_needed, source_of, take
from sam3_export.parts import PARTS
from tiny_models.model import TRACKER_WIDTH, randomise, tiny_config
from tiny_models.official_layout import as_official


@pytest.fixture(scope="module")
def official_shapes():
    path = shared_file("sam3_state_dict_shapes.json", "SAM3_STATE_DICT_SHAPES")
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in json.loads(path.read_text()).items()}


def test_every_official_key_is_used_or_listed(official_shapes):
    model = build_on_meta(*official_configs())
    used = set()
    for name, wanted in model.state_dict().items():
        source = source_of(name)
        used.update(source.keys)
        assert take(source, official_shapes).shape == wanted.shape, name
    listed = {key for key in official_shapes if not_needed(key)}
    assert len(official_shapes) == 1465
    assert used | listed == set(official_shapes)
    assert not used & listed
    assert len(listed) == 32 + 6
    assert all(reason for reason in NOT_NEEDED.values())


@pytest.fixture
def tiny_official(monkeypatch):
    """A tiny model with the official eps, and the loader told that the official model is that small."""

    def configs():
        detector = tiny_config()
        detector.vision_config.backbone_config.layer_norm_eps = OFFICIAL_VISION_EPS
        return detector, derive_tracker(detector, TRACKER_WIDTH)

    monkeypatch.setattr("sam3_export.checkpoint.official_configs", configs)
    model = Sam3(*configs())
    randomise(model, seed=3)
    return model


@pytest.mark.parametrize("variant", ["plain", "inside model", "old prefixes"])
def test_round_trip(tiny_official, tmp_path, variant):
    state = as_official(tiny_official)
    if variant == "old prefixes":
        old = {today: before for before, today in OLD_PREFIXES.items()}
        state = {old[key.split(".")[0] + "."] + key.split(".", 1)[1]: value for key, value in state.items()}
    torch.save({"model": state} if variant == "inside model" else state, tmp_path / "sam3.pt")
    checkpoint = load_checkpoint(tmp_path / "sam3.pt")
    assert checkpoint.layout == "official"
    assert checkpoint.tracker_trained
    loaded, original = checkpoint.model.state_dict(), tiny_official.state_dict()
    assert loaded.keys() == original.keys()
    for name, value in original.items():
        assert torch.equal(loaded[name], value), name


def test_both_layouts_give_the_same_answers(tiny_official, tmp_path):
    torch.save(as_official(tiny_official), tmp_path / "sam3.pt")
    loaded = load_checkpoint(tmp_path / "sam3.pt").model
    for name, part in PARTS.items():
        inputs = example_inputs(tiny_official, name, torch.float32, Sizes(), seed=1)
        answers = [part(model)(*inputs) for model in (tiny_official, loaded)]
        for ours, theirs in zip(
            *(answer if isinstance(answer, tuple) else (answer,) for answer in answers), strict=True
        ):
            assert torch.equal(ours, theirs), name


def test_the_official_eps_is_kept(tiny_official, tmp_path):
    """1e-5 in the image encoder for this layout, whatever transformers' default is."""
    torch.save(as_official(tiny_official), tmp_path / "sam3.pt")
    backbone = load_checkpoint(tmp_path / "sam3.pt").model.detector_model.vision_encoder.backbone
    assert {layer.layer_norm1.eps for layer in backbone.layers} == {1e-5}
    assert official_configs()[0].vision_config.backbone_config.layer_norm_eps == 1e-5
