"""The networks of `weight_transfer.families`, written once more in Keras: functions to call through ``keras_side``.

`saved` builds one, gives it weights, saves it in both layouts of a weights-only file and predicts;
`rebuilt` builds a model from a config that our side wrote and predicts the same images.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras_scale import scale_class


@dataclass(frozen=True)
class Original:
    """A saved network and what it makes of images: one array per output.

    ``files`` holds the legacy weights-only file under "legacy", the .weights.h5 file under "keras3".
    """

    files: dict[str, Path]
    images: np.ndarray
    outputs: list[np.ndarray]


def saved(folder: Path, library: str, network: str, offset: int, images: tuple[int, ...], **arguments: Any) -> Original:
    """Builds, fills and saves a network; ``offset`` layers of each class are built and thrown away before."""
    keras = _library(library)
    keras.backend.clear_session()
    for _ in range(offset):
        keras.layers.Conv2D(1, 1), keras.layers.Activation("relu"), keras.layers.Dense(1)
    for _ in range(3 * offset):  # out of step with the convolutions
        keras.layers.BatchNormalization(), keras.layers.Add()
    model = NETWORKS[network](keras, **arguments)
    _fill(model)
    stem = f"{library}_{network}_{offset}"
    files = {"legacy": folder / f"{stem}_legacy.h5", "keras3": folder / f"{stem}.weights.h5"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_weights(files["keras3"])
        if library == "tf_keras":
            model.save_weights(files["legacy"])
        else:
            from keras_checkpoints import save_legacy_weights

            save_legacy_weights(model, str(files["legacy"]))
    values = np.random.default_rng(1).normal(size=images).astype("float32")
    return Original(files, values, _predict(model, values) if images else [])


def saved_whole(path: Path, library: str, network: str, **arguments: Any) -> Path:
    """Builds, fills and saves a network together with its config; the path's ending decides the container."""
    keras = _library(library)
    keras.backend.clear_session()
    model = NETWORKS[network](keras, **arguments)
    _fill(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def rebuilt(
    library: str, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], images: np.ndarray
) -> list[np.ndarray]:
    """Builds a model from a config, sets every array by ``layer/role``, and predicts."""
    keras = _library(library)
    keras.backend.clear_session()
    model = keras.Model.from_config(config["config"], custom_objects={"Scale": scale_class(keras)})
    unused = set(arrays)
    for layer in model.layers:
        for weight in layer.weights:
            name = f"{layer.name}/{_role(layer, weight)}"
            weight.assign(arrays[name])
            unused.remove(name)
    if unused:
        raise ValueError(f"not in the model: {sorted(unused)}")
    return _predict(model, images)


def config_of(network: str, *arguments: Any, **options: Any) -> dict[str, Any]:
    """What tf_keras's ``get_config`` gives for a network."""
    keras = _library("tf_keras")
    keras.backend.clear_session()
    return NETWORKS[network](keras, *arguments, **options).get_config()


def shapes(network: str, *arguments: Any, **options: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every array of a network in Keras 3, by ``layer/role``."""
    model = NETWORKS[network](_library("keras"), *arguments, **options)
    return {
        f"{layer.name}/{_role(layer, weight)}": tuple(weight.shape)
        for layer in model.layers
        for weight in layer.weights
    }


def _library(name: str) -> Any:
    if name == "tf_keras":
        import tf_keras

        return tf_keras
    import keras

    return keras


def _fill(model: Any) -> None:
    """Numbers that leave the signal's size as it is, all different, statistics far from their start."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        for weight in layer.weights:
            shape, role = tuple(weight.shape), _role(layer, weight)
            if role == "kernel":
                value = generator.normal(0.0, np.sqrt(1.5 / np.prod(shape[:-1])), shape)
            elif role in ("gamma", "moving_variance"):
                value = generator.uniform(0.5, 1.5, shape)
            else:
                value = generator.normal(0.0, 0.2, shape)
            weight.assign(value.astype("float32"))


def _role(layer: Any, weight: Any) -> str:
    """``kernel`` of ``kernel``, ``conv1/kernel:0`` and ``conv1/conv1_kernel:0``."""
    return weight.name.split("/")[-1].split(":")[0].removeprefix(f"{layer.name}_")


def _predict(model: Any, images: np.ndarray) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 3 reads the one input of a Keras 2 config as a list of one
        outputs = model(images, training=False)
    return [np.asarray(output) for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def _cifar_v1(
    keras: Any, blocks: list[tuple[int, int, bool]], classes: int = 10, image: int = 32, pool: int = 8, stem: int = 16
) -> Any:
    """keras-team/keras examples/cifar10_resnet.py, v1; blocks are (first filters, second filters, projects)."""
    layers = keras.layers
    inputs = layers.Input((image, image, 3))
    x = layers.Conv2D(stem, 3, padding="same")(inputs)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    for first, second, projects in blocks:
        strides = 2 if projects else 1
        y = layers.Conv2D(first, 3, strides=strides, padding="same")(x)
        y = layers.Activation("relu")(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(second, 3, padding="same")(y))
        if projects:
            x = layers.Conv2D(second, 1, strides=strides, padding="same")(x)
        x = layers.Activation("relu")(layers.add([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(pool)(x))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def _cifar_v2(keras: Any, num_blocks: int, classes: int = 10, width: int = 16) -> Any:
    """keras-team/keras examples/cifar10_resnet.py, v2."""
    layers = keras.layers

    def norm_relu(x: Any) -> Any:
        return layers.Activation("relu")(layers.BatchNormalization()(x))

    inputs = layers.Input((32, 32, 3))
    x = norm_relu(layers.Conv2D(width, 3, padding="same")(inputs))
    narrow = width
    for stage in range(3):
        wide = narrow * (4 if stage == 0 else 2)
        for block in range(num_blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            y = x if stage == block == 0 else norm_relu(x)
            y = layers.Conv2D(narrow, 1, strides=strides, padding="same")(y)
            y = layers.Conv2D(narrow, 3, padding="same")(norm_relu(y))
            y = layers.Conv2D(wide, 1, padding="same")(norm_relu(y))
            if block == 0:
                x = layers.Conv2D(wide, 1, strides=strides, padding="same")(x)
            x = layers.add([x, y])
        narrow = wide
    x = layers.Flatten()(layers.AveragePooling2D(8)(norm_relu(x)))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def _preact(keras: Any, num_blocks: int, epsilon: float, momentum: float, activated: bool) -> Any:
    """one-pixel-attack-keras (``activated=False``) and cifar-10-cnn (``activated=True``)."""
    layers = keras.layers

    def norm_relu(x: Any) -> Any:
        return layers.Activation("relu")(layers.BatchNormalization(momentum=momentum, epsilon=epsilon)(x))

    inputs = layers.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    for stage, width in enumerate((8, 16, 32)):
        for block in range(num_blocks):
            increase = stage > 0 and block == 0
            o1 = norm_relu(x)
            y = layers.Conv2D(width, 3, strides=2 if increase else 1, padding="same")(o1)
            y = layers.Conv2D(width, 3, padding="same")(norm_relu(y))
            if increase:
                shortcut = layers.Conv2D(width, 1, strides=2, padding="same")(o1 if activated else x)
                x = layers.add([y, shortcut])
            else:
                x = layers.add([y, x] if activated else [x, y])
    x = layers.GlobalAveragePooling2D()(norm_relu(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def _plain(keras: Any, num_convs: int, width: int) -> Any:
    """Convolutions in a chain, without any shortcut: no ResNet."""
    layers = keras.layers
    inputs = layers.Input((32, 32, 3))
    x = inputs
    for _ in range(num_convs):
        x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x)))
    x = layers.Flatten()(layers.AveragePooling2D(32)(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def _normed_projection(keras: Any) -> Any:
    """Like the CIFAR example's v1, with a batch normalization on the projection."""
    layers = keras.layers
    inputs = layers.Input((32, 32, 3))
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(inputs)))
    y = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, padding="same")(x)))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(y))
    x = layers.BatchNormalization()(layers.Conv2D(16, 1, strides=2, padding="same")(x))
    x = layers.Flatten()(layers.AveragePooling2D(8)(layers.Activation("relu")(layers.add([x, y]))))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def _v1_for_two_pools(keras: Any) -> Any:
    """The CIFAR example's v1 with a max pooling behind the stem, which no shape shows."""
    layers = keras.layers
    inputs = layers.Input((64, 64, 3))
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(inputs)))
    x = layers.MaxPooling2D()(x)
    y = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, padding="same")(x)))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(y))
    x = layers.Conv2D(16, 1, strides=2, padding="same")(x)
    x = layers.Flatten()(layers.AveragePooling2D(16)(layers.Activation("relu")(layers.add([x, y]))))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def _application(keras: Any, name: str, **arguments: Any) -> Any:
    """keras.applications itself."""
    return getattr(keras.applications, name)(weights=None, **arguments)


def _small_application_v2(keras: Any, **arguments: Any) -> Any:
    """The library's own functions, fewer and narrower blocks."""
    if keras.__name__ == "keras":
        from keras.src.applications import resnet

        stack = resnet.stack_residual_blocks_v2
    else:
        from tf_keras.src.applications import resnet

        stack = resnet.stack2

    def stacks(x: Any) -> Any:
        x = stack(x, 8, 2, name="conv2")
        x = stack(x, 16, 3, name="conv3")
        return stack(x, 32, 2, stride1=1, name="conv4")

    names = {"model_name": "small"} if keras.__name__ == "tf_keras" else {"name": "small"}
    return resnet.ResNet(stacks, True, True, weights=None, **names, **arguments)


def _keras_hub(keras: Any, basic: bool, counts: tuple[int, ...], width: int = 8, classes: int | None = None) -> Any:
    """keras_hub ResNetBackbone, v1; the classifier in one model with it."""
    layers = keras.layers

    def conv_norm(x: Any, filters: int, kernel: int, strides: int, name: str) -> Any:
        padding = "same" if kernel == 3 and strides == 1 else "valid"
        x = layers.Conv2D(filters, kernel, strides=strides, padding=padding, use_bias=False, name=f"{name}_conv")(x)
        return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")(x)

    inputs = layers.Input((None, None, 3))
    x = conv_norm(layers.ZeroPadding2D(3, name="conv1_pad")(inputs), width, 7, 2, "conv1")
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(layers.ZeroPadding2D(1, name="pool1_pad")(x))
    for stack, count in enumerate(counts):
        filters = width * 2**stack
        for block in range(count):
            name = f"stack{stack}_block{block}"
            strides = 2 if stack > 0 and block == 0 else 1
            shortcut = x
            if block == 0 and (stack > 0 or not basic):
                shortcut = conv_norm(x, filters if basic else 4 * filters, 1, strides, f"{name}_0")
            middle = 1 if basic else 2
            if not basic:
                x = layers.Activation("relu", name=f"{name}_1_relu")(conv_norm(x, filters, 1, 1, f"{name}_1"))
            if strides == 2:
                x = layers.ZeroPadding2D(1, name=f"{name}_{middle}_pad")(x)
            x = conv_norm(x, filters, 3, strides, f"{name}_{middle}")
            x = layers.Activation("relu", name=f"{name}_{middle}_relu")(x)
            last = (filters, 3) if basic else (4 * filters, 1)
            x = conv_norm(x, *last, 1, f"{name}_{middle + 1}")
            x = layers.Add(name=f"{name}_add")([shortcut, x])
            x = layers.Activation("relu", name=f"{name}_out")(x)
    if classes:
        x = layers.Dense(classes, name="predictions")(layers.GlobalAveragePooling2D(name="pooler")(x))
    return keras.Model(inputs, x)


def _qubvel(
    keras: Any, basic: bool, counts: tuple[int, ...], width: int = 8, classes: int | None = None, late: bool = False
) -> Any:
    """qubvel/classification_models; ``late``: the shortcut's convolution is built last, as its first version did."""
    layers = keras.layers

    def norm(x: Any, name: str, scale: bool = True) -> Any:
        return layers.BatchNormalization(axis=3, momentum=0.99, epsilon=2e-5, scale=scale, name=name)(x)

    def conv(x: Any, filters: int, kernel: int, strides: int, name: str) -> Any:
        return layers.Conv2D(filters, kernel, strides=strides, use_bias=False, name=name)(x)

    size = 224 if classes else None
    inputs = layers.Input((size, size, 3), name="data")
    x = layers.ZeroPadding2D(3)(norm(inputs, "bn_data", scale=False))
    x = layers.Activation("relu", name="relu0")(norm(conv(x, width, 7, 2, "conv0"), "bn0"))
    x = layers.MaxPooling2D(3, strides=2, name="pooling0")(layers.ZeroPadding2D(1)(x))
    for stage, count in enumerate(counts):
        filters = width * 2**stage
        wide = filters if basic else 4 * filters
        for block in range(count):
            name = f"stage{stage + 1}_unit{block + 1}_"
            strides = 2 if stage > 0 and block == 0 else 1
            plan = [(filters, 3, strides), (filters, 3, 1)] if basic else []
            plan = plan or [(filters, 1, 1), (filters, 3, strides), (wide, 1, 1)]
            shortcut = x
            for number, (n, kernel, step) in enumerate(plan, start=1):
                x = layers.Activation("relu", name=f"{name}relu{number}")(norm(x, f"{name}bn{number}"))
                if block == 0 and number == 1:
                    activated = x
                    shortcut = None if late else conv(activated, wide, 1, strides, f"{name}sc")
                if kernel == 3:
                    x = layers.ZeroPadding2D(1)(x)
                x = conv(x, n, kernel, step, f"{name}conv{number}")
            if shortcut is None:
                shortcut = conv(activated, wide, 1, strides, f"{name}sc")
            x = layers.Add()([x, shortcut])
    x = layers.Activation("relu", name="relu1")(norm(x, "bn1"))
    if classes:
        x = layers.Dense(classes, name="fc1")(layers.GlobalAveragePooling2D(name="pool1")(x))
        x = layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, x)


def _cnn_finetune(
    keras: Any, counts: tuple[int, ...] = (2, 1, 1, 1), width: int = 4, classes: int | None = 5, top: str = "fc1000"
) -> Any:
    """flyyufelix/cnn_finetune's ResNet-101 and -152; without a top adamcasson/resnet152's."""
    layers = keras.layers

    def conv(x: Any, filters: int, kernel: int, strides: int, branch: str) -> Any:
        x = layers.Conv2D(filters, kernel, strides=strides, use_bias=False, name=f"res{branch}")(x)
        return norm_scale(x, branch)

    def norm_scale(x: Any, branch: str) -> Any:
        x = layers.BatchNormalization(epsilon=1.1e-5, axis=3, name=f"bn{branch}")(x)
        return scale_class(keras)(axis=3, name=f"scale{branch}")(x)

    def relu(x: Any, name: str) -> Any:
        return layers.Activation("relu", name=f"{name}_relu")(x)

    inputs = layers.Input((224, 224, 3) if classes else (None, None, 3), name="data")
    x = layers.ZeroPadding2D(3, name="conv1_zeropadding")(inputs)
    x = layers.Conv2D(width, 7, strides=2, use_bias=False, name="conv1")(x)
    x = relu(norm_scale(x, "_conv1"), "conv1")
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for stage, count in enumerate(counts, start=2):
        filters = width * 2 ** (stage - 2)
        for block in range(count):
            label = f"{stage}{'a' if block == 0 else f'b{block}' if stage in (3, 4) else 'abc'[block]}"
            strides = 2 if block == 0 and stage > 2 else 1
            y = relu(conv(x, filters, 1, strides, f"{label}_branch2a"), f"res{label}_branch2a")
            y = layers.ZeroPadding2D(1, name=f"res{label}_branch2b_zeropadding")(y)
            y = relu(conv(y, filters, 3, 1, f"{label}_branch2b"), f"res{label}_branch2b")
            y = conv(y, 4 * filters, 1, 1, f"{label}_branch2c")
            shortcut = conv(x, 4 * filters, 1, strides, f"{label}_branch1") if block == 0 else x
            x = relu(layers.add([y, shortcut], name=f"res{label}"), f"res{label}")
    x = layers.AveragePooling2D(7, name="avg_pool")(x)
    if classes:
        x = layers.Dense(classes, activation="softmax", name=top)(layers.Flatten()(x))
    return keras.Model(inputs, x)


def _alpha_zero(keras: Any, board: tuple[int, int] = (6, 7), num_blocks: int = 2, filters: int = 8) -> Any:
    """Zeta36/connect4-alpha-zero."""
    layers = keras.layers

    def conv_norm(x: Any, n: int, kernel: int, padding: str) -> Any:
        x = layers.Conv2D(n, kernel, padding=padding, data_format="channels_first")(x)
        return layers.BatchNormalization(axis=1)(x)

    inputs = layers.Input((2, *board))
    x = layers.Activation("relu")(conv_norm(inputs, filters, 3, "same"))
    for _ in range(num_blocks):
        y = layers.Activation("relu")(conv_norm(x, filters, 3, "same"))
        x = layers.Activation("relu")(layers.Add()([x, conv_norm(y, filters, 3, "same")]))
    tower = x
    x = layers.Flatten()(layers.Activation("relu")(conv_norm(tower, 2, 1, "valid")))
    policy = layers.Dense(board[1], activation="softmax", name="policy_out")(x)
    x = layers.Flatten()(layers.Activation("relu")(conv_norm(tower, 1, 1, "valid")))
    x = layers.Dense(16, activation="relu")(x)
    return keras.Model(inputs, [policy, layers.Dense(1, activation="tanh", name="value_out")(x)])


NETWORKS: Mapping[str, Callable[..., Any]] = {
    "cifar-v1": _cifar_v1,
    "cifar-v2": _cifar_v2,
    "preact": _preact,
    "application": _application,
    "small-v2": _small_application_v2,
    "keras-hub": _keras_hub,
    "qubvel": _qubvel,
    "cnn-finetune": _cnn_finetune,
    "alpha-zero": _alpha_zero,
    "plain": _plain,
    "normed-projection": _normed_projection,
    "max-pooled": _v1_for_two_pools,
}
