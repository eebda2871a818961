"""Tiny random SAM 3 models with reference outputs of the real transformers model, for parity tests."""
