"""Training by a recipe, on Lightning: the torch side of the shared commands.

What is Keras's about it (losses, optimizers, callbacks, batch norm) is ordinary torch, usable in anyone's
loop; here it is put together. Importing this package loads no Lightning.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from weight_transfer.data import Part
from weight_transfer.errors import TransferError
from weight_transfer.training import Evaluation, History, Recipe

NEEDED = ("lightning", "tensorboard", "matplotlib", "cv2")


def train(recipe: Recipe, *, resume: bool, quiet: bool, **options: Any) -> History:
    """Trains a network, and leaves history, curves and checkpoints in the recipe's run folder.

    Args:
        recipe: What to do; its run folder exists.
        resume: Whether to go on from the run folder's last checkpoint.
        quiet: Print nothing to standard output.
        **options: Fields of `resnet_torch.training.settings.Settings`.

    Returns:
        All epochs, those before a resume too.

    Raises:
        TransferError: The extra ``train`` is not installed, or the training cannot be done or goes wrong.
    """
    _check_installed()
    from resnet_torch.training.running import run
    from resnet_torch.training.settings import Settings

    return run(recipe, Settings(**options), resume=resume, quiet=quiet)


def evaluate(recipe: Recipe, checkpoint: Path, *, part: Part | None, quiet: bool, **options: Any) -> Evaluation:
    """Evaluates a Keras checkpoint or a converted file.

    Args:
        recipe: Says which data, and how it is prepared.
        checkpoint: The file.
        part: Which images, or None for those that training did not see, as far as that is known.
        quiet: Draw no progress bar.
        **options: ``workers`` and ``accelerator`` of `resnet_torch.training.settings.Settings`.

    Raises:
        TransferError: The file or the data cannot be read, or they do not fit.
    """
    from resnet_torch.training.evaluating import evaluate_file
    from resnet_torch.training.settings import Settings

    return evaluate_file(recipe, checkpoint, part, Settings(**options), quiet)


def _check_installed() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TransferError(
            f"training needs what is not installed: {', '.join(missing)}. "
            "Install it by: pip install 'keras-resnet-to-torch[train]'"
        )
