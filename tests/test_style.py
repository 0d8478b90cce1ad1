"""The same checks that pre-commit runs, and the direction of the imports."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def is_tested_set() -> bool:
    """Whether the libraries installed are those of constraints.txt: types are theirs, and older ones have others."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    return all(version(name) == pins[name] for name in ("mypy", "numpy", "pillow", "safetensors"))


TYPES = pytest.mark.skipif(not is_tested_set(), reason="types are checked against the libraries of constraints.txt")


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", pytest.param("mypy", marks=TYPES)])
def test_checkers_are_content(command):
    words = command.split()
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("weight_transfer", ("torch", "tensorflow", "keras", "tf_keras")),
        # The compiler: 1.6 s, and its Triton crashes in a process that has TensorFlow.
        ("resnet_torch", ("tensorflow", "keras", "tf_keras", "resnet_keras", "torch._dynamo", "triton")),
        ("resnet_torch.comparison.trajectory", ("torch._dynamo", "triton")),
    ],
)
def test_imports_point_one_way(package, never):
    code = f"import sys; from {package} import *; print([name for name in {never!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.keras
def test_resnet_keras_never_imports_torch():
    code = "import sys; from resnet_keras import *; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 60


def test_the_lines_of_a_layer_class_stand_where_contributing_says():
    *_, block = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    rows = re.findall(r"# (\S+): .*\n(.+)\n", block)
    assert len(rows) == 4
    for path, line in rows:
        assert line in [one.strip() for one in (ROOT / path).read_text().splitlines()], path


def test_the_lowest_versions_are_the_lower_bounds():
    """What ``pip install -c constraints-lowest.txt`` installs is what pyproject.toml promises, all of it."""
    written = re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    bounds = {name: Version(version) for name, version in written}
    direct, _ = (ROOT / "constraints-lowest.txt").read_text().split("# ---\n")
    pinned = {}
    for line in direct.splitlines()[1:]:
        requirement = Requirement(line)
        (exact,) = requirement.specifier
        assert exact.operator == "=="
        pinned[requirement.name] = Version(exact.version)
    assert pinned == bounds
