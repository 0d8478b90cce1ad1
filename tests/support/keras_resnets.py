"""ResNets that real Keras builds, seeds and saves: functions to call through ``keras_side``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np


def twin(path: Path, *, seed: int = 0, dtype: str = "float32", **arguments: Any) -> Path:
    """Saves `resnet_keras.create_resnet(**arguments)` with seeded weights: ``.h5`` or ``.keras`` with its model."""
    import keras

    from resnet_keras import create_resnet
    from resnet_keras.random_weights import seed_weights

    keras.backend.clear_session()
    keras.config.set_dtype_policy(dtype)
    try:
        return _save(seed_weights(create_resnet(**arguments), seed=seed), path)
    finally:
        keras.config.set_dtype_policy("float32")


def application(path: Path, name: str, **arguments: Any) -> Path:
    """Saves a network of keras.applications with seeded weights; weights only where the name says ``weights``."""
    import keras

    from resnet_keras.random_weights import seed_weights

    keras.backend.clear_session()
    return _save(seed_weights(getattr(keras.applications, name)(weights=None, **arguments)), path)


def nested_application(path: Path, in_shape: tuple[int, int, int], num_frozen: int) -> Path:
    """Saves the tutorial's second model: keras.applications' ResNet50 without its top, frozen in part, and its head."""
    import keras
    from keras import layers

    from resnet_keras.random_weights import seed_weights

    keras.backend.clear_session()
    backbone = keras.applications.ResNet50(weights=None, include_top=False, input_shape=in_shape)
    for layer in backbone.layers[:num_frozen]:
        layer.trainable = False
    image = keras.Input(in_shape)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(backbone(image))
    x = layers.Dense(20, activation="relu", name="fc_01")(layers.Dropout(0.5)(x))
    x = layers.Dense(10, activation="softmax", name="fc_final")(layers.Dropout(0.5)(x))
    return _save(seed_weights(keras.Model(image, x)), path)


def everywhere(folder: Path, *, nested: bool) -> dict[str, Path]:
    """Saves one small ResNet's weights by Keras 3 and by tf_keras, in every container that each writes."""
    import keras

    from resnet_keras import create_resnet
    from resnet_keras.random_weights import seed_weights

    arguments = {"dialect": "keras-applications", "block_counts": (2, 1), "filters": ((4, 4, 16), (8, 8, 32))}
    arrays = _by_layer(seed_weights(create_resnet((33, 33, 3), 5, stem_filters=4, **arguments)))
    files: dict[str, Path] = {}
    for module in (keras, _tf_keras()):
        model = _small(module, nested)
        for name, layer in _layers(model).items():
            if name in arrays:
                layer.set_weights(arrays[name])
        files |= _save_everywhere(folder, module, model, nested)
    return files


def preprocessed(images: np.ndarray, mode: str) -> np.ndarray:
    """What keras.applications makes of images in 0..255."""
    import keras

    return keras.applications.imagenet_utils.preprocess_input(images.astype("float32"), mode=mode)


def layer_order(**arguments: Any) -> list[tuple[str, str, tuple[int | None, ...]]]:
    """Name, class and output shape of each layer of the Keras twin, in Keras's order."""
    import keras

    from resnet_keras import create_resnet

    keras.backend.clear_session()
    model = create_resnet(**arguments)
    return [(layer.name, type(layer).__name__, tuple(layer.output.shape[1:])) for layer in model.layers]


def application_layers(name: str) -> list[str]:
    """Names of the layers of a network of keras.applications, in Keras's order."""
    import keras

    return [layer.name for layer in getattr(keras.applications, name)(weights=None).layers]


def initial_weights(**arguments: Any) -> dict[str, np.ndarray]:
    """The Keras twin's weights as Keras starts them."""
    from resnet_keras import create_resnet

    model = create_resnet(**arguments)
    return {weight.path: weight.numpy() for weight in model.weights}


def _save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        if "weights" in path.name and not path.name.endswith(".weights.h5"):
            from keras_checkpoints import save_legacy_weights

            save_legacy_weights(model, str(path))
        elif "weights" in path.name:
            model.save_weights(path)
        else:
            model.save(path)
    return path


def _tf_keras() -> Any:
    import tf_keras

    return tf_keras


def _small(module: Any, nested: bool) -> Any:
    """Two stages in keras.applications' names, by either Keras; nested: the backbone frozen in part, a head outside."""
    image = module.layers.Input((33, 33, 3))
    features = _backbone(module, image)
    if nested:
        backbone = module.Model(image, features, name="backbone")
        for layer in backbone.layers[:9]:
            layer.trainable = False
        image = module.layers.Input((33, 33, 3))
        features = backbone(image)
    x = module.layers.GlobalAveragePooling2D(name="avg_pool")(features)
    return module.Model(image, module.layers.Dense(5, activation="softmax", name="predictions")(x))


def _backbone(module: Any, x: Any) -> Any:
    """The network of `everywhere`, written out once more, since `resnet_keras` builds in Keras 3 alone."""
    layers = module.layers

    def conv_norm(x: Any, name: str, filters: int, kernel: int = 1, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, kernel, strides=strides, padding="same", name=f"{name}_conv")(x)
        return layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn")(x)

    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(4, 7, strides=2, name="conv1_conv")(x)
    x = layers.Activation("relu")(layers.BatchNormalization(epsilon=1.001e-5, name="conv1_bn")(x))
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(layers.ZeroPadding2D(1, name="pool1_pad")(x))
    for stage, block, width, strides in ((2, 1, 4, 1), (2, 2, 4, 1), (3, 1, 8, 2)):
        name = f"conv{stage}_block{block}"
        shortcut = conv_norm(x, f"{name}_0", 4 * width, strides=strides) if block == 1 else x
        y = layers.Activation("relu")(conv_norm(x, f"{name}_1", width, strides=strides))
        y = layers.Activation("relu")(conv_norm(y, f"{name}_2", width, kernel=3))
        y = conv_norm(y, f"{name}_3", 4 * width)
        x = layers.Activation("relu")(layers.Add()([shortcut, y]))
    return x


def _save_everywhere(folder: Path, module: Any, model: Any, nested: bool) -> dict[str, Path]:
    stem = f"{module.__name__}_{'nested' if nested else 'flat'}"
    files = {f"{stem} {suffix}": folder / f"{stem}{suffix}" for suffix in (".h5", ".weights.h5", ".keras")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(files[f"{stem} .h5"])
        model.save(files[f"{stem} .keras"])
        model.save_weights(files[f"{stem} .weights.h5"])
        if module.__name__ == "keras":
            files[f"{stem} sharded"] = folder / f"{stem}_sharded.weights.json"
            model.save_weights(files[f"{stem} sharded"], max_shard_size=2e-5)
    return files


def _layers(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for layer in model.layers:
        found |= _layers(layer) if hasattr(layer, "layers") else {layer.name: layer}
    return found


def _by_layer(model: Any) -> dict[str, list[np.ndarray]]:
    return {name: layer.get_weights() for name, layer in _layers(model).items() if layer.get_weights()}
