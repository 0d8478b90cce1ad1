"""Small ResNets of the tutorial's names, and others of equal arrays, as weights-only files: through ``keras_side``.

Each is saved by its owner, who also says what it makes of images: what a port must give, or be refused.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras_checkpoints import BYTES_PER_GB, save_legacy_weights

IN_SHAPE = (32, 32, 3)


@dataclass(frozen=True)
class Owned:
    """A saved network and what its owner gets.

    Attributes:
        files: By container: "legacy", "keras3", of Keras 3 "sharded"; and "config" where another run's model
            describes it.
        outputs: Of `images()`.
    """

    files: dict[str, Path]
    outputs: np.ndarray


def images(shape: tuple[int, ...] = IN_SHAPE) -> np.ndarray:
    """The images that are shown to every network."""
    return np.random.default_rng(1).normal(size=(3, *shape)).astype("float32")


def saved_variants(folder: Path, library: str) -> dict[str, Owned]:
    """Saves every network of `VARIANTS`."""
    keras = _library(library)
    found = {}
    for name, build in VARIANTS.items():
        keras.backend.clear_session()
        model = _filled(build(keras))
        found[name] = Owned(_saved(model, folder / f"{library}_{name}", library), np.asarray(model(images())))
    return found


def _library(library: str) -> Any:
    if library == "keras":
        import keras

        return keras
    import tf_keras

    return tf_keras


def _saved(model: Any, stem: Path, library: str) -> dict[str, Path]:
    files = {"legacy": Path(f"{stem}.h5"), "keras3": Path(f"{stem}.weights.h5")}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        model.save_weights(files["keras3"])
        if library == "keras":
            save_legacy_weights(model, str(files["legacy"]))
            files["sharded"] = Path(f"{stem}_sharded.weights.json")
            model.save_weights(files["sharded"], max_shard_size=3000 / BYTES_PER_GB)
        else:
            model.save_weights(files["legacy"])
    return files


def _filled(model: Any) -> Any:
    """Distinct weights, variances from small to large."""
    rng = np.random.default_rng(0)
    values = []
    for variable in model.weights:
        name, shape = variable.name, tuple(variable.shape)
        if "variance" in name:
            values.append(np.exp(rng.uniform(np.log(1e-4), np.log(1.0), shape)))
        elif "gamma" in name:
            values.append(rng.uniform(0.1, 0.3, shape))
        else:
            values.append(rng.normal(0, 0.3, shape))
    while True:
        model.set_weights([value.astype("float32") for value in values])
        if np.asarray(model(images(model.input_shape[1:]))).max(-1).mean() < 0.6 or model.output_shape[-1] != 5:
            return model
        values[-2] = values[-2] / 2  # until the classifier's probabilities are none of 0 and 1


def resnet(
    keras: Any,
    *,
    activation: Callable[[], Any] | None = None,
    pool: Any = None,
    merge: Any = None,
    front: Callable[[Any], Any] = lambda x: x,
    middle: Callable[[Any], Any] = lambda x: x,
    head: Callable[[Any, Any], Any] | None = None,
    shortcut_first: bool = False,
    top: bool = True,
) -> Any:
    """A bottleneck ResNet of two stages of one block each, under the names of the tutorial."""
    layers = keras.layers
    activation = activation or (lambda: layers.Activation("relu"))
    merge = merge or layers.Add

    def unit(x: Any, filters: int, kernel: int, strides: int, label: str) -> Any:
        padding = "same" if kernel == 3 else "valid"
        x = layers.Conv2D(filters, kernel, strides=strides, padding=padding, name=f"res{label}")(x)
        return layers.BatchNormalization(name=f"bn{label}")(x)

    image = layers.Input(IN_SHAPE)
    x = layers.Conv2D(4, 7, strides=2, name="conv1")(layers.ZeroPadding2D(3)(front(image)))
    x = activation()(layers.BatchNormalization(name="bn_conv1")(x))
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    for stage, filters in ((2, 4), (3, 6)):
        for block in "a":
            label, strides = f"{stage}{block}_branch", 2 if stage == 3 and block == "a" else 1
            y = activation()(unit(x, filters, 1, strides, f"{label}2a"))
            y = activation()(unit(y, filters, 3, 1, f"{label}2b"))
            y = unit(y, 4 * filters, 1, 1, f"{label}2c")
            shortcut = unit(x, 4 * filters, 1, strides, f"{label}1") if block == "a" else x
            x = activation()(merge()([shortcut, y] if shortcut_first else [y, shortcut]))
        x = middle(x)
    if top:
        x = (pool or layers.GlobalAveragePooling2D)()(x)
        x = head(layers, x) if head else layers.Dense(5, activation="softmax", name="fc_final")(x)
    return keras.Model(image, x)


def _dense(activation: str | None) -> Callable[[Any, Any], Any]:
    return lambda layers, x: layers.Dense(5, activation=activation, name="fc_final")(x)


def _dropped(layers: Any, x: Any) -> Any:
    x = layers.Dense(6, activation="relu", name="fc_01")(layers.Dropout(0.5, name="dropout_01")(x))
    return layers.Dense(5, activation="softmax", name="fc_final")(layers.Dropout(0.5, name="dropout_02")(x))


def _nested(keras: Any, **arguments: Any) -> Any:
    backbone, layers = resnet(keras, top=False, **arguments), keras.layers
    model = keras.Sequential(
        [backbone, layers.GlobalAveragePooling2D(), layers.Dense(5, activation="softmax", name="fc_final")]
    )
    model.build((None, *IN_SHAPE))
    return model


def _nested_max_pool(keras: Any) -> Any:
    image = keras.layers.Input(IN_SHAPE)
    x = keras.layers.Maximum()([resnet(keras, top=False)(image)] * 2)
    x = keras.layers.GlobalMaxPooling2D()(x)
    return keras.Model(image, keras.layers.Dense(5, activation="softmax", name="fc_final")(x))


VARIANTS: dict[str, Callable[[Any], Any]] = {
    "plain": resnet,
    "shortcut_first": lambda keras: resnet(keras, shortcut_first=True),
    "relu_layers": lambda keras: resnet(keras, activation=keras.layers.ReLU),
    "softmax_layer": lambda keras: resnet(
        keras, head=lambda layers, x: layers.Activation("softmax")(_dense(None)(layers, x))
    ),
    "dropouts": lambda keras: resnet(keras, head=_dropped),
    "dropout_inside": lambda keras: resnet(keras, middle=lambda x: keras.layers.SpatialDropout2D(0.2)(x)),
    "max_pool": lambda keras: resnet(keras, pool=keras.layers.GlobalMaxPooling2D),
    "nested": _nested,
    "leaky": lambda keras: resnet(keras, activation=keras.layers.LeakyReLU),
    "elu": lambda keras: resnet(keras, activation=keras.layers.ELU),
    "maximum": lambda keras: resnet(keras, merge=keras.layers.Maximum),
    "rescaling": lambda keras: resnet(keras, front=lambda x: keras.layers.Rescaling(0.5, offset=0.1)(x)),
    "no_relu": lambda keras: resnet(keras, middle=lambda x: x, activation=lambda: lambda x: x),
    "pooled_between": lambda keras: resnet(keras, middle=lambda x: keras.layers.AveragePooling2D(2)(x)),
    "nested_max_pool": _nested_max_pool,
    "nested_leaky": lambda keras: _nested(keras, activation=keras.layers.LeakyReLU),
}


def saved_without_names(folder: Path) -> dict[bool, Owned]:
    """Saves the plain network by tf_keras, which only counts the groups, adding the shortcut last or first."""
    keras = _library("tf_keras")
    found = {}
    for first in (False, True):
        keras.backend.clear_session()
        model = _filled(resnet(keras, shortcut_first=first))
        found[first] = Owned(_saved(model, folder / f"counted_{first}", "tf_keras"), np.asarray(model(images())))
    return found


def saved_by_another_run(folder: Path, library: str) -> dict[str, Owned]:
    """Saves weights, and the description of the same network as another run of Python made it.

    The right values are those of that other run's model after Keras's own ``load_weights``.
    """
    keras = _library(library)
    found = {}
    for name, build in RUNS.items():
        keras.backend.clear_session()
        source = _filled(build(keras, first=True))
        files = _saved(source, folder / f"{library}_{name}", library)
        keras.backend.clear_session()
        other = build(keras, first=False)
        other.load_weights(files["keras3"])
        expected = np.asarray(other(images((8, 8, 4))))
        np.testing.assert_array_equal(expected, np.asarray(source(images((8, 8, 4)))))
        if library == "tf_keras":
            other.load_weights(files["legacy"])
            np.testing.assert_array_equal(expected, np.asarray(other(images((8, 8, 4)))))
        files["config"] = folder / f"{library}_{name}.json"
        files["config"].write_text(other.to_json())
        found[name] = Owned(files, expected)
    return found


def _two_convs(keras: Any, *, swapped: bool, after: int = 0) -> Any:
    """Two convolutions of one shape, built in one order or the other, ``after`` so many that are thrown away."""
    layers = keras.layers
    for _ in range(after):
        layers.Conv2D(1, 1), layers.BatchNormalization(), layers.ReLU()
    image = layers.Input((8, 8, 4))
    one, two = layers.Conv2D(4, 3, padding="same"), layers.Conv2D(4, 3, padding="same")
    if swapped:
        one, two = two, one
    x = layers.BatchNormalization()(one(image))
    return keras.Model(image, layers.Add()([image, two(layers.ReLU()(x))]))


def _nested_convs(keras: Any, *, swapped: bool, after: int = 0) -> Any:
    inner = _two_convs(keras, swapped=swapped, after=after)
    inner.layers[1].trainable = False  # listed behind the others
    image = keras.layers.Input((8, 8, 4))
    return keras.Model(image, keras.layers.Conv2D(2, 1)(inner(image)))


def _named_otherwise(keras: Any, *, first: bool) -> Any:
    layers, names = keras.layers, ("left", "right") if first else ("a", "b")
    image = layers.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", name=names[0])(image)
    return keras.Model(image, layers.Add()([image, layers.Conv2D(4, 3, padding="same", name=names[1])(x)]))


RUNS: dict[str, Callable[..., Any]] = {
    "same": lambda keras, first: _two_convs(keras, swapped=False),
    "later": lambda keras, first: _two_convs(keras, swapped=False, after=22 if first else 0),
    "swapped": lambda keras, first: _two_convs(keras, swapped=first),
    "swapped_later": lambda keras, first: _two_convs(keras, swapped=first, after=9 if first else 0),
    "named_otherwise": _named_otherwise,
    "nested": lambda keras, first: _nested_convs(keras, swapped=False, after=5 if first else 0),
    "nested_swapped": lambda keras, first: _nested_convs(keras, swapped=first, after=5 if first else 0),
}
