"""What the tests share: files outside the repository, and what was not run for want of them."""

import os
from pathlib import Path

import pytest

NOT_RUN: list[str] = []


def shared_file(name: str, variable: str) -> Path:
    """A large file that is not in the repository; its absence is said at the end of the run."""
    path = Path(os.environ.get(variable) or Path(__file__).parents[3] / "shared" / "data" / name)
    if not path.is_file():
        NOT_RUN.append(f"needs {name} (set {variable})")
        pytest.skip(f"not run: no {name}; set {variable}")
    return path
