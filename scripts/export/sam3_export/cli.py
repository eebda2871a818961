"""The program: options in, a bundle out, progress and errors as JSON lines."""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import transformers

from .allocator import return_freed_memory
from .bundle import check_destination, export_bundle
from .checkpoint import Checkpoint, load_checkpoint
from .errors import ExportError
from .manifest import DTYPES
from .progress import print_progress
from .tokenizer import TokenizerFacts, copy_folder_tokenizer, read_bpe_file, write_bpe_tokenizer


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="export", description="Export a SAM 3 checkpoint as a bundle.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="sam3.pt, model.safetensors or a folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32")
    parser.add_argument("--resolution", type=int, help="side of the input square, if not the model's own")
    parser.add_argument("--bpe", type=Path, help="bpe_simple_vocab_16e6.txt.gz (default: SAM3_BPE_PATH)")
    parser.add_argument("--name", help="short name shown to people (default: the output folder's)")
    return parser.parse_args(arguments)


def tokenizer_writer(checkpoint: Checkpoint, bpe: Path | None) -> Callable[[Path], TokenizerFacts]:
    """Where the tokenizer comes from: --bpe or SAM3_BPE_PATH, else the checkpoint's own folder."""
    source = bpe or (Path(os.environ["SAM3_BPE_PATH"]) if os.environ.get("SAM3_BPE_PATH") else None)
    if bpe is None and checkpoint.tokenizer_folder is not None:
        folder = checkpoint.tokenizer_folder
        return lambda path: copy_folder_tokenizer(folder, path)
    if source is None:
        raise ExportError(
            "TOKENIZER_NOT_FOUND",
            "this checkpoint brings no tokenizer: pass --bpe <bpe_simple_vocab_16e6.txt.gz> or set SAM3_BPE_PATH",
        )
    merges = read_bpe_file(source)
    return lambda path: write_bpe_tokenizer(merges, path)


def run(options: argparse.Namespace) -> None:
    out = options.out.absolute()
    check_destination(out)
    print_progress("checkpoint", 0, 1)
    checkpoint = load_checkpoint(options.checkpoint.absolute(), options.resolution)
    print_progress("checkpoint", 1, 1)
    export_bundle(
        checkpoint,
        out,
        name=options.name or out.name,
        dtype=options.dtype,
        write_tokenizer=tokenizer_writer(checkpoint, options.bpe),
        report=print_progress,
    )
    print(json.dumps({"stage": "done", "done": 1, "total": 1, "bundle": str(out)}), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 after an error line, 2 after bad usage (argparse's own message)."""
    options = parse(arguments)
    return_freed_memory()
    transformers.logging.set_verbosity_error()
    try:
        run(options)
    except ExportError as error:
        return fail(error.code, error.message)
    except MemoryError:
        return fail("EXPORT_FAILED", "out of memory while exporting")
    except Exception as error:  # whatever it is, the caller gets one JSON line
        return fail("EXPORT_FAILED", f"{type(error).__name__}: {error}".split("\n")[0])
    return 0


def fail(code: str, message: str) -> int:
    print(json.dumps({"error": {"code": code, "message": message}}), flush=True)
    return 1
