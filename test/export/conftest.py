"""Tests of scripts/export: `python -m pytest test/export` with test/requirements.txt installed.

Tolerances: what we only rearranged is compared at 1e-5 relative to values of about one; fp32 rounds at 6e-8 and a few
dozen layers of sums in another order add up to a few 1e-6. The same graph on the same input must be equal bit for bit.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "export"))

import pytest
import torch
import transformers

from support import NOT_RUN

from sam3_export.model import Sam3
from sam3_export.parts import PARTS
from tiny_models.model import tiny_model

SEEDS = (0, 1)


@pytest.fixture(scope="session", autouse=True)
def _quiet_and_frugal() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()


@pytest.fixture(scope="session", params=SEEDS)
def model(request: pytest.FixtureRequest) -> Sam3:
    """A tiny random model. Building fp32 parts leaves it as it is, so all tests share it."""
    return tiny_model(request.param)


@pytest.fixture(scope="session")
def parts(model: Sam3) -> dict[str, torch.nn.Module]:
    return {name: part(model).eval() for name, part in PARTS.items()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in dict.fromkeys(NOT_RUN):
        terminalreporter.write_line(f"not run: {reason}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    # TorchScript is what libtorch runs; torch only says that Python users should move on.
    config.addinivalue_line("filterwarnings", "ignore:.torch.jit:DeprecationWarning")
