"""ResNets with the tutorial's names, each with one thing more that acts: functions to call through ``keras_side``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NOISE = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout")
SIZE, CLASSES = 40, 3

# What each network has beside the plain one: arguments of `_network`.
BETWEEN: dict[str, tuple[str, dict[str, Any]]] = {
    "dropout between stages": ("Dropout", {"rate": 0.5}),
    "noise between stages": ("GaussianNoise", {"stddev": 0.5}),
    "gaussian dropout between stages": ("GaussianDropout", {"rate": 0.3}),
    "spatial dropout between stages": ("SpatialDropout2D", {"rate": 0.4}),
    "penalty between stages": ("ActivityRegularization", {"l1": 0.1, "l2": 0.02}),
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    **{name: {"between": layer} for name, layer in BETWEEN.items()},
    "noise on a shortcut": {"on_shortcut": ("AlphaDropout", {"rate": 0.1})},
    "two rates in the head": {"rates": (0.9, 0.25)},
    "one dropout in the head": {"rates": (0.5, None)},
    "dropout before the pooling": {"before_pool": ("SpatialDropout2D", {"rate": 0.2})},
    "momenta": {"momentum": 0.5},
    "relu6 called relu": {"activation": "relu6"},
    "ends in relu": {"end": ("relu",)},
    "ends in tanh": {"end": ("tanh",)},
    "ends in log_softmax": {"end": ("log_softmax",)},
    "ends in two softmaxes": {"end": ("softmax", "Softmax")},
    "ends in a softmax over the batch": {"end": ("linear", "over the batch")},
    "ends in a softmax behind a dropout": {"end": ("linear", "Dropout", "Softmax")},
    "frozen norms": {"frozen": ("bn",)},
    "frozen stage": {"frozen": ("res2", "bn2")},
    "frozen head": {"frozen": ("fc",)},
    "frozen in a graph": {"frozen": ("conv", "bn_conv1", "bn2"), "between": ("GaussianNoise", {"stddev": 0.5})},
}


def saved(library: str, case: str, path: Path) -> dict[str, Any]:
    """Saves one of `CASES`; returns its inputs, outputs and what acts in it, as the loaded file has it."""
    keras = importlib.import_module(library)
    keras.backend.clear_session()
    _filled(_network(keras, **CASES[case])).save(path)
    model = keras.models.load_model(path, compile=False, custom_objects={"relu6": keras.activations.get("relu6")})
    x = np.random.default_rng(1).normal(size=(4, SIZE, SIZE, 3)).astype(np.float32)
    return {
        "x": x,
        "y": np.asarray(model.predict(x, verbose=0)),
        "acting": acting(model),
        "penalty": _penalty(model, x),
    }


def acting(model: Any) -> dict[str, Any]:
    """What acts in training, layer by layer: momenta, noises by what they read, and what learns."""
    sources: dict[str, frozenset[str]] = {}
    noises = []
    for layer in model.layers:
        fed = frozenset().union(*(sources[before] for before in _inbound(layer)))
        sources[layer.name] = frozenset({layer.name}) if layer.weights else fed
        name = type(layer).__name__
        if name in NOISE:
            noises.append((name, sorted(fed), float(getattr(layer, "rate", getattr(layer, "stddev", 0)))))
    return {
        "noises": sorted(noises),
        "norms": {
            layer.name: (float(layer.momentum), bool(layer.trainable))
            for layer in model.layers
            if type(layer).__name__ == "BatchNormalization"
        },
        "learns": sorted(layer.name for layer in model.layers if layer.trainable_variables),
    }


def trained(library: str, case: str, path: Path, steps: int = 3) -> dict[str, Any]:
    """Saves a network without dropout, and trains what Keras loads from the file.

    Returns:
        ``x``, ``labels``, ``losses`` and, by ``layer/role``, the ``weights`` after the last step.
    """
    keras = importlib.import_module(library)
    keras.backend.clear_session()
    _filled(TRAINED[case](keras)).save(path)
    model = keras.models.load_model(path, compile=False)
    random = np.random.default_rng(2)
    x = random.normal(size=(6, SIZE, SIZE, 3)).astype(np.float32)
    labels = np.eye(CLASSES, dtype=np.float32)[np.arange(6) % CLASSES]
    model.compile(keras.optimizers.SGD(0.01, momentum=0.5), keras.losses.CategoricalCrossentropy())
    losses = [
        float(
            np.ravel(
                model.train_on_batch(x, labels, reset_metrics=True)
                if library == "tf_keras"
                else _step(model, x, labels)
            )[0]
        )
        for _ in range(steps)
    ]
    return {"x": x, "labels": labels, "losses": losses, "weights": _weights(model)}


def _step(model: Any, x: Any, labels: Any) -> Any:
    model.reset_metrics()
    return model.train_on_batch(x, labels)


def configs(path: Path) -> list[dict[str, Any]]:
    """Class and config of every layer of a file, in Keras's order, as Keras that loaded it says."""
    import keras

    keras.backend.clear_session()
    model = keras.models.load_model(path, compile=False)
    return [{"class": type(layer).__name__, **layer.get_config()} for layer in model.layers]


def predicted(library: str, path: Path, x: np.ndarray) -> np.ndarray:
    """What the model of a file predicts, as Keras loads it."""
    keras = importlib.import_module(library)
    keras.backend.clear_session()
    return np.asarray(keras.models.load_model(path, compile=False).predict(x, verbose=0))


def regularized(path: Path, frozen: tuple[str, ...]) -> Path:
    """Saves the plain network with regularizers, one momentum of its own for all norms, and frozen layers."""
    import keras

    keras.backend.clear_session()
    model = _network(keras, momentum=0.9, stem_momentum=0.9, regularizer=keras.regularizers.L1L2(0.01, 0.02))
    _freeze(model, frozen)
    _filled(model).save(path)
    return path


def nested(library: str, kind: str, which: str, path: Path) -> list[str]:
    """Saves a model in a model, some of it frozen; returns what the loaded model trains, as ``layer/variable``.

    Args:
        library: Which Keras.
        kind: Of the inner model; ``chain`` where the outer one is a Sequential too.
        which: A key of `NESTED`.
        path: Of the file.
    """
    keras = importlib.import_module(library)
    keras.backend.clear_session()
    layers = keras.layers
    inside = [layers.Dense(4, name="d"), layers.BatchNormalization(name="n")]
    if kind == "chain":
        inner = keras.Sequential([layers.InputLayer((5,)), *inside], name="inner")
        model = keras.Sequential([layers.InputLayer((5,)), inner, layers.Dense(2, name="out")])
        return _learning(keras, model, inner, which, path)
    if kind == "Sequential":
        inner = keras.Sequential([layers.InputLayer((5,)), *inside], name="inner")
    else:
        x = layers.Input((5,))
        inner = keras.Model(x, inside[1](inside[0](x)), name="inner")
    x = layers.Input((5,))
    return _learning(keras, keras.Model(x, layers.Dense(2, name="out")(inner(x))), inner, which, path)


def _learning(keras: Any, model: Any, inner: Any, which: str, path: Path) -> list[str]:
    NESTED[which](model, inner)
    model.save(path)
    loaded = keras.models.load_model(path, compile=False)
    names = [getattr(variable, "path", variable.name).partition(":")[0] for variable in loaded.trainable_variables]
    return sorted("/".join(name.split("/")[-2:]) for name in names)


def _inner_but_one(model: Any, inner: Any) -> None:
    inner.trainable = False
    inner.get_layer("d").trainable = True


def _all_but_one(model: Any, inner: Any) -> None:
    model.trainable = False
    model.get_layer("out").trainable = True


NESTED: dict[str, Callable[[Any, Any], None]] = {
    "nothing frozen": lambda model, inner: None,
    "inner": lambda model, inner: setattr(inner, "trainable", False),
    "inner but one": _inner_but_one,
    "one of it": lambda model, inner: setattr(inner.get_layer("d"), "trainable", False),
    "its norm": lambda model, inner: setattr(inner.get_layer("n"), "trainable", False),
    "all": lambda model, inner: setattr(model, "trainable", False),
    "all but one": _all_but_one,
}


def norm_in_a_frozen_model(path: Path) -> Path:
    """Saves a model that is frozen but for a batch norm: Keras 3 moves its statistics and trains nothing."""
    import keras

    keras.backend.clear_session()
    x = keras.Input((5,))
    model = keras.Model(x, keras.layers.Dense(2, name="out")(keras.layers.BatchNormalization(name="n")(x)))
    model.trainable = False
    model.get_layer("n").trainable = True
    model.save(path)
    return path


def trainable_as_trained(path: Path, recipe: dict[str, Any], frozen: tuple[str, ...]) -> list[str]:
    """Layers that learn in the Keras side's training of a file, with these parts frozen."""
    from resnet_keras.training.network import build, set_trainable
    from weight_transfer.training import Recipe
    from weight_transfer.training.starting_point import starting_point

    made = Recipe.from_dict({**recipe, "checkpoint": str(path)})
    start = starting_point(made, CLASSES)
    model = build(start, made)
    set_trainable(model, start.network, frozen, start.description.frozen)
    return sorted(layer.name for layer in model.layers if layer.trainable_variables)


def _network(
    keras: Any,
    between: tuple[str, dict[str, Any]] | None = None,
    on_shortcut: tuple[str, dict[str, Any]] | None = None,
    before_pool: tuple[str, dict[str, Any]] | None = None,
    rates: tuple[float | None, float | None] = (0.5, 0.5),
    momentum: float = 0.99,
    stem_momentum: float = 0.99,
    activation: str = "relu",
    end: tuple[str, ...] = ("softmax",),
    frozen: tuple[str, ...] = (),
    regularizer: Any = None,
) -> Any:
    """A tutorial's ResNet of two stages with a hidden layer, and what is asked for beside it."""
    layers = keras.layers
    more = {} if regularizer is None else {"kernel_regularizer": regularizer, "activity_regularizer": regularizer}

    def act(x: Any) -> Any:
        if activation == "relu":
            return layers.Activation("relu")(x)
        return layers.Activation(layers.ReLU(6.0, name="relu"))(x)

    def conv_norm(x: Any, filters: int, kernel: int, strides: int, tail: str) -> Any:
        padding = "same" if kernel > 1 else "valid"
        x = layers.Conv2D(filters, kernel, strides=strides, padding=padding, name=f"res{tail}", **more)(x)
        return layers.BatchNormalization(name=f"bn{tail}", momentum=momentum)(x)

    def block(x: Any, filters: tuple[int, int, int], label: str, strides: int, project: bool, extra: Any) -> Any:
        y = act(conv_norm(x, filters[0], 1, strides, f"{label}_branch2a"))
        y = act(conv_norm(y, filters[1], 3, 1, f"{label}_branch2b"))
        y = conv_norm(y, filters[2], 1, 1, f"{label}_branch2c")
        x = conv_norm(x, filters[2], 1, strides, f"{label}_branch1") if project else x
        return act(layers.Add()([y, added(x, extra)]))

    def added(x: Any, layer: tuple[str, dict[str, Any]] | None) -> Any:
        return x if layer is None else getattr(layers, layer[0])(**layer[1])(x)

    image = layers.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 7, strides=2, name="conv", **more)(layers.ZeroPadding2D(3)(image))
    x = act(layers.BatchNormalization(name="bn_conv1", momentum=stem_momentum)(x))
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    x = block(x, (4, 4, 8), "2a", 1, True, None)
    x = block(x, (4, 4, 8), "2b", 1, False, on_shortcut)
    x = block(added(x, between), (6, 6, 12), "3a", 2, True, None)
    x = layers.GlobalAveragePooling2D()(added(x, before_pool))
    for rate, units, name, function in ((rates[0], 7, "fc_01", "relu"), (rates[1], CLASSES, "fc_final", end[0])):
        x = x if rate is None else layers.Dropout(rate)(x)
        x = layers.Dense(units, activation=function, name=name, **more)(x)
    ends = {"Softmax": layers.Softmax, "Dropout": lambda: layers.Dropout(0.3)}
    for last in end[1:]:
        x = layers.Softmax(axis=0)(x) if last == "over the batch" else ends[last]()(x)
    model = keras.Model(image, x)
    _freeze(model, frozen)
    return model


def _freeze(model: Any, prefixes: tuple[str, ...]) -> None:
    for layer in model.layers:
        if prefixes and layer.name.startswith(prefixes):
            layer.trainable = False


def _nested_backbone(keras: Any) -> Any:
    """The backbone as a frozen model within the model, under a head of its own."""
    whole = _network(keras, rates=(None, None))
    last = next(layer for layer in whole.layers if type(layer).__name__ == "GlobalAveragePooling2D")
    backbone = keras.Model(whole.input, last.input, name="backbone")
    backbone.trainable = False
    image = keras.layers.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(backbone(image))
    x = keras.layers.BatchNormalization(name="own_norm")(x)
    return keras.Model(image, keras.layers.Dense(CLASSES, activation="softmax", name="own")(x))


def _frozen(*prefixes: str, **arguments: Any) -> Callable[[Any], Any]:
    return lambda keras: _network(keras, rates=(None, None), frozen=prefixes, **arguments)


def _leaky(keras: Any) -> Any:
    """A graph that is no ResNet, half of it frozen."""
    layers = keras.layers
    image = layers.Input((SIZE, SIZE, 3))
    x = image
    for name in "ab":
        x = layers.Conv2D(5, 3, strides=2, name=f"{name}_conv")(x)
        x = layers.LeakyReLU()(layers.BatchNormalization(name=f"{name}_norm")(x))
    x = layers.Dense(CLASSES, activation="softmax", name="dense")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    _freeze(model, ("a_",))
    return model


TRAINED: dict[str, Callable[[Any], Any]] = {
    "norms": _frozen("bn"),
    "first stage": _frozen("conv", "bn_conv1", "res2", "bn2"),
    "one convolution": _frozen("res2a_branch2b"),
    "head": _frozen("fc"),
    "nested": _nested_backbone,
    "graph": _leaky,
}


def _filled(model: Any) -> Any:
    """Draws all weights, statistics included."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        name = getattr(variable, "path", variable.name)
        shape = tuple(variable.shape)
        if "variance" in name or "gamma" in name:
            value = random.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = random.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
        else:
            value = random.normal(0, 0.3, shape)
        variable.assign(value)
    return model


def _inbound(layer: Any) -> list[str]:
    """The layers that a layer reads."""
    nodes = layer._inbound_nodes
    if not nodes:
        return []
    if hasattr(nodes[0], "parent_nodes") and not hasattr(nodes[0], "keras_inputs"):  # Keras 3
        return [node.operation.name for node in nodes[0].parent_nodes]
    before = nodes[0].inbound_layers
    return [one.name for one in (before if isinstance(before, list) else [before])]


def _penalty(model: Any, x: np.ndarray) -> float:
    model(x, training=False)
    return float(sum(float(np.asarray(loss)) for loss in model.losses))


def _weights(model: Any) -> dict[str, np.ndarray]:
    found = {}
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if hasattr(layer, "layers"):
            continue
        for variable in layer.weights:
            role = getattr(variable, "path", variable.name).partition(":")[0].rpartition("/")[2]
            found[f"{layer.name}/{role}"] = np.asarray(variable)
    return found
