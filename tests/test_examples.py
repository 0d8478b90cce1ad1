"""The example trains: from scratch and from a converted checkpoint, the loss falls within an epoch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import keras_resnets
import numpy as np
import pytest
from conftest import SHARED

from weight_transfer import convert
from weight_transfer.parity.inputs import photographs

ROOT = Path(__file__).resolve().parents[1]
SIZE = 64


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Real CIFAR-10 images; without them, crops of four photographs, whose class is the photograph."""
    if (SHARED / "cifar10_subset.npz").exists():
        return SHARED / "cifar10_subset.npz"
    path = tmp_path_factory.mktemp("images") / "crops.npz"
    generator = np.random.default_rng(0)
    sources = photographs((256, 256))
    labels = generator.integers(0, len(sources), 480)
    corners = generator.integers(0, 224, (480, 2))
    crops = [sources[k][y : y + 32, x : x + 32] for k, (y, x) in zip(labels, corners, strict=True)]
    np.savez(path, train_images=np.stack(crops), train_labels=labels)
    return path


def losses(*arguments: str | Path) -> tuple[float, float]:
    """Mean loss of the first and of the last quarter of the epoch."""
    command = [sys.executable, str(ROOT / "examples" / "train_cifar10.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = re.search(r"loss ([\d.]+) in its first quarter, ([\d.]+) in its last", done.stdout)
    assert found is not None, done.stdout
    return float(found[1]), float(found[2])


@pytest.mark.slow
def test_loss_falls_from_scratch(images):
    first, last = losses(images, "--size", str(SIZE), "--images", "480")
    assert last < first


@pytest.mark.slow
def test_loss_falls_from_a_converted_checkpoint(images, tmp_path, keras_side):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet50.h5", in_shape=(SIZE, SIZE, 3))
    port = convert(source, tmp_path / "resnet50.safetensors").output
    first, last = losses(
        images, "--size", str(SIZE), "--images", "480", "--checkpoint", port, "--learning-rate", "1e-4"
    )
    assert last < first
