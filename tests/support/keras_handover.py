"""Training that real Kerases begin and go on with: functions to call through ``keras_side``."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras_checkpoints
import numpy as np
from keras_floatx import floatx

from weight_transfer.architecture import Head

SHAPE, CLASSES, BATCH = (32, 32, 3), 5, 3
ENDINGS = {"legacy-h5": "h5", "keras-zip": "keras", "keras3-weights-h5": "weights.h5"}


@dataclass(frozen=True)
class Run:
    """What a run of Keras gave.

    Attributes:
        files: Written between the two parts, by container.
        losses: Of the steps after that.
        weights: At the end, by layer path and role.
        last: A file written at the end.
        names: Of the optimizer's variables, in its order.
    """

    files: dict[str, Path]
    losses: list[float]
    weights: dict[str, np.ndarray]
    last: Path
    names: list[str] = field(default_factory=list)


def batches(num: int, seed: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (N, H, W, C) and classes as one-hot rows, in float64."""
    random = np.random.default_rng(seed)
    return [
        (random.normal(size=(BATCH, *SHAPE)), np.eye(CLASSES)[random.integers(0, CLASSES, BATCH)]) for _ in range(num)
    ]


def trained(
    folder: Path,
    family: str,
    network: str,
    name: str,
    arguments: dict[str, Any],
    steps: tuple[int, int] = (2, 2),
    rate: float | None = 0.004,
    freeze_late: bool = False,
    scaled: bool = False,
) -> Run:
    """Trains a small network in float64, saves it in every container on the way, and trains on.

    Args:
        folder: For the files.
        family: ``keras`` or ``tf_keras``; of the latter, ``legacy`` optimizers in ``tf_keras legacy``.
        network: A key of `NETWORKS`.
        name: Class of the optimizer.
        arguments: Its arguments; a ``learning_rate`` may be a schedule's (class, arguments).
        steps: Before and after the file.
        rate: What the learning rate is set to just before the file, as ReduceLROnPlateau does.
        freeze_late: Whether the last layer is frozen after the first part, without compiling again.
        scaled: Whether a LossScaleOptimizer stands around the optimizer.
    """
    keras = keras_checkpoints._family(family.split()[0])
    with _float64(keras):
        keras.backend.clear_session()
        model = NETWORKS[network](keras)
        keras_checkpoints.randomize(model, seed=1)
        optimizers = keras.optimizers.legacy if family.endswith("legacy") else keras.optimizers
        optimizer = _optimizer(keras, optimizers, name, arguments)
        compile_model(keras, model, keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
        data = batches(sum(steps))
        for x, y in data[: steps[0]]:
            model.train_on_batch(x, y)
        if rate is not None:
            _set(model.optimizer, rate)
        if freeze_late:
            model.layers[-1].trainable = False
        files = {kind: save(model, folder / f"{network}.{ending}") for kind, ending in ENDINGS.items()}
        names = [getattr(v, "path", v.name) for v in _variables(model.optimizer)]
        losses = [float(model.train_on_batch(x, y)) for x, y in data[steps[0] :]]
        last = save(model, folder / f"{network}_last.h5")
        return Run(files, losses, keras_checkpoints.weights_of(model), last, names)


def went_on(file: Path, family: str, steps: tuple[int, int], arguments: dict[str, Any] | None = None) -> Run:
    """Loads what PyTorch wrote, in its state or as it is compiled, and trains on the second part of the batches.

    Args:
        file: What PyTorch wrote.
        family: ``keras`` or ``tf_keras``.
        steps: Before and after the file.
        arguments: Of a weights file: of the model (``network``) and of its optimizer (``name`` and others).
    """
    keras = keras_checkpoints._family(family)
    with _float64(keras):
        keras.backend.clear_session()
        if arguments is None:
            model = keras.models.load_model(file)
            model.compile(optimizer=model.optimizer, loss="categorical_crossentropy", run_eagerly=True)
        else:
            arguments = dict(arguments)
            model = NETWORKS[arguments.pop("network")](keras)
            compile_model(keras, model, _optimizer(keras, keras.optimizers, arguments.pop("name"), arguments))
            model.optimizer.build(model.trainable_variables)
            model.load_weights(file)
        losses = [float(model.train_on_batch(x, y)) for x, y in batches(sum(steps))[steps[0] :]]
        last = save(model, file.with_name(f"last_of_{file.name.partition('.')[0]}.h5"))
        return Run({}, losses, keras_checkpoints.weights_of(model), last)


def compile_model(keras: Any, model: Any, optimizer: Any) -> None:
    """Compiles for one-hot classes, one step after the other without a graph."""
    model.compile(optimizer, loss="categorical_crossentropy", run_eagerly=True)


def save(model: Any, file: Path) -> Path:
    """Saves a whole model, or weights with the optimizer's."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        compiled = dict(model._compile_config.config) if hasattr(model, "_compile_config") else None
        (model.save_weights if file.name.endswith("weights.h5") else model.save)(file)
        if compiled is not None:  # Keras 3 forgets the optimizer when it writes an .h5
            model._compile_config.config = compiled
    return file


@contextlib.contextmanager
def _float64(keras: Any) -> Any:
    try:
        with floatx(keras, "float64"):
            yield
    finally:
        keras.backend.clear_session()


def _optimizer(keras: Any, module: Any, name: str, arguments: dict[str, Any]) -> Any:
    rate = arguments.get("learning_rate")
    if isinstance(rate, tuple):
        arguments = {**arguments, "learning_rate": getattr(keras.optimizers.schedules, rate[0])(**rate[1])}
    return getattr(module, name)(**arguments)


def _variables(optimizer: Any) -> list[Any]:
    return list(optimizer.weights if hasattr(optimizer, "get_slot") else optimizer.variables)


def _set(optimizer: Any, rate: float) -> None:
    if hasattr(optimizer.learning_rate, "assign"):
        optimizer.learning_rate.assign(rate)
    else:
        optimizer.learning_rate = rate


def _native(keras: Any, frozen: tuple[str, ...] = ()) -> Any:
    """A ResNet of basic blocks in keras.applications' names."""
    from weight_transfer.resnet.dialects import design
    from weight_transfer.resnet.keras_config import keras_config, legacy_keras_config

    render = keras_config if keras.__name__ == "keras" else legacy_keras_config
    config = render(design(**ARCHITECTURE), frozen, "float64")
    return keras.models.model_from_json(json.dumps(config))


ARCHITECTURE: dict[str, Any] = {
    "dialect": "keras-applications",
    "block": "basic",
    "block_counts": (1, 1),
    "filters": ((4, 4), (6, 6)),
    "stem_filters": 4,
    "in_shape": SHAPE,
    "head": Head(classes=CLASSES),
}


def _head(keras: Any, x: Any, name: str = "predictions") -> Any:
    return _dense(keras, keras.layers.GlobalAveragePooling2D(name="avg_pool")(x), name)


def _dense(keras: Any, x: Any, name: str) -> Any:
    return keras.layers.Dense(CLASSES, activation="softmax", name=name)(x)


def _frozen(keras: Any) -> Any:
    return _native(keras, FROZEN)


FROZEN = ("conv1_conv", "conv1_bn", "conv2_block1_0_conv", "conv2_block1_0_bn", "conv2_block1_1_conv")
FROZEN += ("conv2_block1_1_bn", "conv2_block1_2_conv", "conv2_block1_2_bn")


def _nested(keras: Any) -> Any:
    """A backbone within a model, its first stage frozen, in no known dialect: two branches with all shapes alike."""
    layers = keras.layers
    image = layers.Input(SHAPE)
    x = layers.Conv2D(4, 3, strides=4, name="zeta")(image)
    x = layers.ReLU()(layers.BatchNormalization(name="eta")(x))
    x = _two_branches(keras, x, "alpha", "omega")
    backbone = keras.Model(image, _two_branches(keras, x, "psi", "beta"), name="backbone")
    for layer in backbone.layers:
        layer.trainable = layer.name not in ("zeta", "eta", "alpha_conv", "alpha_norm")
    image = layers.Input(SHAPE)
    x = layers.Conv2D(3, 1, name="adapter")(image)
    return keras.Model(image, _head(keras, backbone(x), "logits"), name="outer")


def _headed(keras: Any) -> Any:
    """The same ResNet as a frozen backbone, under a head of one's own."""
    layers = keras.layers
    whole = _native(keras)
    backbone = keras.Model(whole.input, whole.layers[-3].output, name="backbone")
    backbone.trainable = False
    image = layers.Input(SHAPE)
    x = layers.GlobalMaxPooling2D(name="largest")(backbone(image))
    return keras.Model(image, _dense(keras, layers.Dense(6, activation="tanh", name="hidden")(x), "logits"))


def _graph(keras: Any) -> Any:
    """An imported graph: layers of several kinds, alike in shape, listed in another order than they were made."""
    layers = keras.layers
    image = layers.Input(SHAPE)
    x = layers.Conv2D(4, 3, strides=4, name="last")(image)
    x = layers.PReLU(shared_axes=[1, 2], name="slope")(x)
    x = _two_branches(keras, x, "b", "a")
    x = layers.SeparableConv2D(4, 3, padding="same", name="separable")(x)
    x = layers.LayerNormalization(name="layer_norm")(x)
    return keras.Model(image, _head(keras, _two_branches(keras, x, "c", "d"), "first"))


def _two_branches(keras: Any, x: Any, one: str, other: str) -> Any:
    layers = keras.layers

    def branch(name: str) -> Any:
        y = layers.Conv2D(4, 3, padding="same", name=f"{name}_conv")(x)
        return layers.BatchNormalization(name=f"{name}_norm")(y)

    first, second = branch(one), branch(other)
    return layers.ReLU()(layers.Add()([second, first, x]))


NETWORKS = {"native": _native, "frozen": _frozen, "nested": _nested, "graph": _graph, "headed": _headed}


def compiled_by_name(
    folder: Path, family: str, policy: str, name: str, container: str
) -> tuple[Path, list[float], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Trains under a dtype policy an ordinary ``compile("adam")``, saves, loads again, and goes on for three steps.

    Args:
        folder: For the file.
        family: ``keras`` or ``tf_keras``.
        policy: ``float32`` or ``mixed_float16``, under which `compile` wraps the optimizer.
        name: What ``compile`` is given.
        container: ``keras`` or ``h5``.

    Returns:
        The file; the losses of the steps after loading it; the weights that it holds and those after the last step, by
        layer path and role.
    """
    keras = keras_checkpoints._family(family)
    choose = keras.mixed_precision.set_global_policy if family == "tf_keras" else keras.config.set_dtype_policy
    keras.backend.clear_session()
    choose(policy)
    try:
        model = NETWORKS["graph"](keras)
        keras_checkpoints.randomize(model, seed=1)
        model.compile(name, loss="categorical_crossentropy")
        data = [(x.astype("float32"), y.astype("float32")) for x, y in batches(5)]
        for x, y in data[:2]:
            model.train_on_batch(x, y)
        file = save(model, folder / f"{family}-{policy}-{name}.{container}")
        model = keras.models.load_model(file)
        before = keras_checkpoints.weights_of(model)
        losses = []
        for x, y in data[2:]:
            model.reset_metrics()
            losses.append(float(np.ravel(model.train_on_batch(x, y))[0]))
        return file, losses, before, keras_checkpoints.weights_of(model)
    finally:
        choose("float32")
