"""Ports a Keras checkpoint, proves the port, and asks it what is in a picture.

python examples/port_a_file.py resnet50.h5 picture.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from resnet_torch import load_model
from weight_transfer import convert, verify
from weight_transfer.images import load_images
from weight_transfer.preprocessing import preprocess


def main(checkpoint: Path, picture: Path) -> None:
    """Converts, verifies, predicts."""
    port = checkpoint.with_suffix(".safetensors")
    print(convert(checkpoint, port))
    found = verify(checkpoint, port)
    print(found)
    if not found.passed:
        sys.exit(f"{port} is not {checkpoint}: {found.explanation}")

    model = load_model(port)
    known = model.description  # what the file says, or what such networks usually get
    height, width, channels = next(iter(known.network.inputs.values()))
    pixels = load_images([picture], (height or 224, width or 224), known.loading, channels or 3, known.crop)
    images = torch.from_numpy(preprocess(pixels, known.preprocessing)).movedim(-1, 1)
    best = model.predict(images)[0].topk(3)
    for probability, number in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        print(f"class {number}: {probability:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
