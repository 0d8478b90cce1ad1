"""References as real Keras loads them, and the files to try: functions to call through ``keras_side``.

Imports of Keras stand inside, since pytest's own process imports this module to name the functions.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import keras_checkpoints
import numpy as np

BOTH = ("keras", "tf_keras")
SUFFIXES = {"legacy-h5": ".h5", "keras-zip": ".keras"}
TOLERANCE = 1e-5  # of the peak; two Kerases differ by at most 8.1e-7 on the real files


@dataclass(frozen=True)
class Loaded:
    """Attributes:
    loaded_by: As `Reference.loaded_by`.
    outputs: What the model gives for the inputs.
    leftovers: What the loading left in the folder of temporary files.
    """

    loaded_by: str
    outputs: np.ndarray
    leftovers: list[str]


@dataclass(frozen=True)
class Written:
    """Attributes:
    files: Path by container.
    inputs: Seeded, two examples.
    outputs: What the model gave for them before it was saved.
    """

    files: dict[str, Path]
    inputs: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True)
class Rebuilt:
    """Attributes:
    loaded: What the loaded model gives for the inputs, in float32; None for inputs of another size.
    outputs: What the rebuilt one gives: ``tap``, its first output or the logits of that; ``output``.
    """

    loaded: np.ndarray | None
    outputs: dict[str, np.ndarray]


def edited(path: Path, target: Path, change: Callable[[dict[str, Any]], None], attribute: str = "model_config") -> Path:
    """Copies a full-model file with its config (or another JSON attribute of an .h5) changed in place."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as original, zipfile.ZipFile(target, "w") as copied:
            for name in original.namelist():
                content = original.read(name)
                if name == "config.json":
                    config = json.loads(content)
                    change(config)
                    content = json.dumps(config).encode()
                copied.writestr(name, content)
        return target
    shutil.copyfile(path, target)
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs[attribute])
        change(config)
        file.attrs[attribute] = json.dumps(config)
    return target


def layers_of(config: dict[str, Any], *class_names: str) -> Iterator[dict[str, Any]]:
    """The layers of these classes in a model's config; what is changed in them is changed there."""
    return (layer for layer in config["config"]["layers"] if layer["class_name"] in class_names)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within float32's rounding, as two Kerases or two precisions may differ."""
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max()


def load(path: Path, inputs: np.ndarray, families: Sequence[str] = BOTH, without: str = "") -> Loaded:
    """Calls `load_reference` as if only these Kerases were installed, and there were no repair ``without``."""
    from resnet_keras import compatibility, reference

    rows = tuple(row for row in compatibility.REPAIRS if row.name != without)
    modules = [keras_checkpoints._family(family) for family in families]
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(tempfile, "tempdir", folder),
        mock.patch.object(reference, "_keras_modules", return_value=modules),
        mock.patch.object(compatibility, "REPAIRS", rows),
        _silent(),
    ):
        loaded = reference.load_reference(path)
        leftovers = [item.name for item in Path(folder).iterdir()]
    outputs = np.asarray(loaded.model(inputs, training=False))
    return Loaded(loaded.loaded_by, outputs, leftovers)


def built(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], inputs: np.ndarray) -> Loaded:
    """Calls `reference_from_config`."""
    from resnet_keras import reference

    with _silent():
        found = reference.reference_from_config(config, arrays)
    return Loaded(found.loaded_by, np.asarray(found.model(inputs, training=False)), [])


def rebuilt(
    path: Path, inputs: np.ndarray, dtype: str = "float64", last_activation: str | None = None, free_size: bool = False
) -> Rebuilt:
    """Loads a model, rebuilds it, and runs both."""
    from resnet_keras import rebuilt_model, reference
    from weight_transfer.graph import read_graph

    with _silent():
        loaded = reference.load_reference(path)
    graph = read_graph({"class_name": type(loaded.model).__name__, "config": loaded.model.get_config()})
    last_activations = [last_activation, *(None for _ in graph.outputs[1:])]
    model = rebuilt_model.rebuild(loaded, graph, dtype, last_activations, free_size=free_size)
    outputs: dict[str, np.ndarray] = {}

    def note(value: str, tensor: Any, finish: Any) -> Any:
        if value == graph.outputs[0]:
            finished = tensor if finish is None else finish(tensor)
            outputs.update(tap=np.asarray(tensor), output=np.asarray(finished))
        return tensor

    model.run([inputs], note)
    expected = inputs if loaded.model.inputs[0].shape[1:] == inputs.shape[1:] else None
    return Rebuilt(np.asarray(loaded.model(inputs, training=False)) if expected is not None else None, outputs)


def constants(values: Sequence[Any], tensors: Sequence[np.ndarray]) -> list[Any]:
    """What `rebuilt_model` makes of the constants of a call as real Keras 3 writes them; of a tensor, its array."""
    import keras

    from resnet_keras import rebuilt_model

    given = [*values, *map(keras.ops.convert_to_tensor, tensors)]
    texts = [json.dumps(keras.saving.serialize_keras_object(value)) for value in given]
    found = [rebuilt_model._constant(keras, json.loads(text)) for text in texts]
    assert all(keras.ops.is_tensor(value) for value in found[len(values) :])
    return [np.asarray(value) if keras.ops.is_tensor(value) else value for value in found]


def check_classes(config: dict[str, Any]) -> None:
    """Calls `check_classes`."""
    from resnet_keras import allowlist

    allowlist.check_classes(Path("model.keras"), config)


def tables() -> dict[str, frozenset[str]]:
    """The tables of what a config may name, by their names."""
    from resnet_keras import allowlist

    return {name: value for name, value in vars(allowlist).items() if isinstance(value, frozenset)}


def newer() -> dict[str, Any]:
    """The arguments that only newer Kerases know, at the value that changes nothing."""
    from resnet_keras import compatibility

    return dict(compatibility.NEWER)


def repair_names() -> list[str]:
    """The name of every repair."""
    from resnet_keras import compatibility

    return [row.name for row in compatibility.REPAIRS]


def repaired(config: dict[str, Any], family: str) -> tuple[dict[str, Any], str]:
    """Calls `repaired`, and sees that it leaves the config as it was."""
    from resnet_keras import compatibility

    before = json.dumps(config)
    found = compatibility.repaired(config, family)
    assert json.dumps(config) == before
    return found


def load_on_another_backend(path: Path) -> None:
    """Calls `load_reference` as if Keras ran on torch."""
    import keras

    from resnet_keras import reference

    with mock.patch.object(keras.backend, "backend", return_value="torch"):
        reference.load_reference(path)


def take_arrays_without_a_config(path: Path) -> None:
    """Asks for the model that takes a file's arrays, where nothing says which model that is."""
    from resnet_keras import subject
    from weight_transfer.parity.protocol import ReferenceModel

    subject._reference(ReferenceModel(path, "", "twin", None), None)


def keras_refuses(path: Path, family: str, compiled: bool) -> bool:
    """Whether this Keras itself does not load the file."""
    try:
        with _silent():
            keras_checkpoints._family(family).models.load_model(path, compile=compiled)
    except Exception:  # whatever it raises
        return True
    return False


def needs(path: Path, inputs: np.ndarray, families: Sequence[str], repair: str) -> bool:
    """Whether none of these Kerases loads the file without this repair; our reader may still set the weights."""
    from weight_transfer.errors import VerificationError

    try:
        loaded = load(path, inputs, families, without=repair)
    except VerificationError:
        return True
    return "this project's reader" in loaded.loaded_by


def written(folder: Path, family: str, model_name: str) -> Written:
    """Saves one of `keras_checkpoints.MODELS`, or ``chain``, by the real Keras in both containers that hold a model."""
    keras = keras_checkpoints._family(family)
    keras.backend.clear_session()
    with _silent():
        model = _chain(keras) if model_name == "chain" else keras_checkpoints.build(keras, model_name)
        keras_checkpoints.randomize(model)
        files = {
            "legacy-h5": folder / f"{family}_{model_name}.h5",
            "keras-zip": folder / f"{family}_{model_name}.keras",
        }
        for file in files.values():
            model.save(file)
    inputs = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    return Written(files, inputs, np.asarray(model(inputs, training=False)))


def _chain(keras: Any) -> Any:
    """A Sequential whose first layer says what it is called on."""
    layers = keras.layers
    first = layers.Conv2D(4, 3, input_shape=(8, 8, 3))
    return keras.Sequential([first, layers.GlobalAveragePooling2D(), layers.Dense(2)])


def written_with_renorm(folder: Path) -> Written:
    """Saves a model whose batch norm renormalizes in training, which the newest Keras can."""
    import keras

    image = keras.Input((8, 8, 3))
    norm = keras.layers.BatchNormalization(renorm=True, renorm_clipping={"rmax": 3.0}, name="renormalized")
    model = keras.Model(image, norm(keras.layers.Conv2D(4, 3)(image)))
    keras_checkpoints.randomize(model)
    file = folder / "model.keras"
    with _silent():
        model.save(file)
    inputs = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    return Written({"keras-zip": file}, inputs, np.asarray(model(inputs, training=False)))


def written_with_activation(folder: Path, activation: str) -> Path:
    """Saves a model of Keras 3 with this activation."""
    import keras

    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 3, activation=activation)(image))
    keras_checkpoints.randomize(model)
    with _silent():
        model.save(folder / "model.keras")
    return folder / "model.keras"


def written_with_lambda(file: Path, family: str, proof: Path, nested: bool) -> bool:
    """Saves a model whose Lambda makes the file ``proof``; returns whether loading without care runs it."""
    keras = keras_checkpoints._family(family)
    name = str(proof)
    image = keras.Input((8, 8, 3))
    trap = keras.layers.Lambda(_leaving(name), output_shape=(8, 8, 3), name="trap")
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(trap(image)))
    if nested:
        outer = keras.Input((8, 8, 3))
        model = keras.Model(outer, model(outer))
    with _silent():
        model.save(file)
        proof.unlink(missing_ok=True)
        keras.models.load_model(file, compile=False, safe_mode=False)(np.zeros((1, 8, 8, 3), "float32"))
    ran = proof.exists()
    proof.unlink(missing_ok=True)
    return ran


def written_with_custom_layer(file: Path) -> None:
    """Saves a model with a layer of the user's own."""
    import keras

    @keras.saving.register_keras_serializable("mine")
    class Twice(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    image = keras.Input((8, 8, 3))
    with _silent():
        keras.Model(image, keras.layers.Conv2D(2, 1)(Twice(name="doubling")(image))).save(file)
    keras.saving.get_custom_objects().clear()


def _leaving(name: str) -> Any:
    return eval(f"lambda x: (open({name!r}, 'w').close(), x)[1]")  # the name is a constant of the saved code


@contextlib.contextmanager
def _silent() -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        yield
