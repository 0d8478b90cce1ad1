"""Networks to carry to PyTorch and back, and what real Keras finds in the files: functions for ``keras_side``."""

from __future__ import annotations

import contextlib
import importlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras_random_models
import numpy as np
from keras_floatx import floatx

BATCH = 3


def drawn(library: str, seeds: Sequence[int], folder: Path) -> list[tuple[int, str]]:
    """Saves random networks as ``LIBRARY-SEED.keras`` and ``.h5``; returns each with its dtype."""
    keras = importlib.import_module(library)
    found = []
    for seed in seeds:
        keras.backend.clear_session()
        found.append((seed, keras_random_models.usable(keras, seed, folder)[1]))
    return found


def saved(library: str, name: str, folder: Path) -> list[Path]:
    """Saves one of `MODELS`, trained for two steps, in both containers."""
    keras = importlib.import_module(library)
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    with policy(keras, name):
        return _saved(keras, name, folder)


@contextlib.contextmanager
def policy(keras: Any, name: str) -> Iterator[None]:
    """Keras's global dtype policy for a while: as an owner of mixed precision sets it, and loads under it."""
    if name in HALF:
        keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy("float32")


def _saved(keras: Any, name: str, folder: Path) -> list[Path]:
    model, loss = (MODELS | OTHERWISE)[name](keras)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"] if isinstance(loss, str) else None)
    x, y = _data(model)
    model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    paths = [folder / f"{keras.__name__}-{name}{ending}" for ending in (".keras", ".h5")]
    for path in paths:
        model.save(path)
    return paths


def differences(library: str, pairs: Sequence[tuple[Path, Path]], dtype: str = "float32") -> list[str]:
    """What a file written back has otherwise than the file that it began as: config, arrays, predictions.

    Keras 3 loads no .h5 of its own with operations, and none with a norm over several axes: what such a file became
    is held against its .keras. Of what this Keras cannot load at all, the configs are compared.
    """
    keras = importlib.import_module(library)
    found = []
    with floatx(keras, dtype):
        for source, back in pairs:
            keras.backend.clear_session()
            if source.suffix == ".h5" and not _loads(keras, source):
                source = source.with_suffix(".keras")
            if not _loads(keras, source):  # tf_keras loads no constant before a tensor of float64
                found += [f"{back.name}: another config"] * (_config(source) != _config(back))
                continue
            before = keras.models.load_model(source, compile=False)
            after = keras.models.load_model(back, compile=False)
            found += [f"{back.name}: {line}" for line in _differences(before, after)]
    return found


def steps(library: str, name: str, paths: Sequence[Path], num: int = 2) -> list[dict[str, Any]]:
    """Trains files on as they were compiled; returns losses, arrays and the number of steps counted."""
    keras = importlib.import_module(library)
    found = []
    for path in paths:
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        with warnings.catch_warnings(record=True) as caught, policy(keras, name):
            warnings.simplefilter("always")
            model = keras.models.load_model(path)
        x, y = _data(model)
        losses = [float(model.fit(x, y, batch_size=len(_first(x)), verbose=0).history["loss"][0]) for _ in range(num)]
        found.append(
            {
                "losses": losses,
                "weights": model.get_weights(),
                "iterations": int(np.asarray(model.optimizer.iterations)),
                "warnings": [str(one.message) for one in caught if "Skipping variable loading" in str(one.message)],
            }
        )
    return found


def renewed(library: str, source: Path, back: Path, x: Any) -> tuple[np.ndarray, list[str]]:
    """What a file with another classifier predicts, and the layers whose config is another than its source's."""
    keras = importlib.import_module(library)
    keras.backend.clear_session()
    before, after = (keras.models.load_model(path, compile=False) for path in (source, back))
    theirs, ours = _layers(before.get_config(), ""), _layers(after.get_config(), "")
    return np.asarray(after.predict_on_batch(x)), [path for path in theirs if ours.get(path) != theirs[path]]


def evaluated(library: str, path: Path, x: Any, y: Any) -> float:
    """The loss that Keras computes of a file, as it was compiled."""
    keras = importlib.import_module(library)
    keras.backend.clear_session()
    found = keras.models.load_model(path).evaluate(x, y, batch_size=len(x), verbose=0)
    return float(found[0] if isinstance(found, (list, tuple)) else found)


def _loads(keras: Any, path: Path) -> bool:
    try:
        keras.models.load_model(path, compile=False)
    except (ValueError, TypeError):
        return False
    return True


def _config(path: Path) -> Any:
    """A file's own config, without what only some containers hold."""
    from weight_transfer.checkpoint import read_checkpoint

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            beside = ("module", "registered_name", "build_config", "compile_config")
            return {key: bare(item) for key, item in value.items() if key not in beside}
        return [bare(item) for item in value] if isinstance(value, list) else value

    with read_checkpoint(path) as checkpoint:
        return bare(checkpoint.config)


def unlike(before: Any, after: Any, but: str = "") -> list[str]:
    """What one model has otherwise than another: config, arrays, what learns; ``but`` arguments that end so."""
    lines = []
    configs = [_without(model.get_config(), but) for model in (before, after)]
    theirs, ours = (_layers(config, "") for config in configs)
    lines += [
        f"layer {path}: {theirs.get(path)} became {ours.get(path)}" for path in theirs if ours.get(path) != theirs[path]
    ]
    lines += [f"layer {path} is new" for path in ours.keys() - theirs.keys()]
    if len({json.dumps(config, default=str) for config in configs}) > 1:
        lines.append("the whole config is another")
    pairs = list(zip(before.get_weights(), after.get_weights(), strict=True))
    lines += [f"array {n} is another" for n, (one, other) in enumerate(pairs) if not _same(one, other)]
    lines += [f"trainable: {len(after.trainable_weights)}"] * (
        len(after.trainable_weights) != len(before.trainable_weights)
    )
    return lines


def _without(value: Any, ending: str) -> Any:
    if not ending:
        return value
    if isinstance(value, dict):
        return {key: _without(item, ending) for key, item in value.items() if not str(key).endswith(ending)}
    return [_without(item, ending) for item in value] if isinstance(value, list) else value


def _differences(before: Any, after: Any) -> list[str]:
    lines = unlike(before, after)
    inputs = [np.random.default_rng(5).normal(size=(BATCH, *_sizes(x))).astype(_dtype(x)) for x in _inputs(before)]
    x = inputs if len(inputs) > 1 else inputs[0]
    both = [keras_random_models.listed(model.predict_on_batch(x)) for model in (before, after)]
    lines += [
        f"output {n} is another"
        for n, pair in enumerate(zip(*both, strict=True))
        if not np.array_equal(*pair, equal_nan=True)
    ]
    return lines


def _inputs(model: Any) -> list[Any]:
    return list(model.inputs)


def _dtype(x: Any) -> str:
    return str(getattr(x.dtype, "name", x.dtype))


def _sizes(x: Any) -> tuple[int, ...]:
    return tuple(n or 16 for n in x.shape[1:])


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _layers(config: dict[str, Any], path: str) -> dict[str, Any]:
    """The config of each layer by path, those of nested models too."""
    found = {}
    for layer in config["layers"]:
        inside = layer["config"]
        here = f"{path}{inside.get('name', layer.get('name'))}"
        found |= _layers(inside, f"{here}/") if "layers" in inside else {here: inside}
    return found


def _first(x: Any) -> np.ndarray:
    return next(iter(x.values())) if isinstance(x, dict) else x[0] if isinstance(x, list) else x


def _data(model: Any) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    x = [generator.normal(size=(2 * BATCH, *_sizes(one))).astype("float32") for one in _inputs(model)]
    outputs = None if hasattr(model, "add") else model.output if isinstance(model.output, dict) else None

    def labels(shape: Any) -> np.ndarray:
        return np.eye(shape[-1], dtype="float32")[generator.integers(0, shape[-1], 2 * BATCH)]

    if outputs is not None:
        return x if len(x) > 1 else x[0], {key: labels(outputs[key].shape) for key in sorted(outputs)}
    y = [labels(one.shape) for one in model.outputs]
    return x if len(x) > 1 else x[0], y if len(y) > 1 else y[0]


def _base(keras: Any, name: str) -> Any:
    layers = keras.layers
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 1, name="c1")(inputs)
    x = layers.BatchNormalization(name="bn1", momentum=0.9)(x)
    x = layers.ReLU()(x)
    x = layers.SeparableConv2D(4, 3, padding="same", name="c2")(x)
    x = layers.BatchNormalization(name="bn2", scale=False)(x)
    return keras.Model(inputs, layers.Add(name="sum")([x, inputs]), name=name)


def _nested(keras: Any) -> tuple[Any, str]:
    """Models within models, a layer of augmentation, and one's own head."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.Conv2D(4, 3, padding="same", name="stem", kernel_constraint=keras.constraints.MaxNorm(2.0))(x)
    chain = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.DepthwiseConv2D(3, padding="same"), layers.BatchNormalization()], name="chain"
    )
    x = _base(keras, "inner")(chain(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.25)(x)
    x = layers.Dense(5, activation="tanh", kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="fc")(x), name="mine"), CROSS_ENTROPY


def _frozen_backbone(keras: Any) -> tuple[Any, str]:
    model, loss = _nested(keras)
    model.get_layer("inner").trainable = False
    return model, loss


def _partly_frozen(keras: Any) -> tuple[Any, str]:
    model, loss = _nested(keras)
    for name in ("c1", "bn2"):
        model.get_layer("inner").get_layer(name).trainable = False
    return model, loss


def _sequential(keras: Any) -> tuple[Any, str]:
    layers = keras.layers
    rows = [
        keras.Input((9, 9, 3)),
        layers.RandomFlip("horizontal"),
        _strided(keras),
        layers.LeakyReLU(),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Flatten(),
        layers.LayerNormalization(),
        layers.Dense(4, activation="softmax"),
    ]
    return keras.Sequential(rows, name="chain"), CROSS_ENTROPY


def _strided(keras: Any) -> Any:
    inside = [
        keras.Input((9, 9, 3)),
        keras.layers.Conv2D(6, 3, strides=2, name="conv"),
        keras.layers.BatchNormalization(),
    ]
    return keras.Sequential(inside, name="features")


def _shared(keras: Any) -> tuple[Any, Any]:
    """One backbone on two images, and two outputs by name."""
    layers = keras.layers
    left, right = keras.Input((8, 8, 4), name="left"), keras.Input((8, 8, 4), name="right")
    base, pool = _base(keras, "shared"), layers.GlobalMaxPooling2D()
    one, other = pool(base(left)), pool(base(right))
    both = layers.Concatenate()([one, other])
    outputs = {
        "b": layers.Dense(3, activation="softmax", name="b")(both),
        "a": layers.Dense(2, activation="softmax", name="a")(layers.Subtract()([one, other])),
    }
    return keras.Model([left, right], outputs, name="siamese"), {"a": CROSS_ENTROPY, "b": CROSS_ENTROPY}


def _resnet(keras: Any, **arguments: Any) -> tuple[Any, str]:
    import checkpoints

    from weight_transfer.resnet.keras_config import keras_config, legacy_keras_config

    render = keras_config if keras.__name__ == "keras" else legacy_keras_config
    config = render(checkpoints.small(**arguments))
    return keras.models.model_from_json(json.dumps(config)), CROSS_ENTROPY


def _own_head(keras: Any) -> tuple[Any, str]:
    """A ResNet with the tutorial's names, half of it frozen, and its owner's own head."""
    model, loss = _resnet(keras)
    layers = keras.layers
    x = next(layer for layer in model.layers if layer.__class__.__name__ == "GlobalAveragePooling2D").output
    x = layers.Dense(7, name="own_hidden")(layers.BatchNormalization(name="own_norm")(x))
    x = layers.Dense(3, activation="softmax", name="own_out")(layers.LeakyReLU(name="own_leaky")(x))
    owned = keras.Model(model.input, x, name="owned")
    for layer in owned.layers[:12]:
        layer.trainable = False
    return owned, loss


def _mixed(keras: Any) -> tuple[Any, str]:
    """In half precision but for its end, as the global policy makes every layer."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 4))
    x = layers.GlobalAveragePooling2D()(_base(keras, "half")(inputs))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", dtype="float32")(x), name="mixed"), CROSS_ENTROPY


def _hard_sigmoid(keras: Any) -> tuple[Any, str]:
    """What the Kerases compute otherwise under one name."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 4))
    x = layers.Dense(4, activation="hard_sigmoid", name="hard")(_base(keras, "inner")(inputs))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x), name="hard_sigmoid"), CROSS_ENTROPY


CROSS_ENTROPY = "categorical_crossentropy"
MODELS: dict[str, Any] = {
    "nested": _nested,
    "frozen backbone": _frozen_backbone,
    "partly frozen": _partly_frozen,
    "sequential": _sequential,
    "shared": _shared,
    "resnet": _resnet,
    "own head": _own_head,
    "mixed": _mixed,
}
OTHERWISE: dict[str, Any] = {"hard sigmoid": _hard_sigmoid}  # which one Keras alone loads
HALF = ("mixed",)


def predicted(library: str, name: str, paths: Sequence[Path]) -> list[list[np.ndarray]]:
    """What each file predicts of the same inputs, the model loaded as it was compiled.

    With a global policy of half precision tf_keras fails to say that a .keras file holds no state of the optimizer.
    """
    keras = importlib.import_module(library)
    found = []
    for path in paths:
        keras.backend.clear_session()
        with policy(keras, name):
            model = keras.models.load_model(path, compile=name not in HALF)
        x, _ = _data(model)
        found.append([np.asarray(y) for y in keras_random_models.listed(model.predict_on_batch(x))])
    return found
