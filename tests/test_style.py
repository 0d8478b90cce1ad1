"""The same checks that pre-commit runs, and the direction of the imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_checkers_are_content(command):
    words = command.split()
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("weight_transfer", ("torch", "tensorflow", "keras", "tf_keras")),
        ("resnet_torch", ("tensorflow", "keras", "tf_keras", "resnet_keras")),
        # The compiler: 1.6 s, and its Triton crashes in a process that has TensorFlow.
        ("resnet_torch", ("torch._dynamo", "triton")),
        ("resnet_torch.comparison.trajectory", ("torch._dynamo", "triton")),
    ],
)
def test_imports_point_one_way(package, never):
    code = f"import sys; from {package} import *; print([name for name in {never!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_resnet_keras_never_imports_torch():
    code = "import sys; from resnet_keras import *; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 45
