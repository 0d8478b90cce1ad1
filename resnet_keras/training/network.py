"""The Keras model of a starting point: drawn from the recipe, or the file's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from resnet_keras.reference import load_reference
from resnet_keras.resnet import resnet
from weight_transfer.conversion.description import training_arguments
from weight_transfer.converted import is_converted
from weight_transfer.errors import ArchitectureError, VerificationError
from weight_transfer.graph import Graph
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.starting_point import NOTHING_LEARNS, StartingPoint
from weight_transfer.weight_mapping import mapping, modules_of_layers


@contextmanager
def floats(dtype: str) -> Iterator[None]:
    """Builds and computes in a dtype for a while, metrics included."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def build(start: StartingPoint, recipe: Recipe) -> keras.Model:
    """Builds the model and gives it the weights that the starting point has; the rest starts as Keras starts it.

    Raises:
        ArchitectureError: A file of another network than a ResNet cannot be trained on in this way.
    """
    own = own_model(start, recipe)
    return built(start) if own is None else own


def built(start: StartingPoint) -> keras.Model:
    """Builds our network with the weights that the starting point has.

    Raises:
        ArchitectureError: It is no ResNet of ours.
    """
    if start.network.resnet is None:
        raise ArchitectureError(
            f"{start.source}: a network of its owner's own. Keras 3 trains and evaluates it from the Keras checkpoint "
            "with the model in it alone, in float32."
        )
    model = _with_arguments(resnet(start.network.resnet), start)
    _set_weights(model, start)
    return model


def check_outputs(model: keras.Model, classes: int, place: str) -> None:
    """Raises ArchitectureError where a model does not give one number for each class.

    Args:
        model: The model.
        classes: How many the data has.
        place: Where the model is from.
    """
    if model.output_shape[1:] != (classes,):
        raise ArchitectureError(
            f"{place}: its output is {model.output_shape[1:]}. Expected ({classes},), as the data has classes."
        )


def own_model(start: StartingPoint, recipe: Recipe) -> keras.Model | None:
    """The very model of a Keras checkpoint, regularizers included; None where the recipe changes it."""
    changed = not start.own_head or recipe.dropout is not None or recipe.size not in (None, start.size)
    if start.source is None or is_converted(start.source) or changed or recipe.dtype != "float32":
        return None
    try:
        model: keras.Model = load_reference(start.source, only="keras").model
    except VerificationError:  # a file of weights, or one that Keras 3 does not load
        return None
    nested = any(hasattr(layer, "layers") for layer in model.layers)
    return None if nested and start.network.resnet is not None else model


def _with_arguments(model: keras.Model, start: StartingPoint) -> keras.Model:
    """The model with the file's regularizers and constraints, in its config too; a fresh head has none."""
    wanted = training_arguments(start.description)
    if not wanted:
        return model
    config = model.get_config()
    for layer in config["layers"]:
        layer["config"].update(wanted.get(layer["name"], {}))
    same: keras.Model = keras.Model.from_config(config)
    same.set_weights(model.get_weights())
    return same


def _set_weights(model: keras.Model, start: StartingPoint) -> None:
    arrays = {
        row.keras: row.to_keras(start.state[row.torch]) for row in mapping(start.network) if row.torch in start.state
    }
    for layer in model.layers:
        found = [_of(arrays, layer.name, weight) for weight in layer.weights]
        if found and all(array is not None for array in found):
            layer.set_weights(found)


def _of(arrays: Mapping[str, np.ndarray], layer: str, weight: Any) -> np.ndarray | None:
    return arrays.get(f"{layer}/{weight.name}")


def set_trainable(model: keras.Model, network: Graph, frozen: tuple[str, ...], frozen_in_file: Collection[str]) -> None:
    """Freezes parts, batch norms into inference mode, and lets the rest learn but what its file had frozen.

    Compile the model afterwards.

    Args:
        model: The model.
        network: What it is.
        frozen: ``stem``, ``stage2`` and so on, ``head``.
        frozen_in_file: Layers of the file that the training starts from.

    Raises:
        ArchitectureError: There is no such part, the network has no parts, or nothing is left that learns.
    """
    if not frozen_in_file:
        model.trainable = True
    if network.resnet is None:
        if frozen:
            raise ArchitectureError("--freeze needs a ResNet of stem, stages and head. This network has no such parts.")
        return
    parts = {path: _part(module) for path, module in modules_of_layers(network).items()}
    unknown = sorted(set(frozen) - set(parts.values()))
    if unknown:
        known = ", ".join(dict.fromkeys(parts.values()))
        raise ArchitectureError(f"no such part. Expected any of {known}. Received: {', '.join(unknown)}")
    for name, part in parts.items():
        model.get_layer(name).trainable = part not in frozen and name not in frozen_in_file
    if not model.trainable_variables:
        raise ArchitectureError(NOTHING_LEARNS)


def _part(module: str) -> str:
    """``stem`` of ``stem.conv``, ``stage2`` of ``stages.stage2.a...``."""
    words = module.split(".")
    return words[1] if words[0] == "stages" else words[0]


def summary_of(model: keras.Model) -> str:
    """The table that ``model.summary()`` prints."""
    lines: list[str] = []
    model.summary(line_length=110, print_fn=lambda line, **_: lines.append(line))
    return "\n".join(lines) + "\n"
