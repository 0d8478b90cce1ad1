"""CIFAR-10 by torchvision's loader, which downloads it once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from weight_transfer.data import ArrayImages, Part
from weight_transfer.data.cifar10 import CLASS_NAMES
from weight_transfer.errors import TransferError
from weight_transfer.training.run_folder import is_first_process

READY = ".cifar10-is-whole"
WAIT_S = 3600.0  # for the process that downloads


def download_cifar10(part: Part) -> ArrayImages:
    """Returns CIFAR-10's training or test images.

    Of several processes the first one downloads; on further machines, let one process do it before.

    Raises:
        TransferError: It cannot be downloaded.
    """
    folder = Path(torch.hub.get_dir()) / "datasets"
    try:
        from torchvision.datasets import CIFAR10

        if not is_first_process():
            _wait(folder / READY)
        found = CIFAR10(str(folder), train=part != "test", download=is_first_process())
        (folder / READY).touch()
    except (ImportError, OSError, RuntimeError) as error:
        raise TransferError(
            f"CIFAR-10 cannot be downloaded ({error}). Name its archive or folder instead, or an .npz file."
        ) from error
    return ArrayImages(np.asarray(found.data), np.asarray(found.targets, np.int64), CLASS_NAMES)


def _wait(marker: Path) -> None:
    until_s = time.monotonic() + WAIT_S
    while not marker.exists():
        if time.monotonic() > until_s:
            raise OSError(f"{marker} did not appear")
        time.sleep(1)
