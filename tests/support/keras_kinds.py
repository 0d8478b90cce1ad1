"""One small network of each kind that the port has, by real Keras: functions to call through ``keras_side``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras_zoo import _conv_norm_relu, _residual, seed_weights

BACKBONE: Mapping[str, Any] = {
    "in_shape": (33, 33, 3),
    "stem_filters": 4,
    "block_counts": (2, 1),
    "filters": ((4, 4, 8), (6, 6, 12)),
    "dialect": "keras-applications",
}


class Owned(NamedTuple):
    """A file of real Keras, an input (several: a list) and what its model predicts (several: a list or a dict)."""

    file: Path
    x: Any
    y: Any


def _native(keras: Any) -> Any:
    from resnet_keras import create_resnet

    return create_resnet(**BACKBONE, n_classes=5)


def _own_head(keras: Any) -> Any:
    from resnet_keras import create_resnet

    layers = keras.layers
    backbone = create_resnet(**BACKBONE, n_classes=None)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(backbone.output))
    x = layers.Dense(6, activation="relu", name="hidden")(x)
    return keras.Model(backbone.input, layers.Dense(3, activation="softmax", name="mine")(x))


def _sequential(keras: Any) -> Any:
    """As MobileNet: depthwise convolutions, a classifier of kernel size 1, a Reshape behind it."""
    layers = keras.layers
    parts = [layers.Input((33, 31, 3)), layers.Rescaling(1 / 127.5, offset=-1.0)]
    for filters, strides in ((8, 1), (12, 2), (16, 1)):
        parts += [layers.ZeroPadding2D(1), layers.DepthwiseConv2D(3, strides, use_bias=False)]
        parts += [layers.BatchNormalization(), layers.ReLU(max_value=6.0)]
        parts += [layers.Conv2D(filters, 1, use_bias=False), layers.BatchNormalization(), layers.ReLU(max_value=6.0)]
    parts += [layers.GlobalAveragePooling2D(keepdims=True), layers.Dropout(0.2), layers.Conv2D(5, 1, name="preds")]
    return keras.Sequential([*parts, layers.Reshape((5,)), layers.Activation("softmax")])


def _branches(keras: Any) -> Any:
    """Branches that meet, and layers that are called as a module's own methods are."""
    layers = keras.layers
    image = layers.Input((24, 20, 3))
    x = _residual(layers, _conv_norm_relu(layers, image, 6, 2), 8, 2)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="features")(x)
    x = layers.Concatenate(name="freeze")([x, layers.Conv2D(4, 1, name="description")(y)])
    x = layers.Flatten()(layers.AveragePooling2D((6, 5))(x))
    return keras.Model(image, layers.Dense(4, activation="softmax", name="predict")(x))


def _dict_outputs(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((16, 17, 3))
    x = _residual(layers, _conv_norm_relu(layers, image, 6), 8, 2)
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    label = layers.Dense(4, activation="softmax", name="label")(pooled)
    score = layers.Dense(1, activation="sigmoid", name="score")(pooled)
    return keras.Model(image, {"label": label, "a_score": score, "map": x})


def _nested(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((24, 24, 3))
    backbone = keras.Model(image, _residual(layers, _conv_norm_relu(layers, image, 6, 2), 8, 2), name="backbone")
    backbone.trainable = False
    outer = layers.Input((24, 24, 3))
    x = layers.GlobalMaxPooling2D()(backbone(outer))
    return keras.Model(outer, layers.Dense(1, activation="sigmoid", name="cat")(x))


def _sequence(keras: Any) -> Any:
    """Classes for each of 12 steps."""
    layers = keras.layers
    sequence = layers.Input((12, 3))
    x = layers.Conv1D(8, 3, padding="same", activation="relu", name="conv")(sequence)
    x = layers.BatchNormalization()(x)
    return keras.Model(sequence, layers.Dense(5, activation="softmax", name="steps")(x))


def _boxes(keras: Any) -> Any:
    """A Reshape to (boxes, 4), which is no feature map, and no classifier at the end."""
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.Dense(24, name="flat_boxes")(layers.Flatten()(_conv_norm_relu(layers, image, 6, 2)))
    return keras.Model(image, layers.Reshape((6, 4))(x))


def _two_inputs(keras: Any) -> Any:
    """An image, and numbers beside it."""
    layers = keras.layers
    image, numbers = layers.Input((16, 16, 3), name="image"), layers.Input((4,), name="numbers")
    x = layers.GlobalAveragePooling2D()(_residual(layers, _conv_norm_relu(layers, image, 6, 2), 8))
    x = layers.Concatenate()([x, layers.Dense(5, activation="relu")(numbers)])
    return keras.Model([image, numbers], layers.Dense(3, activation="softmax", name="both")(x))


def _siamese(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(_conv_norm_relu(layers, image, 6, 2))
    shared = keras.Model(image, layers.Dense(4, name="embedding")(x), name="shared")
    left, right = (layers.Input((16, 16, 3), name=name) for name in ("left", "right"))
    return keras.Model([left, right], layers.Subtract()([shared(left), shared(right)]))


KINDS: Mapping[str, Callable[[Any], Any]] = {
    "native": _native,
    "own head": _own_head,
    "sequential": _sequential,
    "branches": _branches,
    "dict outputs": _dict_outputs,
    "nested, frozen": _nested,
    "sequence": _sequence,
    "boxes": _boxes,
    "two inputs": _two_inputs,
    "siamese": _siamese,
}


def write(folder: Path) -> dict[str, Owned]:
    """Saves one network of each kind, seeded, and predicts with it."""
    import keras

    from resnet_keras.random_weights import seed_weights as seed_resnet

    generator, made = np.random.default_rng(1), {}
    for kind, build in KINDS.items():
        keras.backend.clear_session()
        model = build(keras)
        model = seed_resnet(model) if kind in ("native", "own head") else seed_weights(keras, model, noise=1.0)
        x = [generator.normal(size=(3, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
        file = folder / f"{kind}.keras"
        model.save(file)
        given = x if len(x) > 1 else x[0]
        made[kind] = Owned(file, given, model.predict(given, verbose=0))
    return made


def layer_outputs(file: Path, names: Sequence[str], x: Any) -> list[np.ndarray]:
    """What layers of a saved model give; of a nested model's, ``model/layer``."""
    import keras

    model = keras.saving.load_model(file)
    found = []
    for name in names:
        *nested, last = name.split("/")
        if nested:
            inner = model.get_layer(nested[0])
            found.append(keras.Model(inner.inputs, inner.get_layer(last).output).predict(x, verbose=0))
        else:
            given = x[: len(model.inputs)] if isinstance(x, list) else x
            found.append(keras.Model(model.inputs, model.get_layer(last).output).predict(given, verbose=0))
    return found


def with_classes(file: Path, classifier: str, kernel: np.ndarray, bias: np.ndarray, x: Any) -> np.ndarray:
    """What the owner's model predicts with a classifier of other classes, everything else as it is in the file."""
    import keras

    model = keras.saving.load_model(file)
    config = json.loads(json.dumps(model.get_config()))
    current = model.get_layer(classifier).get_weights()[0].shape[-1]
    for layer in config["layers"]:
        settings = layer["config"]
        if settings.get("name") == classifier:
            settings["units" if "units" in settings else "filters"] = len(bias)
        if settings.get("target_shape") == [current]:
            settings["target_shape"] = [len(bias)]
        layer.pop("build_config", None)
    other = type(model).from_config(config)
    for old, new in zip(model.layers, other.layers, strict=True):
        if new.weights:
            new.set_weights([kernel, bias] if new.name == classifier else old.get_weights())
    return other.predict(x, verbose=0)


def predicted(file: Path, x: Any) -> Any:
    """What a saved model predicts."""
    import keras

    return keras.saving.load_model(file).predict(x, verbose=0)
