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
from weight_transfer.progress import OnProgress
from weight_transfer.training import Evaluation, History, Recipe
from weight_transfer.training.reporter import SILENT, Reporter

NEEDED = ("lightning", "tensorboard", "matplotlib", "cv2")


def train(recipe: Recipe, *, resume: bool = False, reporter: Reporter = SILENT, **options: Any) -> History:
    """Trains a network, and leaves history, curves and checkpoints in the recipe's run folder.

    Args:
        recipe: What to do; its run folder exists.
        resume: Whether to go on from the run folder's last checkpoint.
        reporter: Is told how it goes.
        **options: Fields of `resnet_torch.training.settings.Settings`.

    Returns:
        All epochs, those before a resume too.

    Raises:
        TransferError: The extra ``train`` is not installed, or the training cannot be done or goes wrong.
    """
    _check_installed()
    from resnet_torch.training.run import run
    from resnet_torch.training.settings import Settings

    return run(recipe, Settings(**options), resume=resume, reporter=reporter)


def evaluate(
    recipe: Recipe,
    checkpoint: Path,
    *,
    part: Part | None = None,
    on_progress: OnProgress = lambda share: None,
    **options: Any,
) -> Evaluation:
    """Evaluates a Keras checkpoint or a converted file.

    Args:
        recipe: Says which data, and how it is prepared.
        checkpoint: The file.
        part: Which images, or None for those that training did not see, as far as that is known.
        on_progress: Called with the share that is done; not for a stream, which does not know.
        **options: ``workers`` and ``accelerator`` of `resnet_torch.training.settings.Settings`.

    Raises:
        TransferError: The file or the data cannot be read, or they do not fit.
    """
    from resnet_torch.training.evaluation import evaluate_file
    from resnet_torch.training.settings import Settings

    return evaluate_file(recipe, checkpoint, part, Settings(**options), on_progress)


def _check_installed() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TransferError(
            f"training needs what is not installed: {', '.join(missing)}. "
            "Install it by: pip install 'keras-resnet-to-torch[train]'"
        )
