"""Progress as JSON lines on standard output, read by `sam3 export`."""

import json
from collections.abc import Callable

Report = Callable[[str, int, int], None]


def print_progress(stage: str, done: int, total: int) -> None:
    """One line: {"stage": "image_encoder", "done": 1, "total": 7}."""
    print(json.dumps({"stage": stage, "done": done, "total": total}), flush=True)


def no_progress(stage: str, done: int, total: int) -> None:
    """For callers who want none."""
