"""Models in the real Keras 3 and tf_keras, as their configs and as Keras's own objects are connected.

These functions run on Keras's side, so call them through the `keras_side` fixture:

    model = keras_side(described, tmp_path, "tf_keras", "siamese")
    model.configs["json"], model.calls, model.outputs
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FAMILIES = ("keras", "tf_keras")


@dataclass(frozen=True)
class Described:
    """Attributes:
    configs: By where Keras wrote it: ``json`` (`to_json`) and ``h5`` (the legacy file's attribute).
    calls: Path, class and inputs of every call; a value is named by its whole history (`value_name`).
    inputs: Names of the inputs, in the model's order.
    outputs: Values of the outputs, in the model's order.
    """

    configs: dict[str, str]
    calls: set[tuple[str, str, tuple[str, ...]]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def saved_with_added_losses(folder: Path) -> list[Path]:
    """Saves models of tf_keras to which a loss was added, by `add_loss`: plain and with one inside another."""
    import tensorflow as tf
    import tf_keras

    layers = tf_keras.layers
    paths = []
    for nested in (False, True):
        image = layers.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, name="conv")(image)
        model = tf_keras.Model(image, layers.Dense(2, name="fc")(layers.GlobalAveragePooling2D()(x)))
        model.add_loss(3.0 * tf.reduce_mean(x * x))
        if nested:
            model = tf_keras.Model(outer := layers.Input((8, 8, 3)), layers.Dense(2, name="last")(model(outer)))
        for ending in ("h5", "keras"):
            paths.append(folder / f"added_{nested}.{ending}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.save(paths[-1])
    return paths


def value_name(path: str, inputs: Iterable[str]) -> str:
    """A name that two values share only if the same layers made them of the same values."""
    return f"{path}@{hashlib.sha256(repr((path, tuple(inputs))).encode()).hexdigest()[:12]}"


def described(folder: Path, family: str, model_name: str) -> Described:
    """Builds a model, and follows Keras's tensors back from its outputs."""
    import h5py

    keras = __import__(family)
    keras.backend.clear_session()
    model = MODELS[model_name](keras)
    configs = {"json": model.to_json()}
    path = folder / f"{family}_{model_name}.h5"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        model.save(path)
    with h5py.File(path) as file:
        configs["h5"] = file.attrs["model_config"]
    tracer = _Tracer()
    outputs = tuple(tracer.value(tensor, "", {}) for tensor in model.outputs)
    inputs = tuple(_history(tensor)[0].name for tensor in model.inputs)
    for tensor in model.inputs:
        tracer.value(tensor, "", {})
    return Described(configs, tracer.calls, inputs, outputs)


class _Tracer:
    """Follows Keras tensors, into nested models and out again."""

    def __init__(self) -> None:
        self.calls: set[tuple[str, str, tuple[str, ...]]] = set()

    def value(self, tensor: Any, prefix: str, fed: Mapping[int, str]) -> str:
        layer, node_index, tensor_index = _history(tensor)
        if id(layer) in fed:
            return fed[id(layer)]
        path, node = f"{prefix}{layer.name}", layer._inbound_nodes[node_index]
        inputs = tuple(self.value(source, prefix, fed) for source in _inputs(node))
        if hasattr(layer, "layers"):
            inner = dict(zip((id(_history(source)[0]) for source in layer.inputs), inputs, strict=True))
            return [self.value(output, f"{path}/", inner) for output in layer.outputs][tensor_index]
        self.calls.add((path, type(layer).__name__, inputs))
        return value_name(path, inputs)


def _history(tensor: Any) -> tuple[Any, int, int]:
    return tuple(tensor._keras_history)


def _inputs(node: Any) -> Sequence[Any]:
    return node.input_tensors if hasattr(node, "arguments") else node.keras_inputs


def _residual(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    for _ in range(2):
        y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
        x = layers.ReLU()(layers.Add()([y, x]))
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def _shared(keras: Any) -> Any:
    """A layer called three times, its values read out of order."""
    layers = keras.layers
    x = layers.Input((4,))
    dense = layers.Dense(4)
    once = dense(x)
    twice = dense(once)
    thrice = dense(layers.ReLU()(twice))
    return keras.Model(x, layers.Concatenate()([thrice, once, twice]))


def _called_outside(keras: Any) -> Any:
    """Calls of the layers that belong to no part of this model come first in Keras's count."""
    layers = keras.layers
    x = layers.Input((4,))
    dense, inner = layers.Dense(4), _inner(keras)
    for _ in range(2):
        inner(dense(layers.Input((4,))))
    return keras.Model(x, inner(dense(inner(dense(x)))))


def _inner(keras: Any, name: str = "inner") -> Any:
    x = keras.layers.Input((4,))
    return keras.Model(x, keras.layers.Dense(4, name="d")(keras.layers.ReLU(name="r")(x)), name=name)


def _nested_twice(keras: Any) -> Any:
    """Three levels; each of the upper two calls the one below twice."""
    x = keras.layers.Input((4,))
    inner = _inner(keras)
    middle = keras.Model(x, keras.layers.Add()([inner(x), inner(inner(x))]), name="middle")
    x = keras.layers.Input((4,))
    return keras.Model(x, middle(middle(x)))


def _siamese(keras: Any) -> Any:
    left, right = keras.layers.Input((4,), name="left"), keras.layers.Input((4,), name="right")
    inner = _inner(keras)
    return keras.Model([right, left], keras.layers.Subtract()([inner(left), inner(right)]))


def _dicts(keras: Any) -> Any:
    """Keys out of the alphabet's order, in and out."""
    a, b = keras.layers.Input((4,), name="a"), keras.layers.Input((4,), name="b")
    dense = keras.layers.Dense(3)
    return keras.Model({"b": b, "a": a}, {"second": dense(a), "first": dense(b)})


def _dict_inside(keras: Any) -> Any:
    """A nested model called on a dict, by other names than its layers have."""
    a, b = keras.layers.Input((4,), name="a"), keras.layers.Input((4,), name="b")
    dense = keras.layers.Dense(4)
    inner = keras.Model({"x": b, "y": a}, keras.layers.Subtract()([a, dense(b)]), name="inner")
    c, d = keras.layers.Input((4,), name="c"), keras.layers.Input((4,), name="d")
    return keras.Model([c, d], inner({"y": c, "x": d}))


def _several_outputs(keras: Any) -> Any:
    x = keras.layers.Input((4,))
    y = keras.layers.Dense(3)(x)
    return keras.Model(x, [y, keras.layers.ReLU()(y), keras.layers.Dense(2)(y)])


def _inner_outputs(keras: Any) -> Any:
    """A nested model with two outputs and an input handed through."""
    layers = keras.layers
    x = layers.Input((4,))
    inner = keras.Model(x, [layers.Dense(4, name="p")(x), layers.Dense(4, name="q")(x), x], name="inner")
    y = layers.Input((4,))
    p, q, same = inner(y)
    q_2, _, _ = inner(layers.Subtract()([q, p]))
    return keras.Model(y, [q_2, layers.Add()([same, p])])


def _sequential(keras: Any) -> Any:
    return keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.ReLU()])


def _sequential_built(keras: Any) -> Any:
    model = keras.Sequential([keras.layers.Dense(3), keras.layers.ReLU()])
    model.build((None, 4))
    return model


def _sequential_of_models(keras: Any) -> Any:
    inner = keras.Sequential([keras.layers.Dense(4, name="e"), _inner(keras)], name="chain")
    model = keras.Sequential([_inner(keras), inner, keras.layers.Dense(1)])
    model.build((None, 4))
    return model


def _nested_sequential(keras: Any) -> Any:
    """Only the second call is an output, so that lists and Keras 3's dicts count differently."""
    x = keras.layers.Input((4,))
    chain = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(4)], name="chain")
    return keras.Model(x, chain(keras.layers.ReLU()(chain(x))))


def _nested_sequential_unbuilt(keras: Any) -> Any:
    x = keras.layers.Input((4,))
    chain = keras.Sequential([keras.layers.Dense(4), keras.layers.ReLU()], name="chain")
    return keras.Model(x, keras.layers.Add()([chain(x), chain(chain(x))]))


def _preprocessing(name: str) -> Callable[[Any], Any]:
    def build(keras: Any) -> Any:
        image = keras.layers.Input((8, 8, 3))
        x = getattr(keras.applications, name).preprocess_input(image)
        return keras.Model(image, keras.layers.Conv2D(2, 1)(x))

    return build


def _operations(keras: Any) -> Any:
    """Constants before and behind the tensors, two tensors, slices, a list."""
    import tensorflow as tf

    concatenate = tf.concat if keras.__name__ == "tf_keras" else keras.ops.concatenate
    x, y = keras.layers.Input((4,)), keras.layers.Input((4,))
    z = (x * y)[:, 1:3]
    return keras.Model([x, y], concatenate([z, (1.0 - x / y) * 2.0, y], axis=-1))


def _training(keras: Any) -> Any:
    x = keras.layers.Input((4,))
    return keras.Model(x, _inner(keras)(_inner(keras, "frozen")(x, training=False), training=True))


MODELS: dict[str, Callable[[Any], Any]] = {
    "residual": _residual,
    "shared": _shared,
    "called_outside": _called_outside,
    "nested_twice": _nested_twice,
    "siamese": _siamese,
    "dicts": _dicts,
    "dict_inside": _dict_inside,
    "several_outputs": _several_outputs,
    "inner_outputs": _inner_outputs,
    "sequential": _sequential,
    "sequential_built": _sequential_built,
    "sequential_of_models": _sequential_of_models,
    "nested_sequential": _nested_sequential,
    "nested_sequential_unbuilt": _nested_sequential_unbuilt,
    "caffe": _preprocessing("resnet50"),
    "tf": _preprocessing("mobilenet_v2"),
    "torch": _preprocessing("densenet"),
    "operations": _operations,
    "training": _training,
}


def orders_of_calls(seeds: Iterable[int]) -> list[tuple[str, list[str]]]:
    """Configs of all models and of random ones, and by path the layers that Keras calls, in its order."""
    import tensorflow as tf

    found = []
    for family in FAMILIES:
        keras = __import__(family)
        for build in (*MODELS.values(), *(functools.partial(_random_shared, seed=seed) for seed in seeds)):
            keras.backend.clear_session()
            model = build(keras)
            calls: list[str] = []
            _note_calls(model, "", calls)
            fed = [np.ones([2, *tensor.shape[1:]], "float32") for tensor in model.inputs]
            model(fed[0] if len(fed) == 1 else tf.nest.pack_sequence_as(model.input, fed))
            found.append((model.to_json(), calls))
    return found


def _note_calls(model: Any, prefix: str, calls: list[str]) -> None:
    """Has each layer, and each operation that is none, write its path down when it is called."""
    for layer in getattr(model, "operations", None) or model.layers:
        if hasattr(layer, "layers"):
            _note_calls(layer, f"{prefix}{layer.name}/", calls)
        else:
            layer.call = _noting(layer.call, f"{prefix}{layer.name}", calls)


def _noting(call: Callable[..., Any], path: str, calls: list[str]) -> Callable[..., Any]:
    @functools.wraps(call)
    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(path)
        return call(*args, **kwargs)

    return noted


def _random_shared(keras: Any, seed: int, depth: int = 0) -> Any:
    """Few layers and nested models, called often, on whatever is there; several inputs and outputs."""
    random = np.random.default_rng(seed)
    inputs = [keras.layers.Input((4,)) for _ in range(random.integers(1, 3))]
    shared = [keras.layers.Dense(4, name=f"d{number}") for number in range(3)]
    if depth < 2:
        inner = _random_shared(keras, seed + 1000, depth + 1)
        shared += [keras.Model(inner.inputs, inner.outputs, name=f"n{depth}")]
    values = list(inputs)
    for _ in range(random.integers(4, 10)):
        layer = shared[random.integers(len(shared))]
        fed = [values[random.integers(len(values))] for _ in getattr(layer, "inputs", [0]) or [0]]
        made = layer(fed if len(fed) > 1 else fed[0])
        values += made if isinstance(made, list) else [made]
        if random.random() < 0.4:
            values.append(keras.layers.Add()([values[random.integers(len(values))], values[-1]]))
    ends = values[len(inputs) :]
    return keras.Model(inputs, [ends[n] for n in random.permutation(len(ends))[: random.integers(1, 4)]])


def all_configs(folder: Path) -> list[dict[str, Any]]:
    """Every config of every model."""
    found = [described(folder, family, name).configs for family in FAMILIES for name in MODELS]
    return [json.loads(text) for configs in found for text in configs.values()]
