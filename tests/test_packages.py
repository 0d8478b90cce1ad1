"""The packages import one way, as pyproject.toml's contracts have it; and each contract sees what breaks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("weight_transfer", "resnet_torch", "resnet_keras")
LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LINT, "--no-cache", "pyproject.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_contracts_are_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("resnet_torch/folded_preprocessing.py", "import resnet_keras.stem", "The twins are independent"),
        ("weight_transfer/errors.py", "import resnet_torch.stem", "The twins are independent"),
        ("weight_transfer/errors.py", "def f():\n    import torch", "weight_transfer imports no framework"),
        ("weight_transfer/parity/error.py", "import weight_transfer.report.charts", "import downwards"),
        ("weight_transfer/version.py", "from weight_transfer.cli import main", "need one another"),
        # A circle of three, data, report and parity, closed within a function.
        ("weight_transfer/data/__init__.py", "def f():\n    from weight_transfer import report", "need one another"),
        ("weight_transfer/converted.py", "import rich", "knows the terminal's libraries"),
        ("resnet_torch/folded_preprocessing.py", "import weight_transfer.cli.terminal", "imports the command line"),
    ],
)
def test_what_breaks_a_contract_is_seen(module, line, contract, copy):
    path = copy / module
    before = path.read_text()
    path.write_text(f"{before}\n{line}\n")
    try:
        done = lint_imports(copy)
    finally:
        path.write_text(before)
    broken = [row for row in done.stdout.splitlines() if row.endswith("BROKEN")]
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(contract in row for row in broken), done.stdout
