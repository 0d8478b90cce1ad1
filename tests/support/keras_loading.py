"""What real Keras makes of a configuration or a file: functions to call through ``keras_side``.

Imports of Keras stand inside, since pytest's own process imports this module to name the functions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def rebuilt(config: dict[str, Any]) -> dict[str, Any]:
    """What Keras 3 builds from a configuration: the model's name and, layer by layer in its order, what it sees."""
    import keras

    model = keras.models.model_from_json(json.dumps(config))
    keras.backend.clear_session()
    return {
        "name": model.name,
        "single_output": not isinstance(model.output, list),
        "layers": [
            {
                "name": layer.name,
                "class_name": type(layer).__name__,
                "out_shape": tuple(layer.output.shape[1:]),
                "weights": {weight.name: tuple(weight.shape) for weight in layer.weights},
            }
            for layer in model.layers
        ],
    }


def own_config(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each layer's arguments as Keras 3 itself gives them back, by layer name."""
    import keras

    model = keras.models.model_from_json(json.dumps(config))
    return {layer["name"]: layer["config"] for layer in json.loads(model.to_json())["config"]["layers"]}


def loaded_model(path: Path) -> dict[str, np.ndarray]:
    """Weights of the model that Keras 3 loads from a file that holds all of it."""
    import keras

    return _weights(keras.saving.load_model(path))


def loaded_weights(path: Path, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Weights of the configuration's model once Keras 3 has loaded the file into it."""
    import keras

    model = keras.models.model_from_json(json.dumps(config))
    model.load_weights(path)
    return _weights(model)


def loaded_keras_2_model(path: Path) -> dict[str, np.ndarray]:
    """Weights of the model that Keras 2 (tf_keras) loads."""
    import tf_keras

    return _weights(tf_keras.models.load_model(path))


def loaded_keras_2_weights(path: Path, model_path: Path) -> dict[str, np.ndarray]:
    """Weights of the model of one file once Keras 2 has loaded another's weights into it, by layer name."""
    import tf_keras

    model = tf_keras.models.load_model(model_path)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    model.load_weights(path, by_name=True)
    return _weights(model)


def predictions(path: Path, image: np.ndarray) -> np.ndarray:
    """What the loaded model predicts."""
    import keras

    return keras.saving.load_model(path)(image).numpy()


def keras_2_predictions(path: Path, image: np.ndarray) -> np.ndarray:
    """What the model that Keras 2 loads predicts."""
    import tf_keras

    return tf_keras.models.load_model(path)(image).numpy()


def saved_file(path: Path, config: dict[str, Any]) -> None:
    """Lets Keras 3 write the configuration's model itself."""
    import keras

    model = keras.models.model_from_json(json.dumps(config))
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)


def _weights(model: Any) -> dict[str, np.ndarray]:
    return {
        f"{layer.name}/{weight.name.split('/')[-1].removesuffix(':0')}": weight.numpy()
        for layer in model.layers
        for weight in layer.weights
    }
