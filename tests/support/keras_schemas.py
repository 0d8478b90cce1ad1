"""Configs in the schema of the other Keras, loaded by it: functions to call through ``keras_side``.

Imports of Keras stand inside, since pytest's own process imports this module to name the functions.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import keras_layers
import keras_random_models
import keras_unweighted_layers
import numpy as np
from keras_floatx import floatx

from weight_transfer.keras_schema.layers import LAYER_ROWS

OTHER = {"keras": "tf_keras", "tf_keras": "keras"}
SCHEMAS = {"keras": "keras3", "tf_keras": "keras2"}
CONTAINERS = (".keras", ".h5")
COMMON_ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softmax", "log_softmax",
    "softplus", "softsign", "sigmoid", "tanh", "exponential",
)  # fmt: skip


@dataclass(frozen=True)
class Behaviour:
    """What a model does with its inputs.

    Attributes:
        predicted: Outputs of `predict`, a dict's by sorted key.
        trained: Outputs of ``model(x, training=True)``.
        learning: Every variable that learns, by path and role.
        arrays: Every array after it.
        losses: The sum of `model.losses` if all of it learned: of what is frozen, Keras 3 counts none and tf_keras all.
    """

    predicted: list[np.ndarray]
    trained: list[np.ndarray]
    learning: list[str]
    arrays: dict[str, np.ndarray]
    losses: float


@dataclass(frozen=True)
class Written:
    """What one Keras has of a model.

    Attributes:
        configs: By container, as it writes them, where it can.
        dtype: In which the model was built.
        inputs: Seeded.
        arrays: By path and role, in Keras 3's words.
        behaviour: Of the model.
    """

    configs: dict[str, dict[str, Any]]
    dtype: str
    inputs: list[np.ndarray]
    arrays: dict[str, np.ndarray]
    behaviour: Behaviour


def drawn(library: str, seeds: Sequence[int]) -> list[Written]:
    """Builds random networks with activations that both have; see `keras_random_models`."""
    keras = __import__(library)
    found = []
    for seed in seeds:
        keras.backend.clear_session()
        activations = mock.patch.object(keras_random_models, "ACTIVATIONS", COMMON_ACTIVATIONS)
        with activations, tempfile.TemporaryDirectory() as folder:
            model, dtype, inputs, _ = keras_random_models.usable(keras, seed, Path(folder))
            found.append(_written(keras, model, dtype, inputs, Path(folder)))
    return found


def _mixed(keras: Any) -> Any:
    """Layers of several precisions, a model within the model among them."""
    layers = keras.layers
    image = layers.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, activation="relu", dtype="mixed_float16", name="conv")(image)
    inside = layers.Input((6, 6, 4), dtype="float16", name="inside")
    norm = layers.BatchNormalization(dtype="mixed_float16", name="norm")
    x = keras.Model(inside, norm(inside), name="inner")(x)
    x = layers.GlobalAveragePooling2D(dtype="mixed_float16", name="pool")(x)
    return keras.Model(image, layers.Dense(2, activation="softmax", dtype="float32", name="head")(x))


def _transfer(keras: Any) -> Any:
    """A frozen base with batch norms, called in inference mode as Keras's guide says, under a head."""
    layers = keras.layers
    image = layers.Input((8, 8, 3), name="inner_image")
    x = layers.BatchNormalization(momentum=0.8, name="norm")(layers.Conv2D(4, 3, name="conv")(image))
    base = keras.Model(image, layers.ReLU(6.0, name="relu")(x), name="base")
    base.trainable = False
    image = layers.Input((8, 8, 3), name="image")
    x = layers.GlobalMaxPooling2D(name="pool")(base(layers.Rescaling(0.5, -1.0, name="scale")(image), training=False))
    return keras.Model(image, layers.Dense(2, name="head")(x))


def _constrained(keras: Any) -> Any:
    """Constraints of each kind, and penalties on weights and outputs; that of an activation tf_keras does not save."""
    constraints, layers, regularizers = keras.constraints, keras.layers, keras.regularizers
    image = layers.Input((8, 8, 3), name="image")
    kernel = {"kernel_constraint": constraints.MaxNorm(1.5, axis=[0, 1, 2]), "bias_constraint": constraints.NonNeg()}
    x = layers.Conv2D(4, 3, activity_regularizer=regularizers.L1L2(0.01, 0.02), name="conv", **kernel)(image)
    x = layers.BatchNormalization(gamma_constraint=constraints.MinMaxNorm(0.5, 1.5, 0.75, axis=0), name="norm")(x)
    penalized = {"activity_regularizer": regularizers.L2(0.03)} if keras.__name__ == "keras" else {}
    x = layers.Flatten(name="flatten")(layers.ReLU(name="relu", **penalized)(x))
    matrix = {"kernel_constraint": constraints.UnitNorm(axis=1), "kernel_regularizer": regularizers.L1(0.01)}
    return keras.Model(image, layers.Dense(2, name="head", **matrix)(x))


SPECIAL: Mapping[str, Callable[[Any], Any]] = {
    "mixed": _mixed,
    "transfer": _transfer,
    "constrained": _constrained,
}


def constrained(library: str, container: str, config: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The constraints and regularizers of a model: layer, argument, class and arguments."""
    __import__(library).backend.clear_session()
    model = LOADERS[library, container](copy.deepcopy(config))
    found = []
    for layer in keras_random_models._flat(model):
        for key, value in layer.get_config().items():
            if key.endswith(("_constraint", "_regularizer")) and value is not None:
                given = {name: _rounded(item) for name, item in value["config"].items()}
                found.append((layer.name, key, value["class_name"], json.dumps(given, sort_keys=True, default=list)))
    return sorted(found)


def _rounded(value: Any) -> Any:
    """Keras 3 holds factors in float32."""
    return float(np.float32(value)) if isinstance(value, float) else value


def built(library: str, module: str, table: str) -> list[Written]:
    """Builds the models of a table of functions, with random weights, in float32."""
    keras = __import__(library)
    found = []
    for seed, build in enumerate(getattr(importlib.import_module(module), table).values()):
        keras.backend.clear_session()
        model = build(keras)
        keras_random_models.weigh(model, seed)
        rng = np.random.default_rng(seed)
        inputs = [rng.normal(size=(3, *x.shape[1:])).astype("float32") for x in model.inputs]
        with tempfile.TemporaryDirectory() as folder:
            found.append(_written(keras, model, "float32", inputs, Path(folder)))
    return found


def _written(keras: Any, model: Any, dtype: str, inputs: list[np.ndarray], folder: Path) -> Written:
    configs = {}
    for container in CONTAINERS:
        path = folder / f"model{container}"
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                model.save(path)
            except TypeError:  # tf_keras writes no Ellipsis into a .keras file
                continue
        configs[container] = config_in(path)
    arrays = _arrays(model)
    behaviour = _behaviour(keras, model, dtype, inputs, arrays, next(iter(configs.items())))
    return Written(configs, dtype, inputs, arrays, behaviour)


@dataclass(frozen=True)
class Layer:
    """One layer as a model.

    Attributes:
        config: The model's.
        arrays: By path and role, in Keras 3's words.
        inputs: Seeded.
        output: Of the model in inference; None where TensorFlow cannot compute it on a CPU.
    """

    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    inputs: list[np.ndarray]
    output: np.ndarray | None


def weighted(library: str, cases: Sequence[keras_layers.Case]) -> list[Layer | None]:
    """Builds layers with arrays; None where this Keras refuses one."""
    __import__(library).backend.clear_session()
    found: list[Layer | None] = []
    for seed, case in enumerate(cases):
        rng = np.random.default_rng(seed)
        try:
            model, layer = keras_layers._model(library, case, "float64")
        except Exception:  # whatever this Keras raises
            found.append(None)
            continue
        layer.set_weights([keras_layers._random(rng, keras_layers._name(one), one.shape) for one in layer.weights])
        found.append(_layer(model, [rng.normal(size=(2, *case.in_shape))], case.data_format))
    return found


def unweighted(library: str, cases: Sequence[keras_unweighted_layers.Case]) -> list[Layer]:
    """Builds layers without arrays, and operations."""
    answers = keras_unweighted_layers.answer(library, cases)
    return [
        Layer(
            answer["config"], {}, answer["inputs"], None if case.data_format == "channels_first" else answer["output"]
        )
        for case, answer in zip(cases, answers, strict=True)
    ]


def _layer(model: Any, inputs: list[np.ndarray], data_format: str) -> Layer:
    _finalize(model)
    output = None if data_format == "channels_first" else np.asarray(model(inputs[0], training=False))
    return Layer(json.loads(model.to_json()), _arrays(model), inputs, output)


def computed(library: str, container: str, layers: Sequence[Layer]) -> list[np.ndarray | str | None]:
    """Builds models from their configs, and runs those whose output is known; a text where this Keras refuses one."""
    __import__(library).backend.clear_session()
    found: list[np.ndarray | str | None] = []
    for layer in layers:
        try:
            model = _filled(library, container, layer.config, layer.arrays)
            fed = layer.inputs if len(layer.inputs) > 1 else layer.inputs[0]
            found.append(None if layer.output is None else np.asarray(model(fed, training=False)))
        except Exception as error:  # whatever this Keras raises
            found.append(f"{type(error).__name__}: {error}")
    return found


def learning(library: str, container: str, config: dict[str, Any]) -> list[str]:
    """What a model trains, as ``layer/variable``."""
    __import__(library).backend.clear_session()
    model = LOADERS[library, container](copy.deepcopy(config))
    names = [getattr(variable, "path", variable.name).partition(":")[0] for variable in model.trainable_variables]
    return sorted("/".join(name.split("/")[-2:]) for name in names)


def signatures(library: str) -> dict[str, dict[str, Any]]:
    """The arguments of each layer class of the table, with their defaults, as JSON holds them."""
    keras = __import__(library)
    found = {}
    for name in LAYER_ROWS:
        cls = getattr(keras.layers, name, None)
        if cls is not None:
            parameters = inspect.signature(cls.__init__).parameters.values()
            named = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]
            found[name] = {one.name: None if one.default is one.empty else one.default for one in named}
    return found


def config_in(path: Path) -> dict[str, Any]:
    """The model config of a file."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])


def loaded(library: str, container: str, requests: Sequence[tuple[dict[str, Any], Written]]) -> list[Behaviour | str]:
    """Has a Keras build models from configs, as its loader of that container does, and gives them the arrays.

    Returns:
        For each what the model does, or why this Keras does not build it.
    """
    keras = __import__(library)
    found: list[Behaviour | str] = []
    for config, written in requests:
        keras.backend.clear_session()
        try:
            model = _filled(library, container, config, written.arrays)
            form = (container, config)
            found.append(_behaviour(keras, model, written.dtype, written.inputs, written.arrays, form))
        except Exception as error:  # whatever this Keras raises
            found.append(f"{type(error).__name__}: {error}")
    return found


def _filled(library: str, container: str, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """A model that a Keras builds from a config, with these arrays."""
    model = LOADERS[library, container](copy.deepcopy(config))
    variables = _variables(model)
    if variables.keys() != arrays.keys():
        raise ValueError(f"arrays {sorted(variables)}, expected {sorted(arrays)}")
    for path, variable in variables.items():
        variable.assign(arrays[path])
    _finalize(model)
    return model


def _finalize(model: Any) -> None:
    """Has Normalization compute with the arrays that it was given."""
    for layer in keras_random_models._flat(model):
        if type(layer).__name__ == "Normalization":
            layer.finalize_state()


def _of_keras_3_archive(config: dict[str, Any]) -> Any:
    import keras

    return keras.saving.deserialize_keras_object(config)


def _of_keras_3_h5(config: dict[str, Any]) -> Any:
    from keras.src.legacy.saving import saving_options, saving_utils

    with saving_options.keras_option_scope(use_legacy_config=True):
        return saving_utils.model_from_config(config)


def _of_tf_keras_archive(config: dict[str, Any]) -> Any:
    import tf_keras

    return tf_keras.saving.deserialize_keras_object(config)


def _of_tf_keras_h5(config: dict[str, Any]) -> Any:
    from tf_keras.src.saving.legacy import model_config

    return model_config.model_from_config(config)


LOADERS: Mapping[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
    ("keras", ".keras"): _of_keras_3_archive,
    ("keras", ".h5"): _of_keras_3_h5,
    ("tf_keras", ".keras"): _of_tf_keras_archive,
    ("tf_keras", ".h5"): _of_tf_keras_h5,
}


def _variables(model: Any) -> dict[str, Any]:
    """By path and role; what Keras 2 calls the kernel of a depthwise convolution by Keras 3's name."""
    found = keras_random_models.variables(model)
    renamed = {}
    for path, variable in found.items():
        layer, _, role = path.rpartition("/")
        alone = role == "depthwise_kernel" and f"{layer}/pointwise_kernel" not in found
        renamed[f"{layer}/kernel" if alone else path] = variable
    return renamed


def _arrays(model: Any) -> dict[str, np.ndarray]:
    return {path: np.array(variable) for path, variable in _variables(model).items()}


def _behaviour(
    keras: Any,
    model: Any,
    dtype: str,
    inputs: list[np.ndarray],
    arrays: dict[str, np.ndarray],
    form: tuple[str, dict[str, Any]],
) -> Behaviour:
    import tensorflow as tf

    listed = keras_random_models.listed
    fed = tf.nest.pack_sequence_as(model.input, inputs) if len(inputs) > 1 else inputs[0]
    tensors = tf.nest.map_structure(tf.constant, fed)
    with floatx(keras, dtype):
        predicted = [np.asarray(y) for y in listed(model.predict_on_batch(fed))]
        trained = [np.asarray(y) for y in listed(model(tensors, training=True))]
        names = {id(variable): path for path, variable in _variables(model).items()}
        learning = sorted(names[id(variable)] for variable in model.trainable_variables)
        after = _arrays(model)
        for path, variable in _variables(model).items():
            variable.assign(arrays[path])
        learns = model
        if _learning(form[1]) != form[1]:
            learns = _filled(keras.__name__, form[0], _learning(form[1]), arrays)
        learns(tensors, training=False)
        losses = float(sum(float(np.asarray(loss)) for loss in learns.losses))
    return Behaviour(predicted, trained, learning, after, losses)


def _learning(config: Any) -> Any:
    """A config in which everything learns."""
    if isinstance(config, dict):
        return {key: True if key == "trainable" else _learning(item) for key, item in config.items()}
    return [_learning(item) for item in config] if isinstance(config, list) else config
