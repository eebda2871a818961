"""The tokenizer made from CLIP's BPE file: equal to transformers' CLIPTokenizer of the same vocabulary."""

import random
import unicodedata

import pytest
from support import shared_file
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from sam3_export.tokenizer import byte_letters, read_bpe_file, write_bpe_tokenizer

WORDS = [
    *"a the yellow school bus player in white person's dog cats can't I'll you've we're RED 3.14 007 foo_bar".split(),
    *"Ünïcödé straße İstanbul naïve 東京 машина 🚌 🏳️‍🌈 ... !!! e-mail@example.com &amp; &lt;b&gt;".split(),
    *"<|startoftext|> <|endoftext|>".split(),
]


def strings() -> list[str]:
    """Words joined in many ways, every printable block of Unicode, and odd white space."""
    dice = random.Random(0)
    found = [
        "",
        " ",
        "\t\n",
        "\u00a0",
        "\u3000a\u2003b",
        "a" * 300,
        "e\u0301",
        "\u212b",
        "ﬁ",
        "'",
        "''s",
        "\u200b",
        "\x00",
    ]
    for _ in range(3000):
        words = [dice.choice(WORDS) for _ in range(dice.randint(1, 12))]
        found.append(dice.choice([" ", "  ", "", "-", "\t"]).join(words))
    for _ in range(3000):
        start = dice.randrange(0x20, 0x2FFFF)
        letters = [
            chr(code) for code in range(start, start + 12) if unicodedata.category(chr(code)) not in ("Cs", "Cn")
        ]
        dice.shuffle(letters)
        found.append("".join(letters))
    return found


@pytest.fixture(scope="module")
def bpe():
    return shared_file("bpe_simple_vocab_16e6.txt.gz", "SAM3_BPE_PATH")


@pytest.fixture(scope="module")
def reference(bpe):
    """transformers' class, with a vocabulary put together here: its own letters, merges of the file, special tokens."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    merges = read_bpe_file(bpe)
    entries = letters + [f"{letter}</w>" for letter in letters] + ["".join(pair) for pair in merges]
    vocabulary = {entry: index for index, entry in enumerate([*entries, "<|startoftext|>", "<|endoftext|>"])}
    assert len(vocabulary) == 49408
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


def test_letters_are_transformers():
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    assert byte_letters() == list(bytes_to_unicode().values())


def test_facts(bpe, tmp_path):
    facts = write_bpe_tokenizer(read_bpe_file(bpe), tmp_path / "tokenizer.json")
    assert facts.as_manifest() == {
        "contextLength": 32,
        "startToken": 49406,
        "endToken": 49407,
        "padToken": 0,
        "fallbackText": "visual",
    }


def test_equals_transformers(bpe, reference, tmp_path):
    write_bpe_tokenizer(read_bpe_file(bpe), tmp_path / "tokenizer.json")
    ours = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in strings():
        assert ours.encode(text).ids == reference(text)["input_ids"], repr(text)


def test_known_ids(bpe, tmp_path):
    """From CLIP's own tokenizer: a test that does not trust the file's order alone."""
    write_bpe_tokenizer(read_bpe_file(bpe), tmp_path / "tokenizer.json")
    ours = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert ours.encode("a photo of a cat").ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert ours.encode("  A Photo\tof a CAT ").ids == [49406, 320, 1125, 539, 320, 2368, 49407]
