"""A bundle whose parts fail when a test says so."""

import json
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from sam3_export.examples import Sizes, example_inputs
from sam3_export.manifest import describe
from sam3_export.model import Sam3
from sam3_export.trace import save, trace

WATCHED = (
    "image_encoder",
    "text_encoder",
    "concept_decoder",
    "object_decoder",
    "memory_encoder",
    "memory_attention",
)


# Stands in while tracing; the real one is native/test/faults.cpp.
_library = torch.library.Library("sam3_test", "DEF")
_library.define("watch(Tensor x, str part) -> Tensor")
_library.impl("watch", lambda x, _part: x.clone(), "CompositeExplicitAutograd")


class Watched(nn.Module):
    """A part whose first input goes through the operation."""

    def __init__(self, part: torch.jit.ScriptModule, name: str) -> None:
        super().__init__()
        self.part = part
        self.name = name

    def forward(self, first: Tensor, *others: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.part(torch.ops.sam3_test.watch(first, self.name), *others)


def write_fault_bundle(model: Sam3, source: Path, out: Path) -> None:
    """Copy the bundle `source`, made of `model`, and wrap its parts.

    Of the memory attention `masked` is lost on the way: so are bundles that were exported before there was one.
    """
    shutil.copytree(source, out)
    file = out / "manifest.json"
    manifest = json.loads(file.read_text())
    for name in WATCHED:
        path = out / manifest["parts"][name]["file"]
        watched = Watched(torch.jit.load(path), name)
        save(trace(watched, {"forward": example_inputs(model, name, torch.float32, Sizes())}), path)
        manifest["parts"][name] = describe(path)
    manifest["name"] = "tiny-faults"
    file.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
