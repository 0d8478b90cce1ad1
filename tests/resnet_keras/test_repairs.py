"""Every known cause has a file that needs its repair: real Keras refuses it, and loads it mended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import keras_references
import pytest
from keras_references import assert_close, edited, layers_of

from weight_transfer import convert
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.errors import ArchitectureError, VerificationError

TRAINING = "a nested model's training left out"
CLASS_PATHS = "class paths"
INPUT_SHAPE = "batch_shape and batch_input_shape"
DTYPE = "dtype policies as names"
AXIS = "axis as a number"
NEWER = "arguments of newer Kerases left out"
CALLS = "calls of nested models counted from 0"
ENDS = "single inputs and outputs without a list"
OUR_READER = "with the weights set by this project's reader"

# Causes and the repair that each calls for: who wrote the file, its container, what is planted, who may try.


def plant_nothing(config: dict[str, Any]) -> None:
    pass


def plant_class_path(config: dict[str, Any]) -> None:
    config["module"] = "keras.src.engine.functional"


def plant_layer_paths(config: dict[str, Any]) -> None:
    for layer in layers_of(config, "Conv2D"):
        layer["module"] = "tf_keras.src.layers.convolutional.conv2d"


def plant_paths_everywhere(config: dict[str, Any]) -> None:
    """Of layers, initializers, policies: everything of Keras's that has a path."""
    for key, value in list(config.items()):
        for inside in value if isinstance(value, list) else [value]:
            if isinstance(inside, dict):
                plant_paths_everywhere(inside)
        if key == "module" and value:
            config["module"] = "keras.src.of_old"


def plant_function_path(config: dict[str, Any]) -> None:
    function = {"module": "keras.src.activations", "class_name": "function", "config": "relu", "registered_name": None}
    next(layers_of(config, "Activation"))["config"]["activation"] = function


def plant_model_class(config: dict[str, Any]) -> None:
    config.update(module="keras.src.engine.training", class_name="Model", registered_name="Model")


def plant_input_shape(config: dict[str, Any]) -> None:
    inside = next(layers_of(config, "InputLayer"))["config"]
    inside["batch_shape"] = inside.pop("batch_input_shape")


def plant_shape_of_a_layer(config: dict[str, Any]) -> None:
    """As Keras 2 writes a layer that was made with ``input_shape``."""
    next(layers_of(config, "Conv2D"))["config"]["batch_input_shape"] = [None, 8, 8, 3]


def plant_sequential_without_input(config: dict[str, Any]) -> None:
    """As Keras 2.2 writes a Sequential."""
    layers = config["config"]["layers"]
    assert layers.pop(0)["class_name"] == "InputLayer"
    layers[0]["config"]["batch_input_shape"] = [None, 8, 8, 3]


def plant_dtype_policy(config: dict[str, Any]) -> None:
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    next(layers_of(config, "Conv2D"))["config"]["dtype"] = policy


def plant_keras_2_policy(config: dict[str, Any]) -> None:
    policy = {"module": "keras.mixed_precision", "class_name": "Policy", "config": {"name": "float32"}}
    next(layers_of(config, "Conv2D"))["config"]["dtype"] = policy | {"registered_name": None}


def plant_axis(config: dict[str, Any]) -> None:
    next(layers_of(config, "BatchNormalization"))["config"]["axis"] = [3]


def plant_newer_argument(config: dict[str, Any]) -> None:
    next(layers_of(config, "Conv2D"))["config"]["quantization_config"] = None


def plant_nested_training(config: dict[str, Any]) -> None:
    optimizer = {"module": "keras.optimizers", "class_name": "Adam", "config": {"lr": 0.1}, "registered_name": None}
    loss = {
        "module": "keras.losses",
        "class_name": "MeanSquaredError",
        "config": {"reduction": "auto"},
        "registered_name": None,
    }
    next(layers_of(config, "Functional"))["compile_config"] = {"optimizer": optimizer, "loss": loss}


CAUSES = [
    ("keras", "nested", "keras-zip", plant_nested_training, ("keras", "tf_keras"), TRAINING),
    ("keras", "flat", "keras-zip", plant_class_path, ("keras", "tf_keras"), CLASS_PATHS),
    ("keras", "flat", "keras-zip", plant_layer_paths, ("keras", "tf_keras"), CLASS_PATHS),
    ("keras", "nested", "keras-zip", plant_paths_everywhere, ("keras", "tf_keras"), CLASS_PATHS),
    ("keras", "flat", "keras-zip", plant_function_path, ("keras",), CLASS_PATHS),
    ("keras", "flat", "keras-zip", plant_model_class, ("keras", "tf_keras"), CLASS_PATHS),
    ("tf_keras", "flat", "keras-zip", plant_class_path, ("keras",), CLASS_PATHS),
    ("tf_keras", "flat", "keras-zip", plant_nothing, ("keras",), CLASS_PATHS),
    ("tf_keras", "flat", "legacy-h5", plant_input_shape, ("tf_keras",), INPUT_SHAPE),
    ("tf_keras", "flat", "keras-zip", plant_input_shape, ("tf_keras",), INPUT_SHAPE),
    ("tf_keras", "flat", "keras-zip", plant_shape_of_a_layer, ("keras",), INPUT_SHAPE),
    ("tf_keras", "chain", "legacy-h5", plant_sequential_without_input, ("keras",), INPUT_SHAPE),
    ("tf_keras", "chain", "keras-zip", plant_sequential_without_input, ("keras",), INPUT_SHAPE),
    ("tf_keras", "flat", "legacy-h5", plant_dtype_policy, ("tf_keras",), DTYPE),
    ("tf_keras", "flat", "keras-zip", plant_dtype_policy, ("tf_keras",), DTYPE),
    ("keras", "flat", "keras-zip", plant_keras_2_policy, ("keras",), DTYPE),
    ("keras", "flat", "keras-zip", plant_axis, ("keras", "tf_keras"), AXIS),
    ("tf_keras", "flat", "legacy-h5", plant_newer_argument, ("tf_keras",), NEWER),
    ("tf_keras", "nested", "legacy-h5", plant_nothing, ("keras",), CALLS),
    ("tf_keras", "sequential", "legacy-h5", plant_nothing, ("keras",), ENDS),
]


@pytest.mark.parametrize(
    ("family", "model_name", "container", "plant", "families", "repair"),
    CAUSES,
    ids=[f"{plant.__name__}-{family}-{model}-{container}" for family, model, container, plant, *_ in CAUSES],
)
def test_known_cause_is_repaired_and_named(
    keras_side, written, tmp_path, family, model_name, container, plant, families, repair
):
    saved = written(family, model_name)
    source = saved.files[container]
    folder = tmp_path / "user"
    folder.mkdir()
    file = edited(source, folder / f"model{source.suffix}", plant)
    file.chmod(0o444)
    before = hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns
    assert all(keras_side(keras_references.keras_refuses, file, name, compiled=False) for name in families)
    loaded = keras_side(keras_references.load, file, saved.inputs, families)
    assert loaded.loaded_by.startswith(f"{families[0]} ")
    assert repair in loaded.loaded_by.partition(" after repairs: ")[2].split(", ")
    assert OUR_READER not in loaded.loaded_by
    assert_close(loaded.outputs, saved.outputs)
    assert (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) == before
    assert [item.name for item in folder.iterdir()] == [file.name]
    assert loaded.leftovers == []
    assert keras_side(keras_references.needs, file, saved.inputs, families, repair)


def test_every_repair_has_a_file_that_needs_it(keras_side):
    assert set(keras_side(keras_references.repair_names)) == {repair for *_, repair in CAUSES}


def test_newer_argument_is_left_out_at_the_value_that_changes_nothing(keras_side, written, tmp_path):
    """Each planted in a layer for which no Keras has it, as an older Keras has it for none."""
    saved = written("keras", "flat")
    for argument, value in keras_side(keras_references.newer).items():
        plant = plant_in_pooling(argument, value)
        file = edited(saved.files["keras-zip"], tmp_path / f"{argument}.keras", plant)
        assert keras_side(keras_references.keras_refuses, file, "keras", compiled=False), argument
        loaded = keras_side(keras_references.load, file, saved.inputs, ("keras",))
        assert NEWER in loaded.loaded_by
        assert_close(loaded.outputs, saved.outputs)


def test_newer_argument_at_another_value_is_left_in_and_refused(keras_side, written, tmp_path):
    source = written("keras", "flat").files["keras-zip"]
    for argument in keras_side(keras_references.newer):
        file = edited(source, tmp_path / f"{argument}.keras", plant_in_pooling(argument, True))
        with pytest.raises(VerificationError, match=rf"(?s)no installed Keras loads this file.*'{argument}': True"):
            keras_side(keras_references.load, file, None, ("keras",))


def plant_in_pooling(argument: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: next(layers_of(config, "GlobalAveragePooling2D"))["config"].update({argument: value})


def test_batch_renormalization_is_never_mended_away(keras_side, tmp_path):
    """As a newer Keras writes it: Keras loads it with renorm, and the importer refuses it."""
    saved = keras_side(keras_references.written_with_renorm, tmp_path)
    (file,) = saved.files.values()
    loaded = keras_side(keras_references.load, file, saved.inputs)
    assert "repairs" not in loaded.loaded_by
    assert_close(loaded.outputs, saved.outputs)
    with pytest.raises(ArchitectureError, match=r"layer 'renormalized'.*renorm=True is not supported"):
        convert(file, tmp_path / "port.safetensors")
    config = read_checkpoint(file).config
    (layer,) = layers_of(keras_side(keras_references.repaired, config, "keras")[0], "BatchNormalization")
    assert layer["config"]["renorm"] is True
    assert "renorm_momentum" not in layer["config"]


def test_nothing_to_mend(keras_side, written):
    config = read_checkpoint(written("keras", "partial").files["keras-zip"]).config
    for key in ("compile_config", "build_config"):
        config.pop(key, None)
    mended, names = keras_side(keras_references.repaired, config, "keras")
    again, none = keras_side(keras_references.repaired, mended, "keras")
    assert DTYPE in names
    assert (again, none) == (mended, "")


@pytest.mark.parametrize("family", keras_references.BOTH)
def test_malformed_config_is_refused(keras_side, written, tmp_path, family):
    def plant(config: dict[str, Any]) -> None:
        plant_class_path(config)
        next(layers_of(config, "Conv2D"))["config"]["dtype"] = {"class_name": "DTypePolicy", "config": None}

    file = edited(written("keras", "flat").files["keras-zip"], tmp_path / "model.keras", plant)
    with pytest.raises(VerificationError, match="the file's model config is malformed"):
        keras_side(keras_references.load, file, None, (family,))
