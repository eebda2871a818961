"""Stored traces: equal to eager bit for bit at sizes they were not traced with, and free of devices."""

import pytest
import torch

from sam3_export.examples import Sizes, example_calls, example_inputs, part_methods
from sam3_export.parts import PARTS
from sam3_export.trace import device_constants, save, trace

OTHER_SIZES = [
    Sizes(),
    Sizes(pictures=3, prompts=1, tokens=1, boxes=0, points=0, memories=1, pointers=0),
    Sizes(pictures=2, prompts=4, tokens=9, boxes=1, points=1, memories=7, pointers=5),
    Sizes(pictures=1, prompts=3, tokens=32, boxes=0, points=6, memories=3, pointers=64),
    Sizes(pictures=1, prompts=1, tokens=2, boxes=9, points=3, memories=2, pointers=0),
]


@pytest.fixture(scope="module")
def stored(model, parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    for name, part in parts.items():
        save(trace(part, example_calls(model, name, torch.float32, Sizes())), folder / f"{name}.pt")
    return {name: torch.jit.load(folder / f"{name}.pt") for name in parts}


METHODS = [(name, method) for name in PARTS for method in part_methods(name) if name != "tracker_constants"]


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_trace_equals_eager_at_other_sizes(model, parts, stored, name, method):
    for seed, sizes in enumerate(OTHER_SIZES):
        inputs = example_inputs(model, name, torch.float32, sizes, seed, method)
        with torch.inference_mode():
            ours, theirs = (getattr(part, method)(*inputs) for part in (stored[name], parts[name]))
        if isinstance(ours, torch.Tensor):
            ours, theirs = (ours,), (theirs,)
        for traced, eager in zip(ours, theirs, strict=True):
            assert torch.equal(traced, eager), sizes


def test_constants_are_read_by_name(model, stored):
    buffers = dict(stored["tracker_constants"].named_buffers())
    width, memory = model.tracker_model.hidden_dim, model.tracker_model.mem_dim
    assert {name: tuple(value.shape) for name, value in buffers.items()} == {
        "no_memory": (1, width, 1, 1),
        "no_object_pointer": (1, width),
        "no_object_spatial": (1, memory),
        "memory_temporal": (7, memory),
        "pointer_temporal_weight": (memory, width),
        "pointer_temporal_bias": (memory,),
        "mask_downsample_weight": (1, 1, 4, 4),
        "mask_downsample_bias": (1,),
    }


def test_no_devices_and_our_roi_align(stored):
    for name, module in stored.items():
        assert device_constants(module) == [], name
    assert "sam3::roi_align" in stored["concept_decoder"].geometry.inlined_graph.__str__()
