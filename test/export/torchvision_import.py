"""torchvision as a reference, where it is installed at all.

PyPI carries torchvision's CUDA build only. Beside a CPU torch its compiled half does not load, and its import stops at
the first operation it misses. With those operations declared, by name only, the rest imports and works: the transforms,
and the Python version that torchvision has of its own `roi_align` kernel.
"""

import importlib
import re
import sys

import torch

_declared: list[torch.library.Library] = []


def import_torchvision():
    """The module, or None."""
    while True:
        try:
            importlib.import_module("torchvision.transforms.v2")
            return sys.modules["torchvision"]
        except ModuleNotFoundError:
            return None
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            _declare(missing[1])


def _declare(operation: str) -> None:
    if not _declared:
        _declared.append(torch.library.Library("torchvision", "DEF"))
    _declared[0].define(f"{operation}() -> ()")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


TORCHVISION = import_torchvision()
