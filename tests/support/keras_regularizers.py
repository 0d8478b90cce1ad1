"""Models with regularizers, what they add to the loss, and its gradients: functions to call through ``keras_side``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from keras_floatx import floatx

SMALL: dict[str, Any] = {
    "in_shape": (33, 33, 3),
    "n_classes": 3,
    "stem_filters": 4,
    "block_counts": (1, 1),
    "filters": ((4, 4, 8), (6, 6, 12)),
}


def regularized(library: str, kind: str, path: Path, frozen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Saves a float64 model of a ``native`` ResNet, a ``graph`` of its own or a ``headed`` ResNet.

    Args:
        library: ``keras`` or ``tf_keras``.
        kind: Which model.
        path: Where to.
        frozen: Layers that do not train.

    Returns:
        ``x``, ``y``; the sum of ``model.losses`` as ``penalty`` and its ``gradients`` by variable, after a
        call in inference; ``loss`` of evaluating batches of 2.
    """
    keras = importlib.import_module(library)
    with floatx(keras, "float64"):
        model = made(library, kind)
        random = np.random.default_rng(7)
        for name in frozen:
            model.get_layer(name).trainable = False
        model.compile("sgd", "categorical_crossentropy")
        model.save(path)
        x = random.normal(size=(5, *model.input_shape[1:]))
        y = np.eye(3)[random.integers(0, 3, 5)]
        return {"x": x, "y": y, **_penalty(model, x), "loss": float(model.evaluate(x, y, batch_size=2, verbose=0))}


def made(library: str, kind: str) -> Any:
    """A model of ``kind`` with seeded weights, in the dtype that is set."""
    keras = importlib.import_module(library)
    keras.backend.clear_session()
    model = {"native": _native, "graph": _graph, "headed": _headed}[kind](keras)
    random = np.random.default_rng(6)
    model.set_weights([_drawn(random, variable) for variable in model.weights])
    return model


def _drawn(random: Any, variable: Any) -> np.ndarray:
    values = random.normal(size=variable.shape) * 0.3
    return np.abs(values) + 0.5 if "variance" in variable.name else values


def _penalty(model: Any, x: Any) -> dict[str, Any]:
    import tensorflow as tf

    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        model(x, training=False)
        penalty = sum(model.losses)
    gradients = tape.gradient(
        penalty, [variable.value if hasattr(variable, "path") else variable for variable in variables]
    )
    found = {}
    for variable, gradient in zip(variables, gradients, strict=True):
        name = getattr(variable, "path", variable.name).removesuffix(":0")
        found[name] = np.zeros(variable.shape) if gradient is None else gradient.numpy()
    return {"penalty": float(penalty), "gradients": found}


def _native(keras: Any, top: bool = True) -> Any:
    """The tutorial's ResNet, L2 on its convolutions' kernels, and more on its dense layer."""
    from resnet_keras import create_resnet

    l2 = keras.regularizers.serialize(keras.regularizers.L2(1e-3))
    both = keras.regularizers.serialize(keras.regularizers.L1L2(1e-3, 2e-3))
    config = create_resnet(**{**SMALL, "n_classes": 3 if top else None}).get_config()
    for layer in config["layers"]:
        if layer["class_name"] in ("Conv2D", "Dense"):
            layer["config"]["kernel_regularizer"] = l2 if layer["class_name"] == "Conv2D" else both
        layer["config"]["dtype"] = "float64"
    return keras.Model.from_config(config)


def _headed(keras: Any) -> Any:
    """That ResNet under a head whose outputs are regularized."""
    backbone = _native(keras, top=False)
    x = keras.layers.Flatten(name="flat")(backbone.output)
    x = keras.layers.Dense(7, activation="relu", activity_regularizer="l1", name="hidden")(x)
    x = keras.layers.Dense(3, activation="softmax", activity_regularizer="l2", bias_regularizer="l1", name="out")(x)
    return keras.Model(backbone.input, x)


def _graph(keras: Any) -> Any:
    """Every kind of regularizer, on every kind of weight and on outputs; layers without any between them."""
    layers, reg = keras.layers, keras.regularizers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(
        4,
        3,
        activation="relu",
        kernel_regularizer=reg.L2(1e-3),
        bias_regularizer=reg.L1(2e-3),
        activity_regularizer=reg.L1(1e-3),
        name="conv",
    )(image)
    x = layers.BatchNormalization(gamma_regularizer=reg.L1L2(1e-3, 3e-3), beta_regularizer=reg.L2(4e-3), name="norm")(x)
    x = layers.SeparableConv2D(
        5, 3, depthwise_regularizer=reg.L2(1e-3), pointwise_regularizer=reg.L1(1e-3), name="separable"
    )(x)
    x = layers.DepthwiseConv2D(3, padding="same", depthwise_regularizer=reg.L2(5e-3), name="depthwise")(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_regularizer=reg.L2(6e-3), name="prelu")(x)
    x = layers.Conv2D(5, 1, use_bias=False, bias_regularizer=reg.L2(1.0), name="plain")(x)
    shared = layers.Conv2D(5, 3, padding="same", activity_regularizer=reg.L2(1e-3), name="shared")
    x = layers.Add(name="add")([shared(x), shared(shared(x))])
    x = layers.ActivityRegularization(l1=1e-3, l2=2e-3, name="activity")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(3, activation="softmax", activity_regularizer=reg.L2(0.3), name="out")(x)
    return keras.Model(image, x)


def orthogonal(kernel: np.ndarray, mode: str) -> tuple[float, np.ndarray]:
    """An orthogonal regularizer of a float32 kernel, and its gradient; in float64, Keras cannot compute it."""
    import keras
    import tensorflow as tf

    variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        penalty = keras.regularizers.OrthogonalRegularizer(0.2, mode)(variable)
    return float(penalty), tape.gradient(penalty, variable).numpy()


def penalty_of(library: str, path: Path) -> float:
    """The sum of ``model.losses`` of a saved model without regularizers of outputs."""
    keras = importlib.import_module(library)
    return float(sum(keras.models.load_model(path).losses))
