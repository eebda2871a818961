"""A small CLIP-style byte-level BPE tokenizer for mini, written as tokenizer.json.

The structure is CLIP's (NFC, white space collapsed, lower case, CLIP's split pattern, bytes, `</w>` at a
word's end, start and end tokens), the vocabulary is ours: 256 bytes, the same 256 at a word's end, and the
merges that make each word mini knows one token. Any other word falls into bytes and small pieces.

Needs only the `tokenizers` package:  python tokenizer.py OUT_FOLDER
"""
import json
import sys
from collections import Counter
from pathlib import Path

from vocabulary import COLOURS, KNOWN_WORDS, SHAPES, plural

START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT_LENGTH = 32
SPLIT_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def byte_characters():
    """The printable character that stands for each byte, in the order GPT-2 and CLIP use."""
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in kept]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(len(others))]


def learn_merges(words):
    """Greedy byte-pair merges until every word is one token; deterministic."""
    pieces = {w: list(w[:-1]) + [w[-1] + "</w>"] for w in words}
    merges = []
    while any(len(p) > 1 for p in pieces.values()):
        pairs = Counter(pair for p in pieces.values() for pair in zip(p, p[1:]))
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, p in pieces.items():
            merged, i = [], 0
            while i < len(p):
                if i + 1 < len(p) and (p[i], p[i + 1]) == best:
                    merged.append(p[i] + p[i + 1])
                    i += 2
                else:
                    merged.append(p[i])
                    i += 1
            pieces[word] = merged
    return merges


def tokenizer_json():
    """The content of tokenizer.json as a dictionary."""
    characters = byte_characters()
    merges = learn_merges(sorted(KNOWN_WORDS))
    tokens = characters + [c + "</w>" for c in characters]
    for left, right in merges:
        if left + right not in tokens:
            tokens.append(left + right)
    tokens += [START, END]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    special = [
        {"id": vocabulary[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for t in (START, END)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT_PATTERN}, "behavior": "Removed", "invert": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ]},
        "post_processor": {"type": "RobertaProcessing", "sep": [END, vocabulary[END]],
                           "cls": [START, vocabulary[START]], "trim_offsets": False, "add_prefix_space": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": END, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "</w>", "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": False, "vocab": vocabulary, "merges": [list(m) for m in merges]},
    }


def special_ids():
    """Start, end and padding ids and the size of the vocabulary."""
    vocabulary = tokenizer_json()["model"]["vocab"]
    return {"start": vocabulary[START], "end": vocabulary[END], "pad": vocabulary[END], "size": len(vocabulary)}


def kind_of_token():
    """Per token id: 0..7 for our colours, 8..13 for our shapes (singular or plural), -1 for all else."""
    size, vocabulary = special_ids()["size"], tokenizer_json()["model"]["vocab"]
    kinds = [-1] * size
    for i, colour in enumerate(COLOURS):
        kinds[vocabulary[colour + "</w>"]] = i
    for i, shape in enumerate(SHAPES):
        for word in (shape, plural(shape)):
            kinds[vocabulary[word + "</w>"]] = len(COLOURS) + i
    return kinds


def write_tokenizer(folder, resolution):
    """Write tokenizer.json and tokenizer_config.json (with the preprocessing facts) into folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ids = special_ids()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(), ensure_ascii=False, indent=1) + "\n", "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END,
        "bos_token_id": ids["start"], "eos_token_id": ids["end"], "pad_token_id": ids["pad"],
        "vocab_size": ids["size"], "model_max_length": CONTEXT_LENGTH, "context_length": CONTEXT_LENGTH,
        "resolution": resolution, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "resize": "bilinear, antialias, to a square, aspect not kept", "box_only_text": "visual",
    }, indent=1) + "\n", "utf-8")


class MiniTokenizer:
    """Text to ids, cut to the context length with the end token kept."""

    def __init__(self):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json()))
        self.ids = special_ids()

    def __call__(self, text):
        ids = self.tokenizer.encode(text).ids
        return ids if len(ids) <= CONTEXT_LENGTH else ids[: CONTEXT_LENGTH - 1] + [self.ids["end"]]


if __name__ == "__main__":
    write_tokenizer(sys.argv[1], 192)
