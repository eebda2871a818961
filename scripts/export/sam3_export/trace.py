"""From a module to a TorchScript archive that is the same bytes every time and names no machine."""

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn


def trace(module: nn.Module, examples: Mapping[str, Sequence[Tensor]]) -> torch.jit.ScriptModule:
    """Trace every method of `module` that `examples` has inputs for; without any, script it.

    Tests run the trace at other sizes; the tracer's own check would only repeat these. Its warnings are silenced: the
    one Python condition left in transformers' attention is whether a mask was given, always the same.
    """
    module.eval().requires_grad_(False)
    with torch.no_grad(), warnings.catch_warnings():
        if not any(examples.values()):
            return torch.jit.script(module)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        inputs = {method: tuple(values) for method, values in examples.items()}
        return torch.jit.trace_module(module, inputs, check_trace=False)


def save(module: torch.jit.ScriptModule, path: Path) -> None:
    """Write the archive without its debug records.

    `torch.jit.save` stores, for every line of generated code, the source file it came from: paths of the machine that
    exported. libtorch loads an archive without them, only its error messages name no Python line.
    """
    whole = path.with_suffix(".tmp")
    try:
        torch.jit.save(module, whole)
        strip_debug(whole, path)
    finally:
        whole.unlink(missing_ok=True)


def strip_debug(source: Path, path: Path) -> None:
    """Copy a TorchScript archive entry by entry, leaving out `*.debug_pkl`, with fixed dates and 64-byte alignment.

    The alignment is what PyTorch's own writer gives tensors, so that they can be mapped into memory.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if entry.filename.endswith(".debug_pkl"):
                continue
            content = old.read(entry)
            name = path.stem + entry.filename[entry.filename.index("/") :]
            record = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            header = new.fp.tell() + 30 + len(name.encode())
            padding = -(header + 4) % 64
            record.compress_type = entry.compress_type
            record.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
            new.writestr(record, content)


def device_constants(module: torch.jit.ScriptModule) -> list[str]:
    """Every device written into a graph, of submodules and nested blocks too."""
    found = []
    for part in module.modules():
        try:
            graph = part.graph
        except (AttributeError, RuntimeError):
            continue
        for node in graph.findAllNodes("prim::Constant", recurse=True):
            if node.output().type().kind() == "DeviceObjType":
                found.append(node.s("value") if node.hasAttribute("value") else str(node))
    return found
