"""docs/back-to-keras.md is true: its files and commands run, from Keras to PyTorch and back into Keras."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.keras, pytest.mark.slow]
PAGE = (Path(__file__).resolve().parents[1] / "docs" / "back-to-keras.md").read_text()
BIN = Path(sys.executable).parent


def test_the_walk_through_runs(tmp_path):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(80, dtype=np.uint8) % 10
    np.savez(
        tmp_path / "cifar10_subset.npz",
        train_images=images,
        train_labels=labels,
        test_images=images[:20],
        test_labels=labels[:20],
    )
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None
        (tmp_path / name[1]).write_text(block)
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    printed = [run(line, tmp_path) for line in commands.splitlines()]
    assert "106 layers" in printed[1]  # frozen
    assert "the optimizer goes on" in printed[2]
    first, evaluated, last = printed[-1].splitlines()[-3:]
    # Four steps of Keras, four of PyTorch, less what half precision skipped; then four of Keras.
    begun, ended = int(first.split()[1]), int(last.split()[1])
    assert 4 < begun <= 8
    assert begun < ended <= begun + 4
    loss, accuracy = re.findall(r"[\d.]+", evaluated)
    assert 0 < float(loss) < 100
    assert 0 <= float(accuracy) <= 1


def run(line: str, folder: Path) -> str:
    words = shlex.split(line)
    words[0] = str(BIN / words[0])
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
