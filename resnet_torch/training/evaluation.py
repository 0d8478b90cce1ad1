"""How well a checkpoint does, from any file that holds one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from resnet_torch.inference import inference
from resnet_torch.losses import CategoricalCrossentropy
from resnet_torch.regularizers import regularization
from resnet_torch.training.cifar10 import download_cifar10
from resnet_torch.training.loading import PartLoader, Share
from resnet_torch.training.network import DTYPES, built
from resnet_torch.training.settings import Settings
from resnet_torch.training.summary import check_outputs, output_shapes
from weight_transfer.data import Batches, Part
from weight_transfer.errors import TransferError
from weight_transfer.progress import OnProgress
from weight_transfer.training import Evaluation, Recipe, confusion_matrix
from weight_transfer.training.datasets import evaluation_images
from weight_transfer.training.starting_point import check_activation, to_evaluate


def evaluate_file(
    recipe: Recipe, checkpoint: Path, part: Part | None, settings: Settings, on_progress: OnProgress
) -> Evaluation:
    """Evaluates a file; see `resnet_torch.training.evaluate`."""
    dtype = DTYPES[recipe.dtype]
    start = to_evaluate(recipe, checkpoint)
    check_activation(start.network, str(checkpoint))
    model = built(start, dtype)
    images = evaluation_images(recipe, part, start.size, start.description, download_cifar10)
    batches = images.batches
    classes, losses = len(batches.class_names), 0.0
    check_outputs(output_shapes(model, start.size), classes, str(checkpoint))
    model = model.to(settings.device)
    penalty, loss = regularization(model), CategoricalCrossentropy(True, recipe.label_smoothing, "sum")
    confusion = np.zeros((classes, classes), np.int64)
    steps = len(batches) if isinstance(batches, Batches) else None
    with inference(model):
        for number, (x, y, _, problem) in enumerate(PartLoader(batches, Share(), settings), 1):
            if problem:
                raise TransferError(problem)
            logits = model(x.to(settings.device, dtype)).cpu()
            losses += loss(logits, y).item() + penalty().item() * len(y)
            confusion += confusion_matrix(y.numpy(), logits.argmax(1).numpy(), classes)
            if steps is not None:
                on_progress(number / steps)
    loss_of_all = losses / max(1, int(confusion.sum()))
    return Evaluation(loss_of_all, confusion, batches.class_names, images.words, start.description)
