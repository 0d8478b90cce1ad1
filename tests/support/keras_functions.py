"""Models that hold functions as layers: Keras 3's operations, TensorFlow's functions. To call through ``keras_side``.

Imports of Keras stand inside, since pytest's own process imports this module to name the models.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras_checkpoints
import keras_references
import numpy as np

SHAPE = (6, 5, 3)
MEAN = np.array([1.1, 2.2, 3.3], "float32")
Function = Callable[[Any, Any, Any], Any]  # of keras, a convolution's output and the image, both of `SHAPE`


def _tf() -> Any:
    import tensorflow

    return tensorflow


def _nested(keras: Any, x: Any) -> Any:
    """A model within the model, called twice, whose functions take two tensors and a constant."""
    image = keras.Input(SHAPE)
    inner = keras.Model(image, keras.layers.Conv2D(3, 1)(image) * image + 0.5, name="inner")
    return inner(inner(x))


def _same_names(keras: Any, x: Any) -> Any:
    """Two models whose layers have the same names."""

    def inner(name: str) -> Any:
        image = keras.Input(SHAPE)
        y = keras.layers.Conv2D(3, 1, name="conv")(image)
        return keras.Model(image, keras.layers.Activation("tanh", name="act")(y) * 0.5, name=name)

    return keras.layers.Add()([inner("left")(x), inner("right")(x)])


# What both Kerases write, each in its own way.
BOTH: Mapping[str, Function] = {
    "sum": lambda keras, x, image: x + image,
    "difference": lambda keras, x, image: image - x,
    "product": lambda keras, x, image: x * image,
    "quotient": lambda keras, x, image: x / (image * image + 1.5),
    "minus a number": lambda keras, x, image: x - 1.1,
    "a number minus": lambda keras, x, image: 2.2 - x,
    "a number over": lambda keras, x, image: 2.2 / (x * x + 1.1),
    "minus an array": lambda keras, x, image: x - MEAN,
    "negative": lambda keras, x, image: -x,
    "mirrored channels": lambda keras, x, image: x[..., ::-1],
    "mirrored channels in full": lambda keras, x, image: x[:, :, :, ::-1],
    "one channel": lambda keras, x, image: x[..., 1],
    "every other row": lambda keras, x, image: x[:, 1::2],
    "a layer as activation": lambda keras, x, image: keras.layers.Conv2D(3, 1, activation=keras.layers.LeakyReLU(0.1))(
        x
    ),
    "a model called twice": lambda keras, x, image: _nested(keras, x),
    "two models with the same names": lambda keras, x, image: _same_names(keras, x),
}
KERAS_3: Mapping[str, Function] = {
    **BOTH,
    "minus a tensor": lambda keras, x, image: x - keras.ops.convert_to_tensor(MEAN),
    "Cast": lambda keras, x, image: keras.ops.cast(x * 1.1, "float32") / 3.3,
    "Concatenate": lambda keras, x, image: keras.ops.concatenate([x, image], axis=-1),
    "Divide": lambda keras, x, image: keras.ops.divide(x, 255.0),
    "Maximum": lambda keras, x, image: keras.ops.maximum(x, image),
    "Minimum": lambda keras, x, image: keras.ops.minimum(x, 0.3),
    "Stack": lambda keras, x, image: keras.ops.stack([x, image], axis=-2),
    "caffe": lambda keras, x, image: keras.applications.resnet50.preprocess_input(x),
    "torch": lambda keras, x, image: keras.applications.densenet.preprocess_input(x),
}
KERAS_2: Mapping[str, Function] = {
    **BOTH,
    "minus a tensor": lambda keras, x, image: x - _tf().constant(MEAN),
    "cast": lambda keras, x, image: _tf().cast(x * 1.1, "float32") / 3.3,
    "concat": lambda keras, x, image: _tf().concat([x, image], axis=-1),
    "math.truediv": lambda keras, x, image: _tf().divide(x, 255.0),
    "math.maximum": lambda keras, x, image: _tf().maximum(x, image),
    "math.minimum": lambda keras, x, image: _tf().minimum(x, 0.3),
    "nn.bias_add": lambda keras, x, image: _tf().nn.bias_add(x, MEAN),
    "nn.relu": lambda keras, x, image: _tf().nn.relu(x),
    "stack": lambda keras, x, image: _tf().stack([x, image], axis=-2),
    "caffe": lambda keras, x, image: keras.applications.resnet50.preprocess_input(x),
    "torch": lambda keras, x, image: keras.applications.densenet.preprocess_input(x),
}
# What a port exists for, by the Keras that writes it.
PORTED: Mapping[str, Mapping[str, Function]] = {"keras": KERAS_3, "tf_keras": KERAS_2}
# What a reference may hold beyond that: keys are the names that the file has.
MORE: Mapping[str, Mapping[str, Function]] = {
    "keras": {
        "Clip": lambda keras, x, image: keras.ops.clip(x, -0.5, 0.5),
        "Exp": lambda keras, x, image: keras.ops.exp(x),
        "ExpandDims": lambda keras, x, image: keras.ops.expand_dims(x, 1),
        "Gelu": lambda keras, x, image: keras.ops.gelu(x),
        "HardSigmoid": lambda keras, x, image: keras.ops.hard_sigmoid(x),
        "HardSilu": lambda keras, x, image: keras.ops.hard_silu(x),
        "LogSoftmax": lambda keras, x, image: keras.ops.log_softmax(x, axis=-1),
        "Matmul": lambda keras, x, image: keras.ops.matmul(x, image[:, :, :3]),
        "Max": lambda keras, x, image: keras.ops.max(x, axis=[1, 2]),
        "Mean": lambda keras, x, image: keras.ops.mean(x, axis=(1, 2), keepdims=True),
        "Pad": lambda keras, x, image: keras.ops.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0)), constant_values=1.5),
        "Relu": lambda keras, x, image: keras.ops.relu(x),
        "Relu6": lambda keras, x, image: keras.ops.relu6(x * 9),
        "Sigmoid": lambda keras, x, image: keras.ops.sigmoid(x),
        "Silu": lambda keras, x, image: keras.ops.silu(x),
        "Sqrt": lambda keras, x, image: keras.ops.sqrt(x * x + 0.1),
        "Square": lambda keras, x, image: keras.ops.square(x),
        "Squeeze": lambda keras, x, image: keras.ops.squeeze(keras.ops.mean(x, axis=1, keepdims=True), axis=1),
        "Sum": lambda keras, x, image: keras.ops.sum(x, axis=(1,)),
        "Tanh": lambda keras, x, image: keras.ops.tanh(x),
        "Transpose": lambda keras, x, image: keras.ops.transpose(x, (0, 3, 1, 2)),
    },
    "tf_keras": {
        "clip_by_value": lambda keras, x, image: _tf().clip_by_value(x, -0.5, 0.5),
        "nn.relu6": lambda keras, x, image: _tf().nn.relu6(x * 9),
        "compat.v1.pad": lambda keras, x, image: _tf().pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]]),
        "compat.v1.transpose": lambda keras, x, image: _tf().transpose(x, [0, 3, 1, 2]),
        "identity": lambda keras, x, image: _tf().identity(x),
        "math.reduce_max": lambda keras, x, image: _tf().reduce_max(x, axis=[1, 2]),
        "math.reduce_mean": lambda keras, x, image: _tf().reduce_mean(x, axis=[1, 2], keepdims=True),
        "math.sigmoid": lambda keras, x, image: _tf().sigmoid(x),
        "nn.leaky_relu": lambda keras, x, image: _tf().nn.leaky_relu(x, 0.3),
        "nn.softmax": lambda keras, x, image: _tf().nn.softmax(x),
        "math.tanh": lambda keras, x, image: _tf().tanh(x),
        "reshape": lambda keras, x, image: _tf().reshape(x, [-1, 90]),
    },
}
ALL: Mapping[str, Mapping[str, Function]] = {family: PORTED[family] | MORE[family] for family in PORTED}


def written(folder: Path, family: str, name: str) -> keras_references.Written:
    """Saves a model with the function behind a convolution, in the container in which its Keras reads it again."""
    keras = keras_checkpoints._family(family)
    keras.backend.clear_session()
    image = keras.Input(SHAPE)
    model = keras.Model(image, ALL[family][name](keras, keras.layers.Conv2D(3, 1)(image), image))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=array.shape).astype("float32") for array in model.get_weights()])
    container = "keras-zip" if family == "keras" else "legacy-h5"
    file = folder / f"model{keras_references.SUFFIXES[container]}"
    with keras_references._silent():
        model.save(file)
    inputs = rng.normal(size=(2, *SHAPE)).astype("float32")
    return keras_references.Written({container: file}, inputs, np.asarray(model(inputs, training=False)))


def names_in(file: Path) -> set[str]:
    """Every class name of a file's config, and every function of TensorFlow's."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
    else:
        with h5py.File(file) as opened:
            config = json.loads(opened.attrs["model_config"])
    return set(_names(config))


def _names(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value[key] for key in ("class_name", "function") if isinstance(value.get(key), str)]
        return own + [name for item in value.values() for name in _names(item)]
    return [name for item in value for name in _names(item)] if isinstance(value, list) else []


def convolution(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a model's one convolution, in float64."""
    from weight_transfer.checkpoint import read_checkpoint

    with read_checkpoint(file) as checkpoint:
        arrays = {name.rpartition("/")[2]: checkpoint[name].astype("float64") for name in checkpoint.arrays}
    return arrays["kernel"], arrays["bias"]
