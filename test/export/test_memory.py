"""Tracing must not hold on to intermediate results: the full-size model has 14 GB of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A chain of results of 8 MB each, between which the tracer allocates small things; prints by how much the process grew.
PROGRAM = """
import os, torch
from torch import nn
from sam3_export.allocator import return_freed_memory
from sam3_export.trace import trace

class Chain(nn.Module):
    def forward(self, x):
        for _ in range(60):
            x = x + 1.0
        return x

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

torch.set_num_threads(1)
assert return_freed_memory()
trace(Chain(), {"forward": (torch.zeros(1024),)})
seen, add = [], torch.Tensor.__add__
def watched(self, other):
    seen.append(resident())
    return add(self, other)
torch.Tensor.__add__ = watched
trace(Chain(), {"forward": (torch.zeros(2 * 2**20),)})
print(max(seen) - seen[0])
"""


def is_glibc() -> bool:
    try:
        return "glibc" in os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, AttributeError, TypeError):
        return False


@pytest.mark.skipif(not is_glibc(), reason="another C library: nothing to set")
def test_intermediate_results_are_given_back_while_tracing():
    program = Path(__file__).parents[2] / "scripts" / "export"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(program)}
    )
    grown = float(done.stdout)
    assert grown < 5 * 8, f"{grown:.0f} MB for a chain whose results are 8 MB each, of which two are alive at a time"
