"""The README's training commands run, in a file of their own so that two workers share the README's."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from readme_blocks import blocks, sh

from weight_transfer.parity.inputs import photographs


@pytest.mark.slow
@pytest.mark.keras
def test_training_commands_of_the_readme_run(tmp_path):
    """Cut to a step or two of a few images, from whatever classes the photographs' crops make."""
    generator = np.random.default_rng(0)
    sources = photographs((64, 64))
    corners = generator.integers(0, 32, (40, 2))
    labels = np.arange(40) % len(sources)
    crops = [sources[k][y : y + 32, x : x + 32] for k, (y, x) in zip(labels, corners, strict=True)]
    parts = {"train": slice(0, 30), "test": slice(30, 40)}
    arrays = {f"{part}_images": np.stack(crops[cut]) for part, cut in parts.items()}
    arrays |= {f"{part}_labels": labels[cut] for part, cut in parts.items()}
    np.savez(tmp_path / "cifar10_subset.npz", **arrays)
    download, *commands = (blocks("sh")[3] + blocks("sh")[4]).replace("\\\n", " ").strip().splitlines()
    assert download.startswith("python examples/cifar10_npz.py cifar10_subset.npz ")  # tests/test_cifar10_npz.py
    for command in commands:
        cut = command.replace("--epochs 10", "--epochs 2 --steps 1").replace("--unfreeze-at 6", "--unfreeze-at 2")
        done = sh(cut, tmp_path)
        assert done.returncode == 0, f"{cut}\n{done.stdout}{done.stderr}"
        if (tmp_path / "runs" / "keras" / "best.keras").exists():
            shutil.copy(tmp_path / "runs" / "keras" / "best.keras", tmp_path / "stopped.keras")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert (tmp_path / "tuned.keras").exists()
