"""Networks with weights that look trained: random, all distinct, with statistics that fit the weights.

A fresh Keras model has zero biases, unit variances and zero means, so that half the mistakes of a
port change nothing. Here biases, gammas and betas are drawn, and the moving statistics are those of
the network's own activations, so that no signal dies or explodes on the way.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np

from resnet_keras.resnet import create_resnet
from weight_transfer.graph import read_graph
from weight_transfer.parity.inputs import load_cases
from weight_transfer.parity.protocol import SeededModelRequest, Written
from weight_transfer.progress import OnProgress


def seed_weights(model: keras.Model, images: np.ndarray | None = None, seed: int = 0) -> keras.Model:
    """Draws all weights of a model in place and calibrates its batch norms.

    Args:
        model: A functional model; nested models are reached too.
        images: Network inputs to calibrate on, (N, H, W, C); by default noise at the model's size,
            or 64 x 64 where it is free.
        seed: Of everything drawn.

    Returns:
        The model.
    """
    generator = np.random.default_rng(seed)
    norms = []
    ending = _ending_a_residual(model)
    for layer in _flat(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            norms.append(layer)
            width = layer.gamma.shape[0]
            # F(x) smaller than x, as training leaves it: else rounding errors grow from block to block.
            quiet = 0.2 if layer.name in ending else 1.0
            layer.set_weights(
                [
                    quiet * generator.uniform(0.6, 1.4, width),
                    generator.normal(0, 0.2, width),
                    generator.normal(0, 0.1, width),
                    generator.uniform(0.5, 1.5, width),
                ]
            )
        elif layer.get_weights():
            layer.set_weights([_draw(generator, value.shape) for value in layer.get_weights()])
    _calibrate(model, norms, _noise(model, generator) if images is None else images, generator)
    return model


def _ending_a_residual(model: keras.Model) -> set[str]:
    """Names of the batch norms that end F(x): they feed an addition, and their convolution reads a
    layer that nothing else reads. A projection shortcut reads the block's input, which others read too.
    """
    graph = read_graph({"class_name": type(model).__name__, "config": model.get_config()})
    calls = {call.value: call for call in graph.calls}
    readers = Counter(value for call in graph.calls for value in set(call.inputs))
    found = set()
    for add in (call for call in graph.calls if graph.layers[call.layer].class_name == "Add"):
        for norm in (calls[value] for value in add.inputs if value in calls):
            convs = [calls[value] for value in norm.inputs if value in calls]
            if convs and readers[convs[0].inputs[0]] == 1:
                found.add(graph.layers[norm.layer].name)
    return found


def _draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """He's variance for kernels, small numbers for biases."""
    fan_in = int(np.prod(shape[:-1])) if len(shape) > 1 else 100
    return generator.normal(0, np.sqrt(2 / fan_in), shape)


def _noise(model: keras.Model, generator: np.random.Generator) -> np.ndarray:
    height, width, channels = model.input_shape[1:]
    return generator.normal(0, 60, (4, height or 64, width or 64, channels))


def _calibrate(model: keras.Model, norms: list[Any], images: np.ndarray, generator: np.random.Generator) -> None:
    """One pass in training mode with momentum 0 writes the batch's own statistics; then a little is added."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images.astype("float32"), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        gamma, beta, mean, variance = norm.get_weights()
        scale = np.sqrt(variance)
        mean = mean + 0.1 * scale * generator.normal(size=mean.shape)
        variance = variance * generator.uniform(0.8, 1.25, variance.shape) + 1e-3
        norm.set_weights([gamma, beta, mean, variance])


def _flat(model: keras.Model) -> list[Any]:
    found: list[Any] = []
    for layer in model.layers:
        found += _flat(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def make(request: SeededModelRequest, on_progress: OnProgress) -> Written:
    """Makes a checkpoint.

    Args:
        request: Of what network.
        on_progress: Called with the share that is done.
    """
    model = create_resnet(depth=request.depth)
    on_progress(0.3)
    (case,) = load_cases(request.images)
    seed_weights(model, case.arrays[0], request.seed)
    on_progress(0.9)
    model.save(request.output)
    return Written()
