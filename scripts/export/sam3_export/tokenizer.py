"""The bundle's `tokenizer.json`: copied from a transformers folder, or built from CLIP's BPE vocabulary file."""

import gzip
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import ExportError

START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT_LENGTH = 32
OFFICIAL_PAD = 0
FALLBACK_TEXT = "visual"
# CLIP uses this many lines of the file after its first, a comment. Its vocabulary of 49408: 256 bytes within a word,
# 256 at a word's end, one entry per merge, two special tokens.
CLIP_MERGES = 49408 - 2 * 256 - 2


@dataclass
class TokenizerFacts:
    """What the manifest says about the tokenizer besides the file itself."""

    contextLength: int
    startToken: int
    endToken: int
    padToken: int
    fallbackText: str

    def as_manifest(self) -> dict[str, int | str]:
        return asdict(self)


def byte_letters() -> list[str]:
    """The 256 printable stand-ins for bytes of GPT-2's byte-level BPE, in CLIP's order: printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + index) for index in range(hidden)]


def write_bpe_tokenizer(merges: list[tuple[str, str]], path: Path) -> TokenizerFacts:
    """Write CLIP's tokenizer with these merges; its text cleaning (NFC, white space, lower case) is transformers'."""
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    letters = byte_letters()
    entries = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    CLIPTokenizer(vocab=vocabulary, merges=merges).backend_tokenizer.save(str(path))
    return TokenizerFacts(CONTEXT_LENGTH, vocabulary[START], vocabulary[END], OFFICIAL_PAD, FALLBACK_TEXT)


def read_bpe_file(path: Path) -> list[tuple[str, str]]:
    """Merges from `bpe_simple_vocab_16e6.txt.gz`."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ExportError("TOKENIZER_NOT_FOUND", f"cannot read the BPE vocabulary {path}: {error}") from error
    merges = [tuple(line.split()) for line in lines[1 : CLIP_MERGES + 1]]
    if len(merges) != CLIP_MERGES or any(len(pair) != 2 for pair in merges):
        raise ExportError("TOKENIZER_NOT_FOUND", f"{path} is not CLIP's BPE vocabulary (bpe_simple_vocab_16e6.txt.gz)")
    return merges


def copy_folder_tokenizer(folder: Path, path: Path) -> TokenizerFacts:
    """Copy a transformers folder's tokenizer.json; special tokens come from it and from tokenizer_config.json."""
    shutil.copyfile(folder / "tokenizer.json", path)
    added = {token["content"]: token["id"] for token in json.loads(path.read_text())["added_tokens"]}
    config_file = folder / "tokenizer_config.json"
    config = json.loads(config_file.read_text()) if config_file.exists() else {}
    try:
        start, end = (added[config.get(name, word)] for name, word in (("bos_token", START), ("eos_token", END)))
        pad = added[config["pad_token"]] if config.get("pad_token") in added else OFFICIAL_PAD
    except (KeyError, TypeError) as error:
        raise ExportError(
            "CHECKPOINT_INVALID", f"tokenizer.json in {folder} lacks the special token {error}"
        ) from error
    length = config.get("context_length", CONTEXT_LENGTH)
    return TokenizerFacts(length, start, end, pad, config.get("box_only_text", FALLBACK_TEXT))
