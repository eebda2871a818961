"""Turns a SAM 3 checkpoint into a bundle: one TorchScript file per part, a tokenizer and a manifest.

`docs/bundle.md` is the contract of what comes out; `__main__.py` beside this package is the program.
"""
