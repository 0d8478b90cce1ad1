"""What a network says of image files: for the command line, which loads no torch, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from resnet_torch.loading import load_model
from resnet_torch.model import PortedModel
from resnet_torch.wrappers import description_of_module
from weight_transfer.errors import TransferError
from weight_transfer.images import Crop, ImageLoading, load_image
from weight_transfer.parity.protocol import PredictionRequest, PredictionResult
from weight_transfer.picture_classifier import Guess, Prediction, picture_classifier
from weight_transfer.preprocessing import Preprocessing, preprocess


def predict_images(
    model: PortedModel,
    paths: Sequence[str | os.PathLike[str]],
    *,
    loading: ImageLoading | None = None,
    crop: Crop = None,
    size: tuple[int, int] | None = None,
    preprocessing: Preprocessing | None = None,
    top: int = 5,
) -> Iterator[Prediction]:
    """Loads image files one by one, preprocesses them, and yields what the network says of each.

    Each image runs alone: what is said of it does not depend on the others.

    Args:
        model: From `load_model`, on any device.
        paths: The image files.
        loading: How their pixels are made; by default as the network's file says, or guesses.
        crop: What is cut out of them; by default likewise.
        size: (H, W) to resize to; by default the network's, or where that is free the image's own.
        preprocessing: By default likewise.
        top: How many classes, at most.

    Raises:
        TransferError: The network takes no pictures or cannot take this size, an image cannot be
            read, or the outputs are not finite.

    Example:
        >>> model = load_model("resnet50.safetensors")
        >>> next(predict_images(model, ["cat.jpg"])).top[0]
        Guess(number=281, output=0.93)
    """
    classifier = picture_classifier(model.network)
    known = description_of_module(model)
    how, loading, crop = preprocessing or known.preprocessing, loading or known.loading, crop or known.crop
    parameter = next(model.parameters())
    for path in paths:
        pixels = load_image(path, size or classifier.size, loading, classifier.channels, crop)
        x = np.ascontiguousarray(np.moveaxis(preprocess(pixels[np.newaxis], how), -1, 1))
        height, width = pixels.shape[:2]
        outputs = _outputs(model, torch.from_numpy(x).to(parameter.device, parameter.dtype), f"{path}")
        if classifier.binary:
            outputs = torch.cat([1 - outputs, outputs])
        order = outputs.argsort(descending=True, stable=True)[:top].tolist()
        guesses = tuple(Guess(number, float(outputs[number])) for number in order)
        yield Prediction(Path(path), (height, width), float(outputs.sum()), guesses)


def _outputs(model: PortedModel, x: torch.Tensor, path: str) -> torch.Tensor:
    """The one vector of outputs, float64, on the CPU."""
    height, width = x.shape[2:]
    try:
        given = model.predict(x)
    except RuntimeError as error:
        raise TransferError(
            f"{path}: the network cannot take it at {height}x{width} ({str(error).splitlines()[0]}). "
            "Name the size that it was trained at."
        ) from error
    if not isinstance(given, torch.Tensor):
        given = next(iter(given.values() if isinstance(given, dict) else given))
    outputs = given[0].double().cpu()
    if not outputs.isfinite().all():
        raise TransferError(f"{path}: the network's outputs are not finite. Is its preprocessing another?")
    return outputs


def imagenet_names() -> list[str] | None:
    """ImageNet's names of its 1000 classes in Keras's order, which is torchvision's; None without torchvision."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    from torchvision.models import ResNet50_Weights

    names: list[str] = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    return names


def predict(request: PredictionRequest, on_progress: Callable[[float], None]) -> PredictionResult:
    """Answers the command line.

    Args:
        request: What it asks.
        on_progress: Called with the share that is done.

    Raises:
        TransferError: As `predict_images`; or there is no such device.
    """
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32, as in a verification
    if not _is_available(request.device):
        raise TransferError(f"there is no device {request.device} that this torch can use. Take --device cpu.")
    model = load_model(request.converted).to(request.device)
    predictions = []
    for prediction in predict_images(
        model,
        request.images,
        loading=request.image_loading,
        crop=request.crop,
        size=request.size,
        preprocessing=request.preprocessing,
        top=request.top,
    ):
        predictions.append(prediction)
        on_progress(len(predictions) / len(request.images))
    names = imagenet_names() if request.imagenet else None
    return PredictionResult(tuple(predictions), None if names is None else tuple(names))


def _is_available(device: str) -> bool:
    backends: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    return device not in backends or backends[device]()
