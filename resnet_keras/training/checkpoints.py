"""Checkpoints of a run: Keras's own ``.keras`` files, written whole or not at all, with the callbacks' state inside."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from resnet_keras.scale import custom_objects
from weight_transfer.atomic import atomic_write
from weight_transfer.errors import TransferError

# Members that Keras leaves alone: state and weights are one file, so that a kill cannot part them.
STATE = "training_state.json"
SEEDS = "seeds"  # in the state: Keras saves no dropout's
BEST_WEIGHTS = "best_weights.npz"


def save_checkpoint(
    model: keras.Model, path: Path, state: dict[str, Any], best_weights: Sequence[np.ndarray] | None = None
) -> None:
    """Saves model, optimizer and dropout seeds; an earlier file stays until the new one is whole.

    Args:
        model: Compiled.
        path: The file.
        state: What else to keep in it, as JSON can hold it.
        best_weights: Weights of the best epoch, where the end of training is to restore them.

    Raises:
        TransferError: It cannot be written, for example since the disk is full.
    """
    with atomic_write(path) as temporary, tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        written = Path(folder) / "model.keras"  # Keras goes by the ending
        model.save(written)
        with zipfile.ZipFile(written, "a") as archive:
            archive.writestr(STATE, json.dumps({**state, SEEDS: _seeds(model)}))
            if best_weights is not None:
                with archive.open(BEST_WEIGHTS, "w", force_zip64=True) as member:
                    np.savez(member, *best_weights)
        os.replace(written, temporary)


def load_checkpoint(path: Path) -> tuple[keras.Model, dict[str, Any], list[np.ndarray] | None]:
    """Loads what `save_checkpoint` saved: a compiled model, the state, and the best epoch's weights.

    Raises:
        TransferError: It is no such file.
    """
    try:
        model = keras.models.load_model(path, custom_objects=custom_objects(keras), safe_mode=True)
        with zipfile.ZipFile(path) as archive:
            state: dict[str, Any] = json.loads(archive.read(STATE))
            best_weights = _arrays(archive.read(BEST_WEIGHTS)) if BEST_WEIGHTS in archive.namelist() else None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise TransferError(
            f"{path}: not a training's last checkpoint ({str(error).splitlines()[0]}). Expected one that train wrote."
        ) from error
    _set_seeds(model, state.get(SEEDS, {}))
    return model, state, best_weights


def _seeds(model: keras.Model) -> dict[str, list[int]]:
    """Where each layer's random numbers stand, by its name."""
    return {layer.name: keras.ops.convert_to_numpy(layer.seed_generator.state).tolist() for layer in _random(model)}


def _set_seeds(model: keras.Model, seeds: Mapping[str, Sequence[int]]) -> None:
    for layer in _random(model):
        if layer.name in seeds:
            layer.seed_generator.state.assign(seeds[layer.name])


def _random(model: keras.Model) -> Iterator[Any]:
    """The layers that draw random numbers, in nested models too."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _random(layer)
        elif hasattr(layer, "seed_generator"):
            yield layer


def _arrays(content: bytes) -> list[np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
