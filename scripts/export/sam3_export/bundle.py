"""A checkpoint in, a bundle folder out; all of it or nothing."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from .checkpoint import Checkpoint
from .errors import ExportError
from .examples import Sizes, example_calls
from .manifest import DTYPES, build_manifest, describe
from .model import Sam3
from .parts import PARTS
from .progress import Report, no_progress
from .tokenizer import TokenizerFacts
from .trace import device_constants, save, trace


def export_bundle(
    checkpoint: Checkpoint,
    out: Path,
    *,
    name: str,
    dtype: str,
    write_tokenizer: Callable[[Path], TokenizerFacts],
    report: Report = no_progress,
) -> None:
    """Write the bundle to a temporary folder beside `out` and rename it into place.

    An existing bundle at `out` is replaced; any other existing folder that is not empty is left alone.
    """
    check_destination(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ExportError("OUTPUT_FAILED", f"cannot write beside {out}: {error}") from error
    try:
        write_files(checkpoint, work, name=name, dtype=dtype, write_tokenizer=write_tokenizer, report=report)
        work.chmod(0o755)
        put_in_place(work, out)
    except OSError as error:
        raise ExportError("OUTPUT_FAILED", f"cannot write the bundle {out}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_destination(out: Path) -> None:
    """Refuse to replace anything that is not a bundle."""
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").is_file():
        raise ExportError("OUTPUT_FAILED", f"{out} is not empty and not a bundle; choose another folder")
    if out.exists() and not out.is_dir():
        raise ExportError("OUTPUT_FAILED", f"{out} is a file; choose a folder")


def write_files(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    name: str,
    dtype: str,
    write_tokenizer: Callable[[Path], TokenizerFacts],
    report: Report,
) -> None:
    """All files of the bundle into an existing folder."""
    tokenizer_file = folder / "tokenizer.json"
    facts = write_tokenizer(tokenizer_file)
    paths = {}
    for done, part in enumerate(PARTS):
        report(part, done, len(PARTS))
        paths[part] = folder / f"{part}.pt"
        write_part(checkpoint.model, part, DTYPES[dtype], paths[part])
    report("manifest", len(PARTS), len(PARTS))
    manifest = build_manifest(
        checkpoint.model,
        name=name,
        dtype=dtype,
        parts=paths,
        tokenizer={**describe(tokenizer_file), **facts.as_manifest()},
        layout=checkpoint.layout,
        source_sha256=checkpoint.sha256,
        tracker_trained=checkpoint.tracker_trained,
        memory_trained=checkpoint.memory_trained,
        licence=checkpoint.licence,
    )
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def write_part(model: Sam3, part: str, dtype: torch.dtype, path: Path) -> None:
    """Trace and store one part. A device left in the graph would tie the bundle to this machine's: refused."""
    module = PARTS[part](model, dtype)
    traced = trace(module, example_calls(model, part, dtype, Sizes()))
    devices = device_constants(traced)
    if devices:
        raise ExportError("EXPORT_FAILED", f"{part} has devices in its graph: {sorted(set(devices))}")
    save(traced, path)


def put_in_place(work: Path, out: Path) -> None:
    """Rename `work` to `out`; an old bundle there moves aside first and is removed last."""
    if not out.exists():
        work.rename(out)
        return
    old = work.with_name(work.name + "-old")
    out.rename(old)
    try:
        work.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
