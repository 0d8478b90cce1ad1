"""Writes images of CIFAR-10, downloaded by Keras, as an ``.npz`` that every ``--data`` takes.

    python examples/cifar10_npz.py cifar10_subset.npz --images 5170

The first images of each part, so that the same command writes the same file. `--data` also takes a folder with a folder
for each class, or CIFAR-10's own archive; see docs/recipe.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np

TEST_SHARE = 0.2  # as many test images as this share of the training images


def main(arguments: list[str] | None = None) -> None:
    """Downloads CIFAR-10 where Keras has not yet, and writes the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--images", type=int, default=50_000, help="Training images, at most 50,000.")
    options = parser.parse_args(arguments)
    (images, labels), (test_images, test_labels) = keras.datasets.cifar10.load_data()
    count, test_count = options.images, round(TEST_SHARE * options.images)
    np.savez_compressed(
        options.output,
        train_images=images[:count],
        train_labels=labels[:count, 0],
        test_images=test_images[:test_count],
        test_labels=test_labels[:test_count, 0],
    )
    print(f"wrote {options.output}: {len(images[:count])} images, {len(test_images[:test_count])} to test")


if __name__ == "__main__":
    main()
