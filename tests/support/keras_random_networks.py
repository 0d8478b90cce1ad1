"""Networks that real Keras builds from a JSON description: functions to call through ``keras_side``.

A description is plain JSON, so that a failing one can be read, shortened and kept:

    {"family": "keras", "seed": 0, "inputs": [[9, 7, 3]],
     "layers": [{"class_name": "Conv2D", "inputs": [0], "config": {"filters": 4, "kernel_size": 3}}],
     "outputs": [1]}

Value 0 is the first input; after the inputs, every layer adds one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from keras_zoo import save_as


def save_described(path: Path, description: Mapping[str, Any]) -> Path:
    """Builds, seeds and saves a network; the container goes by the path's suffix."""
    if description["family"] == "keras":
        import keras as module
    else:
        import tf_keras as module
    module.backend.clear_session()
    model = build(module, description)
    _seed(model, description["seed"])
    return save_as(path, model)


def build(keras: Any, description: Mapping[str, Any]) -> Any:
    """Builds the network with the weights that Keras starts with."""
    inputs = [keras.layers.Input(shape) for shape in description["inputs"]]
    values = list(inputs)
    for row in description["layers"]:
        layer = getattr(keras.layers, row["class_name"])(**_as_keras_takes_it(row["config"]))
        fed = [values[number] for number in row["inputs"]]
        values.append(layer(fed if len(fed) > 1 else fed[0]))
    outputs = [values[number] for number in description["outputs"]]
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])


def _as_keras_takes_it(config: Mapping[str, Any]) -> dict[str, Any]:
    """With tuples for lists, which JSON has not."""
    return {key: _tuples(value) if key != "axis" else value for key, value in config.items()}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _seed(model: Any, seed: int) -> None:
    """Draws every array: kernels that keep the signal's size, statistics away from 0."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([_draw(generator, variable.name, tuple(variable.shape)) for variable in layer.weights])


def _draw(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if "variance" in name or "gamma" in name:
        return generator.uniform(0.5, 1.5, shape)
    if "kernel" in name:
        fan_in = np.prod(shape[:-2]) if "depthwise" in name else np.prod(shape[:-1])
        return generator.normal(0, np.sqrt(1.5 / fan_in), shape)
    return generator.normal(0, 0.3, shape)
