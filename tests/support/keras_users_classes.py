"""Models with classes and functions of a user's own, called like Keras's: functions to call through ``keras_side``."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = "mine"


def saved_with_users_classes(folder: Path, library: str) -> dict[str, dict[str, Path]]:
    """Saves a small model for each kind of class: by kind, the files ``.keras`` and ``.h5``."""
    if library == "keras":
        import keras
    else:
        import tf_keras as keras
    found = {}
    for kind, build in KINDS.items():
        keras.backend.clear_session()
        model = build(keras)
        paths = {ending: folder / f"{library}_{kind}.{ending}" for ending in ("keras", "h5")}
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            for path in paths.values():
                model.save(path)
        found[kind] = paths
    return found


def _model(keras: Any, activation: Any = None, conv: Any = None, model: Any = None, **arguments: Any) -> Any:
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = (conv or layers.Conv2D)(4, 3, padding="same", name="conv", **arguments)(image)
    x = layers.ReLU(name="relu")(x) if activation is None else activation(x)
    return (model or keras.Model)(image, layers.Dense(2, name="fc")(layers.GlobalAveragePooling2D(name="pool")(x)))


def _registered(keras: Any, thing: Any, package: str = PACKAGE) -> Any:
    return keras.saving.register_keras_serializable(package=package)(thing)


def _leaky(keras: Any) -> Any:
    class ReLU(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 0.3

    return ReLU


def _layer(keras: Any) -> Any:
    return _model(keras, _registered(keras, _leaky(keras))(name="relu"))


def _registered_as_kerass(keras: Any) -> Any:
    return _model(keras, _registered(keras, _leaky(keras), "keras")(name="relu"))


def _unregistered_layer(keras: Any) -> Any:
    class Conv2D(keras.layers.Conv2D):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return 2 * super().call(x)

    return _model(keras, conv=Conv2D)


def _function(keras: Any) -> Any:
    def relu(x: Any) -> Any:
        return x * 0.3

    return _model(keras, **{"activation": None}, conv=_with(keras, activation=_registered(keras, relu)))


def _unregistered_function(keras: Any) -> Any:
    def my_relu(x: Any) -> Any:
        return x * 0.3

    return _model(keras, conv=_with(keras, activation=my_relu))


def _activation_layer(keras: Any) -> Any:
    return _model(keras, conv=_with(keras, activation=_registered(keras, _leaky(keras))()))


def _with(keras: Any, **arguments: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: keras.layers.Conv2D(*args, **kwargs, **arguments)


def _subclassed(keras: Any) -> Callable[..., Any]:
    class Functional(keras.Model):  # type: ignore[misc, name-defined]
        def call(self, *args: Any, **kwargs: Any) -> Any:
            return 2 * super().call(*args, **kwargs)

    return Functional


def _outermost(keras: Any) -> Any:
    return _model(keras, model=_subclassed(keras))


def _nested(keras: Any) -> Any:
    image = keras.layers.Input((8, 8, 3))
    return keras.Model(image, _model(keras, model=_subclassed(keras))(image))


def _regularizer(keras: Any) -> Any:
    class L2(keras.regularizers.Regularizer):  # type: ignore[misc, name-defined]
        def __call__(self, x: Any) -> Any:
            return 0.0

        def get_config(self) -> dict[str, Any]:
            return {}

    return _model(keras, kernel_regularizer=_registered(keras, L2)())


def _optimizer(keras: Any) -> Any:
    import numpy as np

    class SGD(keras.optimizers.SGD):  # type: ignore[misc, name-defined]
        pass

    model = _model(keras)
    model.compile(_registered(keras, SGD)(0.1, momentum=0.9), "mse")
    model.train_on_batch(np.ones((2, 8, 8, 3), "float32"), np.ones((2, 2), "float32"))
    return model


KINDS: dict[str, Callable[[Any], Any]] = {
    "layer": _layer,
    "registered_as_kerass": _registered_as_kerass,
    "unregistered_layer": _unregistered_layer,
    "function": _function,
    "unregistered_function": _unregistered_function,
    "activation_layer": _activation_layer,
    "outermost": _outermost,
    "nested": _nested,
    "regularizer": _regularizer,
    "optimizer": _optimizer,
}
