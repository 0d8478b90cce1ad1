"""Networks that their owner trains on for three steps: functions to call through ``keras_side``.

What acts in training alone is judged by the owner's own ``train_on_batch`` on the model that was saved, never by a
rebuilt one: its losses, every array afterwards, and what it predicts then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras_checkpoints import weights_of
from keras_floatx import floatx

FAMILIES = ("keras", "tf_keras")
RATE, STEPS, BATCH = 0.05, 3, 6


@dataclass(frozen=True)
class Owner:
    """What the owner of a network has.

    Attributes:
        files: The network before the steps, by ending.
        inputs: Of a batch, as Keras takes them.
        targets: By the outputs' keys where the model returns a dict, else in its order.
        before: Its predictions, in the outputs' order, a dict's by sorted key.
        losses: Of the steps.
        weights: Afterwards, by layer path and role.
        after: Its predictions afterwards.
    """

    files: dict[str, Path]
    inputs: list[np.ndarray]
    targets: dict[str, np.ndarray] | list[np.ndarray]
    before: list[np.ndarray]
    losses: list[float]
    weights: dict[str, np.ndarray]
    after: list[np.ndarray]


def owner(folder: Path, family: str, name: str, dtype: str) -> Owner:
    """Builds a network, saves it, and takes the steps.

    Args:
        folder: For the files.
        family: ``keras`` or ``tf_keras``.
        name: A key of `NETWORKS`.
        dtype: Of the network.
    """
    keras = importlib.import_module(family)
    with floatx(keras, dtype):
        keras.backend.clear_session()
        model, loss = NETWORKS[name](keras)
        _randomize(model)
        inputs = [_drawn(number, (BATCH, *tensor.shape[1:]), dtype) for number, tensor in enumerate(model.inputs)]
        fed = inputs[0] if len(inputs) == 1 else inputs
        model.compile(keras.optimizers.SGD(RATE), loss, run_eagerly=True)
        files = {ending: _saved(model, folder / f"{family}_{name}_{dtype}.{ending}") for ending in ("keras", "h5")}
        before = model.predict(fed, verbose=0)
        targets = _targets(before, dtype)
        losses = []
        for _ in range(STEPS):
            model.reset_metrics()
            losses.append(float(np.ravel(model.train_on_batch(fed, targets))[0]))
        weights = weights_of(model)
        after = model.predict(fed, verbose=0)
        listed = targets if isinstance(targets, (dict, list)) else [targets]
        return Owner(files, inputs, listed, _listed(before), losses, weights, _listed(after))


def _saved(model: Any, path: Path) -> Path:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        model.save(path)
    return path


def _randomize(model: Any) -> None:
    """Kernels that keep the signal's size, and everything else away from 0 and 1; some of it negative."""
    random = np.random.default_rng(5)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.name
        if "seed" in name:
            continue
        if "variance" in name or "gamma" in name:
            array = random.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            array = random.normal(0, np.sqrt(2 / max(1, np.prod(shape[:-1]))), shape)
        else:
            array = random.normal(0, 0.3, shape)
        variable.assign(array)


def _drawn(seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).normal(seed, 1, shape).astype(dtype)


def _targets(predictions: Any, dtype: str) -> Any:
    """Classes where an output gives several numbers per image, else numbers."""
    random = np.random.default_rng(9)

    def one(array: np.ndarray) -> np.ndarray:
        if array.ndim == 2 and array.shape[1] > 1:
            return np.eye(array.shape[1], dtype=dtype)[random.integers(0, array.shape[1], len(array))]
        return random.normal(size=array.shape).astype(dtype)

    if isinstance(predictions, dict):
        return {key: one(predictions[key]) for key in sorted(predictions)}
    return list(map(one, predictions)) if isinstance(predictions, (list, tuple)) else one(predictions)


def _listed(predictions: Any) -> list[np.ndarray]:
    if isinstance(predictions, dict):
        return [predictions[key] for key in sorted(predictions)]
    return list(predictions) if isinstance(predictions, (list, tuple)) else [predictions]


def _head(keras: Any, x: Any, **arguments: Any) -> Any:
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.layers.Dense(3, activation="softmax", name="head", **arguments)(pooled)


def _constrained(keras: Any) -> Any:
    """Every constraint, on weights of every layout, along axes of every kind."""
    layers, of = keras.layers, keras.constraints
    image = layers.Input((9, 9, 3))
    x = layers.Conv2D(4, 3, kernel_constraint=of.MaxNorm(0.7, [0, 1, 2]), bias_constraint="non_neg", name="conv")(image)
    x = layers.BatchNormalization(
        gamma_constraint=of.MinMaxNorm(0.5, 1.0, 0.5), beta_constraint=of.NonNeg(), name="norm"
    )(x)
    x = layers.DepthwiseConv2D(3, padding="same", depthwise_constraint=of.UnitNorm([0, 1]), name="depthwise")(x)
    x = layers.ReLU()(x)
    x = layers.SeparableConv2D(
        6, 3, depthwise_constraint=of.MaxNorm(0.5), pointwise_constraint=of.UnitNorm(-1), name="separable"
    )(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_constraint="non_neg", name="slope")(x)
    x = layers.Conv2DTranspose(4, 3, kernel_constraint=of.MaxNorm(0.6, axis=[0, 1, 3]), name="transposed")(x)
    x = layers.Conv2D(4, 1, groups=2, kernel_constraint=of.MinMaxNorm(0.2, 0.4, 0.9, axis=2), name="grouped")(x)
    x = layers.LayerNormalization(gamma_constraint="unit_norm", name="layer_norm")(x)
    x = layers.Dense(5, kernel_constraint=of.MaxNorm(0.5, axis=1), activation="tanh", name="dense")(x)
    return keras.Model(image, _head(keras, x, kernel_constraint=of.MaxNorm(0.3))), "categorical_crossentropy"


def _constrained_resnet(keras: Any) -> Any:
    """The tutorial's names and order, so that a native ResNet comes of it."""
    config = _tutorial(keras).get_config()
    constraint = keras.constraints.serialize(keras.constraints.MaxNorm(0.3))
    for layer in config["layers"]:
        if layer["class_name"] in ("Conv2D", "Dense"):
            layer["config"]["kernel_constraint"] = constraint
    return keras.Model.from_config(config), "categorical_crossentropy"


def _tutorial(keras: Any) -> Any:
    """Without dropout, which is chance, in the dtype that is set."""
    from weight_transfer.resnet.dialects import TUTORIAL, design, head_for
    from weight_transfer.resnet.keras_config import keras_config, legacy_keras_config

    small = {"block_counts": (1, 1), "filters": ((4, 4, 8), (6, 6, 12)), "stem_filters": 4}
    head = dataclasses.replace(head_for(TUTORIAL, 3), dropout=0.0)
    architecture = dataclasses.replace(design(50, in_shape=(33, 33, 3), head=head), **small)
    render = keras_config if keras.__name__ == "keras" else legacy_keras_config
    return keras.models.model_from_json(json.dumps(render(architecture, (), keras.backend.floatx())))


def _transfer(keras: Any) -> Any:
    """TensorFlow's guide: a base called with training=False, which what is inside it may contradict."""
    layers = keras.layers
    image = layers.Input((9, 9, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, padding="same", name="conv")(image))
    y = layers.BatchNormalization(momentum=0.8, name="own")(layers.Conv2D(4, 1, name="point")(x), training=True)
    base = keras.Model(image, layers.ReLU(name="relu")(layers.Add(name="add")([x, y])), name="base")
    image = layers.Input((9, 9, 3))
    x = layers.BatchNormalization(momentum=0.9, name="behind")(base(image, training=False))
    dropped = _chance(keras, layers.Dropout, 0.5)(x, training=False)
    chain = keras.Sequential([layers.Input((9, 9, 4)), layers.BatchNormalization(name="chained")], name="chain")
    return keras.Model(image, _head(keras, chain(dropped, training=False))), "categorical_crossentropy"


def _chance(keras: Any, make: Any, rate: float) -> Any:
    """A layer of chance, where its call keeps it from acting: Keras 3 overrides what a call says."""
    return make(rate if keras.__name__ == "tf_keras" else 0.0)


def _modes(keras: Any) -> Any:
    """One batch norm called in every mode; a base that learns its statistics in inference too."""
    layers = keras.layers
    x = layers.Input((4,))
    norm = layers.BatchNormalization(momentum=0.7, name="norm")
    y = norm(
        layers.Dense(4, name="second")(norm(layers.Dense(4, name="first")(norm(x)), training=False)), training=True
    )
    y = _chance(keras, layers.GaussianNoise, 1.0)(y, training=False)
    return keras.Model(x, layers.Dense(3, activation="softmax", name="out")(y)), "categorical_crossentropy"


def _siamese(keras: Any) -> Any:
    """A batch norm whose calls Keras makes in another order than they were written in."""
    layers = keras.layers
    a, b = layers.Input((4,)), layers.Input((4,))
    norm, dense = layers.BatchNormalization(momentum=0.9, name="norm"), layers.Dense(3, name="dense")
    return keras.Model([a, b], layers.Dense(1, name="out")(layers.Subtract()([norm(dense(b)), norm(dense(a))]))), "mse"


def _shared_head(keras: Any) -> Any:
    """A detector's head on two levels, one nearer to the outputs than the other."""
    layers = keras.layers
    image = layers.Input((12, 12, 3))
    near = layers.Conv2D(4, 3, strides=2, padding="same", name="near")(image)
    far = layers.Conv2D(4, 3, strides=2, padding="same", name="far")(near)
    conv = layers.Conv2D(4, 3, padding="same", name="conv")
    norm = layers.BatchNormalization(momentum=0.9, name="norm")
    pooled = [layers.GlobalAveragePooling2D()(norm(conv(level))) for level in (near, far)]
    return keras.Model(image, pooled), ["mse", "mse"]


def _penalties(keras: Any) -> Any:
    """Layers whose penalized output is read by another, and is the model's too."""
    layers = keras.layers
    x = layers.Input((4,))
    dense = layers.Dense(4, activation="sigmoid", activity_regularizer="l1", name="dense")
    shared = layers.Activation("sigmoid", activity_regularizer=keras.regularizers.L2(0.02), name="shared")
    shared = shared if keras.__name__ == "keras" else layers.Activation("sigmoid", name="shared")  # not in its files
    return keras.Model(x, shared(layers.Dense(4, name="between")(shared(dense(dense(x)))))), "mse"


def _both_ends(keras: Any) -> Any:
    """A penalized layer that is called in the middle and at the end, alone."""
    x = keras.layers.Input((4,))
    dense = keras.layers.Dense(4, activation="softmax", activity_regularizer="l2", name="dense")
    return keras.Model(x, dense(keras.layers.Dense(4, name="between")(dense(x)))), "categorical_crossentropy"


def _dict_loss(keras: Any) -> Any:
    """A loss for each output by key, in another order than the keys'."""
    x = keras.layers.Input((5,))
    outputs = {
        "zz": keras.layers.Dense(4, activation="softmax", name="zz")(x),
        "aa": keras.layers.Dense(2, name="aa")(x),
    }
    return keras.Model(x, outputs), {"zz": "categorical_crossentropy", "aa": "mse"}


def _focal(activation: str | None, loss: str, **arguments: Any) -> Callable[[Any], Any]:
    def build(keras: Any) -> Any:
        x = keras.layers.Input((5,))
        output = keras.layers.Dense(4, activation=activation, name="out")(x)
        return keras.Model(x, output), getattr(keras.losses, loss)(**arguments)

    return build


NETWORKS: dict[str, Callable[[Any], Any]] = {
    "constrained": _constrained,
    "constrained_resnet": _constrained_resnet,
    "transfer": _transfer,
    "modes": _modes,
    "siamese": _siamese,
    "shared_head": _shared_head,
    "penalties": _penalties,
    "both_ends": _both_ends,
    "dict_loss": _dict_loss,
    **{
        f"focal_{activation}_{loss[:3]}_{from_logits}": _focal(activation, loss, from_logits=from_logits)
        for activation in ("softmax", "sigmoid", None)
        for loss in ("CategoricalFocalCrossentropy", "BinaryFocalCrossentropy")
        for from_logits in (False, True)
        if (activation is not None or from_logits) and (activation, loss[:3]) != ("softmax", "Bin")
    },
    "focal_smooth": _focal("sigmoid", "BinaryFocalCrossentropy", label_smoothing=0.2, apply_class_balancing=True),
}


def weights_after(family: str, file: Path, before: Owner, loss: str) -> dict[str, np.ndarray]:
    """Every array of a saved model after the steps that an owner took."""
    keras = importlib.import_module(family)
    keras.backend.clear_session()
    model = keras.models.load_model(file)
    model.compile(keras.optimizers.SGD(RATE), loss, run_eagerly=True)
    for _ in range(STEPS):
        model.train_on_batch(before.inputs[0], before.targets[0])
    return weights_of(model)
