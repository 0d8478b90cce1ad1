"""examples/cifar10_npz.py in a process with Keras, whose CIFAR-10 is a stand-in: nothing is downloaded."""

from __future__ import annotations

import runpy
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def write(output: Path, images: int) -> Path:
    """Writes the first so many images of a CIFAR-10 of forty and ten images of noise."""
    import keras

    generator = np.random.default_rng(0)

    def part(size: int) -> tuple[np.ndarray, np.ndarray]:
        return generator.integers(0, 256, (size, 32, 32, 3), np.uint8), np.arange(size, dtype=np.uint8)[:, None] % 10

    with mock.patch.object(keras.datasets.cifar10, "load_data", return_value=(part(40), part(10))):
        runpy.run_path(str(ROOT / "examples" / "cifar10_npz.py"))["main"]([str(output), "--images", str(images)])
    return output
