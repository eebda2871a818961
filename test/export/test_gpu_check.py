"""scripts/gpu-check.sh without a GPU: everything but CUDA itself, on tiny models."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import NOT_RUN

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu-check.sh"
BUILT = ["build/Release/sam3-node.node", "build/Release/loader/loader.node", "build/tests/core_tests", "dist/index.js"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a script for Linux")


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings}, timeout=900)


@pytest.fixture
def addon_of_this_torch() -> str:
    """The addon of the checkout, where it was built with a torch of the version that runs these tests."""
    missing = [path for path in BUILT if not (ROOT / path).is_file()]
    if not missing:
        built = (ROOT / "build" / "Release" / "loader" / "build.json").read_text()
        if f'"torch":"{torch.__version__.split("+")[0]}"' in built:
            return str(ROOT)
        missing = [f"an addon built with torch {torch.__version__}"]
    NOT_RUN.append(f"gpu-check.sh on the CPU: needs {', '.join(missing)}")
    pytest.skip(NOT_RUN[-1])


def test_everything_but_cuda(addon_of_this_torch, tmp_path):
    report = tmp_path / "report.md"
    arguments = ["--device", "cpu", "--size", "small", "--rounds", "1", "--python", sys.executable]
    # The native tests have a run of their own; one of them says whether they are started.
    arguments += ["--tests", "there is no such device", "--built", addon_of_this_torch]
    made = ROOT / ".cache" / "fixtures"
    arguments += ["--fixtures", str(made if (made / "README").is_file() else tmp_path / "fixtures")]
    done = run(*arguments, "--work", str(tmp_path), "--report", str(report))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "1 passed, 0 failed" in done.stdout and "gpu-check: all good" in done.stdout
    text = report.read_text()
    assert "| stage | mini fp32, " in text and "| small-random fp32, 64 px | small-random bf16, 64 px |" in text
    for stage in ("encode one picture", "encode one text", "decode one concept", "draw the masks", "object prompt"):
        assert stage in text
    assert "objects in 16 pictures" in text
    assert "From file and clicks to masks: " in text
    # Printed as well as kept: mini and both models of random weights, at every number of objects.
    assert text.strip() in done.stdout
    for count in (1, 5, 20, 64):
        row = next(line for line in text.splitlines() if line.startswith(f"| frames a second, objects followed: {count} |"))
        rates = [float(cell) for cell in row.split("|")[2:-1]]
        assert len(rates) == 3 and all(rate > 0 for rate in rates), row
    assert "| most memory in use while following | " in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--devise", "cpu"], 2, "unknown option --devise"),
        (["--device"], 2, "--device lacks its value"),
        (["--device", "tpu"], 1, "--device tpu: it must be cuda, cuda:N or cpu"),
        (["--size", "huge"], 1, "--size huge: it must be full or small"),
        (["--rounds", "0"], 1, "--rounds 0: it must be a number of one or more"),
    ],
)
def test_bad_options_are_said_at_once(arguments, code, message):
    done = run(*arguments)
    assert done.returncode == code
    assert message in done.stderr


def test_no_gpu_is_said_before_anything_is_built(tmp_path):
    done = run("--python", sys.executable, "--work", str(tmp_path), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "sees no CUDA device; --device cpu checks the rest" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_python_without_torch_is_said(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    done = run("--device", "cpu", "--python", str(bare), "--work", str(tmp_path))
    assert done.returncode == 1
    assert "lacks torch, transformers" in done.stderr
