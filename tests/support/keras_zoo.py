"""The kinds of residual network that people build, by either Keras: functions to call through ``keras_side``.

``save(path, "keras", "squeeze excite")`` builds one of `NETWORKS`, gives it distinct weights with
statistics of its own activations, and saves it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

NOISE = {"preprocessing inside, tf": 1.0}  # deviation of what reaches the batch norms; elsewhere that of an image
FREE_SIZE = 16  # of images whose size is free
FROZEN = {"frozen backbone, new head": 20}  # so many layers of the nested model are saved as not trainable


def save(path: Path, family: str, name: str) -> Path:
    """Builds, seeds and saves a network; the container goes by the path's suffix."""
    keras = _module(family)
    model = seed_weights(keras, NETWORKS[name](keras), noise=NOISE.get(name, 60.0))
    for layer in list(_flat(model))[: FROZEN.get(name, 0)]:
        layer.trainable = False
    return save_as(path, model)


def save_both(folder: Path, family: str, name: str) -> list[Path]:
    """Saves one model twice: ``.h5`` and ``.keras``."""
    keras = _module(family)
    model = seed_weights(keras, NETWORKS[name](keras))
    return [save_as(folder / f"{family}{suffix}", model) for suffix in (".h5", ".keras")]


def save_both_data_formats(folder: Path, family: str) -> list[Path]:
    """Saves the same network with its channels first, which TensorFlow runs on GPUs only, and last."""
    keras = _module(family)
    last, first = (_any_data_format(keras, name) for name in ("channels_last", "channels_first"))
    arrays = seed_weights(keras, last).get_weights()
    first.set_weights([np.moveaxis(array, -1, 0) if array.ndim == 3 else array for array in arrays])  # PReLU's
    return [save_as(folder / "first.h5", first), save_as(folder / "last.h5", last)]


def save_as(path: Path, model: Any) -> Path:
    """Saves a model, without Keras's warning that a format is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def seed_weights(keras: Any, model: Any, seed: int = 0, noise: float = 60.0) -> Any:
    """Draws every array and lets each batch norm measure its own input, a nested model's first."""
    generator = np.random.default_rng(seed)
    for layer in _flat(model):
        layer.set_weights([_draw(generator, variable.name, tuple(variable.shape)) for variable in layer.weights])
    _calibrate(keras, model, generator, noise)
    return model


def _draw(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if "variance" in name or "gamma" in name:
        return generator.uniform(0.5, 1.5, shape)
    if "depthwise" in name:
        return generator.normal(0, np.sqrt(2 / np.prod(shape[:-2])), shape)
    fan_in = int(np.prod(shape[:-1])) if "kernel" in name else 25
    return generator.normal(0, np.sqrt(2 / max(fan_in, 4)), shape)


def _calibrate(keras: Any, model: Any, generator: np.random.Generator, noise: float) -> None:
    """A pass in training mode with momentum 0 writes the batch's own statistics; then a little is added."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            _calibrate(keras, layer, generator, noise)
    norms = [layer for layer in _flat(model) if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    shapes = [(4, *(size or FREE_SIZE for size in tensor.shape[1:])) for tensor in model.inputs]
    images = [generator.normal(0, noise, shape).astype("float32") for shape in shapes]
    model(images if len(images) > 1 else images[0], training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        *affine, mean, variance = norm.get_weights()
        mean = mean + 0.1 * np.sqrt(variance) * generator.normal(size=mean.shape)
        norm.set_weights([*affine, mean, variance * generator.uniform(0.8, 1.25, variance.shape) + 1e-3])


def _flat(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flat(layer)
        elif layer.weights:
            yield layer


def _module(family: str) -> Any:
    if family == "keras":
        import keras as module
    else:
        import tf_keras as module
    module.backend.clear_session()
    return module


# Keras's example of ResNets for CIFAR-10. Source: keras-team/keras, examples/cifar10_resnet.py at 2.3.0.


def _example_layer(
    keras: Any, x: Any, filters: int, kernel: int = 3, strides: int = 1, act: bool = True, norm: bool = True
) -> Any:
    l2 = keras.regularizers.l2(1e-4)
    conv = keras.layers.Conv2D(filters, kernel, strides, "same", kernel_initializer="he_normal", kernel_regularizer=l2)
    x = conv(x)
    x = keras.layers.BatchNormalization()(x) if norm else x
    return keras.layers.Activation("relu")(x) if act else x


def _example_layer_v2(keras: Any, x: Any, filters: int, kernel: int, strides: int = 1, pre: bool = True) -> Any:
    """As the example with ``conv_first=False``."""
    if pre:
        x = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))
    return _example_layer(keras, x, filters, kernel, strides, act=False, norm=False)


def _example_head(keras: Any, image: Any, x: Any) -> Any:
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(x))
    x = keras.layers.Dense(10, activation="softmax", kernel_initializer="he_normal")(x)
    return keras.Model(image, x)


def _cifar_v1(keras: Any, depth: int) -> Any:
    image = keras.layers.Input((32, 32, 3))
    x = _example_layer(keras, image, 16)
    for stage in range(3):
        for block in range((depth - 2) // 6):
            filters, strides = 16 * 2**stage, 2 if stage and not block else 1
            y = _example_layer(keras, x, filters, strides=strides)
            y = _example_layer(keras, y, filters, act=False)
            if strides > 1:
                x = _example_layer(keras, x, filters, 1, strides, act=False, norm=False)
            x = keras.layers.Activation("relu")(keras.layers.add([x, y]))
    return _example_head(keras, image, x)


def _cifar_v2(keras: Any, depth: int) -> Any:
    image = keras.layers.Input((32, 32, 3))
    filters_in, x = 16, _example_layer(keras, image, 16)
    for stage in range(3):
        filters_out = filters_in * (2 if stage else 4)
        for block in range((depth - 2) // 9):
            strides = 2 if stage and not block else 1
            y = _example_layer_v2(keras, x, filters_in, 1, strides, pre=bool(stage or block))
            y = _example_layer_v2(keras, y, filters_in, 3)
            y = _example_layer_v2(keras, y, filters_out, 1)
            if not block:
                x = _example_layer(keras, x, filters_out, 1, strides, act=False, norm=False)
            x = keras.layers.add([x, y])
        filters_in = filters_out
    x = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))
    return _example_head(keras, image, x)


# keras.applications, and what people build on top of it.


def _application(keras: Any, name: str, **arguments: Any) -> Any:
    return getattr(keras.applications, name)(weights=None, **{"input_shape": (64, 64, 3), **arguments})


def _frozen_backbone(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((64, 64, 3)),
            _application(keras, "ResNet50", include_top=False),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(16, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )


def _sequential(keras: Any) -> Any:
    """A residual model in a `Sequential`, which lists no input layer."""
    layers = keras.layers
    image = layers.Input((9, 8, 3))
    block = keras.Model(image, _residual(layers, image, 4, 2))
    return keras.Sequential([layers.Input((9, 8, 3)), block, layers.Flatten(), layers.Dense(3, activation="softmax")])


def _shared_backbone(keras: Any) -> Any:
    layers = keras.layers
    backbone = _application(keras, "ResNet50", include_top=False, pooling="avg", input_shape=(33, 33, 3))
    images = [layers.Input((33, 33, 3), name=name) for name in ("left", "right")]
    left, right = map(backbone, images)
    x = layers.Concatenate()([left, right, layers.Subtract()([left, right])])
    return keras.Model(images, layers.Dense(1, activation="sigmoid")(x))


def _transfer(keras: Any, module: str, name: str) -> Any:
    layers = keras.layers
    image = layers.Input((64, 64, 3))
    backbone = _application(keras, name, include_top=False)
    x = backbone(getattr(keras.applications, module).preprocess_input(image), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(5)(x))


# Small networks, each for one way to build a residual network.


def _conv_norm_relu(layers: Any, x: Any, filters: int, strides: int = 1, rank: int = 2) -> Any:
    conv = getattr(layers, f"Conv{rank}D")(filters, 3, strides=strides, padding="same", use_bias=False)
    return layers.ReLU()(layers.BatchNormalization()(conv(x)))


def _residual(layers: Any, x: Any, filters: int, strides: int = 1, rank: int = 2) -> Any:
    y = _conv_norm_relu(layers, x, filters, strides, rank)
    conv = getattr(layers, f"Conv{rank}D")
    y = layers.BatchNormalization()(conv(filters, 3, padding="same")(y))
    if strides > 1 or x.shape[-1] != filters:
        x = layers.BatchNormalization()(conv(filters, 1, strides=strides)(x))
    return layers.Activation("relu")(layers.Add()([x, y]))


def _ranked(keras: Any, shape: tuple[int, ...], head: str = "GlobalAveragePooling") -> Any:
    layers, rank = keras.layers, len(shape) - 1
    image = layers.Input(shape)
    x = getattr(layers, f"ZeroPadding{rank}D")(1)(image)
    x = _conv_norm_relu(layers, x, 6, 2, rank)
    if rank < 3:  # TensorFlow pools three axes in float32 alone
        x = getattr(layers, f"MaxPooling{rank}D")(3, strides=2)(x)
    x = _residual(layers, _residual(layers, x, 6, 1, rank), 8, 2, rank)
    x = layers.Flatten()(x) if head == "Flatten" else getattr(layers, f"{head}{rank}D")()(x)
    return keras.Model(image, layers.Dense(4, activation="softmax")(x))


def _pre_activation(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((17, 15, 3))
    x = layers.Conv2D(6, 3, padding="same")(image)
    for filters, strides in ((6, 1), (8, 2), (8, 1)):
        y = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
        shortcut = x if strides == 1 else layers.Conv2D(filters, 1, strides=strides)(y)
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, strides, "same", use_bias=False)(y)))
        x = layers.add([shortcut, layers.Conv2D(filters, 3, padding="same")(y)])
    x = layers.GlobalMaxPooling2D()(layers.ReLU()(layers.BatchNormalization(scale=False)(x)))
    return keras.Model(image, layers.Dense(3)(x))


def _many_outputs(keras: Any, as_dict: bool) -> Any:
    layers = keras.layers
    image = layers.Input((16, 17, 3))
    x = _residual(layers, _conv_norm_relu(layers, image, 6), 8, 2)
    pooled = layers.GlobalAveragePooling2D()(x)
    label = layers.Dense(4, activation="softmax", name="label")(pooled)
    box = layers.Dense(4, name="box")(pooled)
    score = layers.Dense(1, activation="sigmoid", name="score")(layers.Concatenate()([pooled, box]))
    outputs = {"label": label, "box": box, "a_score": score, "map": x} if as_dict else [score, label, x, box]
    return keras.Model(image, outputs)


def _squeeze_excite(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((15, 17, 3))
    x = _conv_norm_relu(layers, image, 8)
    for keepdims in (True, False):
        y = _conv_norm_relu(layers, x, 8)
        s = layers.GlobalAveragePooling2D(keepdims=keepdims)(y)
        s = s if keepdims else layers.Reshape((1, 1, 8))(s)
        s = layers.Dense(8, activation="sigmoid", use_bias=False)(layers.Dense(2, activation="relu")(s))
        x = layers.Activation("relu")(layers.Add()([x, layers.Multiply()([y, s])]))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def _separable(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((17, 18, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    y = layers.BatchNormalization()(layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2)(x))
    y = layers.SeparableConv2D(8, 5, padding="same", use_bias=False)(layers.Activation("relu")(y))
    x = layers.Add()([x, layers.BatchNormalization()(y)])
    y = layers.ReLU(max_value=6.0)(layers.BatchNormalization()(layers.Conv2D(24, 1, use_bias=False)(x)))
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1, use_bias=False)(y)
    y = layers.Conv2D(8, 1)(layers.ReLU(max_value=6.0)(layers.BatchNormalization()(y)))
    x = layers.Add()([x, y])
    x = layers.DepthwiseConv2D((3, 2), strides=2, padding="valid", depth_multiplier=2)(x)
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def _fused_activations(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    for name in ("elu", "selu", "swish", "softplus", "tanh", "gelu", "softsign", "hard_sigmoid"):
        y = layers.Conv2D(6, 3, padding="same", activation=name)(layers.BatchNormalization()(x))
        x = layers.Average()([x, y])
    x = layers.PReLU(shared_axes=[1, 2])(layers.LeakyReLU()(layers.BatchNormalization()(x)))
    return keras.Model(image, layers.Dense(5, activation="sigmoid")(layers.GlobalMaxPooling2D()(x)))


def _other_norms(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((14, 15, 3))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(8, 4, strides=4, padding="same")(image))
    for norm in (layers.LayerNormalization(epsilon=1e-6), layers.GroupNormalization(groups=4)):
        y = norm(layers.DepthwiseConv2D(3, padding="same")(x))
        y = layers.Dense(8)(layers.Dense(16, activation="gelu")(y))
        x = layers.Add()([x, y])
    x = layers.GroupNormalization(groups=2, epsilon=1e-5)(x)
    x = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(3, activation="softmax")(x))


def _decoder(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((16, 24, 3))
    fine = _residual(layers, _conv_norm_relu(layers, image, 4), 4)
    coarse = _residual(layers, fine, 8, 2)
    x = _residual(layers, layers.MaxPooling2D(2)(coarse), 8)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = _residual(layers, layers.Concatenate()([x, coarse]), 8)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Concatenate()(
        [
            layers.UpSampling2D()(coarse),
            x,
            layers.Cropping2D(((1, 0), (0, 1)))(layers.ZeroPadding2D(((1, 0), (0, 1)))(fine)),
        ]
    )
    return keras.Model(image, layers.Conv2D(2, 1, activation="softmax")(x))


def _any_data_format(keras: Any, data_format: str) -> Any:
    layers, options = keras.layers, {"data_format": data_format}
    axis = 1 if data_format == "channels_first" else -1

    def norm(x: Any) -> Any:
        return layers.BatchNormalization(axis=axis)(x)

    image = layers.Input((3, 17, 15) if axis == 1 else (17, 15, 3))
    x = layers.ZeroPadding2D(((1, 2), (0, 1)), **options)(image)
    x = layers.Activation("relu")(norm(layers.Conv2D(6, (3, 5), strides=2, padding="same", **options)(x)))
    x = layers.MaxPooling2D(2, strides=1, padding="same", **options)(x)
    y = layers.ReLU()(norm(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, **options)(x)))
    y = norm(layers.SeparableConv2D(6, 3, padding="same", **options)(y))
    x = layers.Add()([x, y])
    x = layers.Concatenate(axis=axis)([x, layers.PReLU(shared_axes=[2, 3] if axis == 1 else [1, 2])(x)])
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", **options)(x)
    x = layers.AveragePooling2D(3, padding="same", **options)(layers.UpSampling2D(2, **options)(x))
    merged = [layers.Dense(5)(layers.Flatten(**options)(x)), layers.Dense(5)(layers.GlobalMaxPooling2D(**options)(x))]
    return keras.Model(image, layers.Activation("softmax")(layers.Average()(merged)))


NETWORKS: dict[str, Callable[[Any], Any]] = {
    **{f"cifar v1 {depth}": lambda keras, depth=depth: _cifar_v1(keras, depth) for depth in (20, 110)},
    **{f"cifar v2 {depth}": lambda keras, depth=depth: _cifar_v2(keras, depth) for depth in (20, 110)},
    **{
        f"{name}{'' if include_top else ' without top'}": lambda keras, name=name, top=include_top: _application(
            keras, name, include_top=top
        )
        for name, include_top in (
            ("ResNet50V2", True),
            ("ResNet50V2", False),
            ("ResNet152V2", True),
        )
    },
    "ResNet50": lambda keras: _application(keras, "ResNet50", classes=10),
    "frozen backbone, new head": _frozen_backbone,
    "sequential": _sequential,
    "shared backbone, two inputs": _shared_backbone,
    "preprocessing inside, caffe": lambda keras: _transfer(keras, "resnet", "ResNet50"),
    "preprocessing inside, tf": lambda keras: _transfer(keras, "resnet_v2", "ResNet50V2"),
    "flatten head": lambda keras: _ranked(keras, (33, 30, 3), "Flatten"),
    "1-D": lambda keras: _ranked(keras, (65, 2)),
    "1-D, flatten head": lambda keras: _ranked(keras, (50, 3), "Flatten"),
    "3-D": lambda keras: _ranked(keras, (17, 16, 19, 2), "GlobalMaxPooling"),
    "pre-activation": _pre_activation,
    "outputs in a list": lambda keras: _many_outputs(keras, False),
    "outputs in a dict": lambda keras: _many_outputs(keras, True),
    "squeeze excite": _squeeze_excite,
    "separable": _separable,
    "fused activations": _fused_activations,
    "other norms": _other_norms,
    "decoder": _decoder,
}
