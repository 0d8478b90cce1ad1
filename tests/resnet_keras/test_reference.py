"""Any Keras's full-model file loads by one of them, gives the same numbers, and runs none of its own code."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras_checkpoints
import keras_references
import numpy as np
import pytest

from weight_transfer.errors import VerificationError

TOLERANCE = 1e-5  # of the peak; two Kerases differ by at most 8.1e-7 on the real files
FAMILIES = keras_checkpoints.FAMILIES
CONTAINERS = ("legacy-h5", "keras-zip")
REFUSED = "hls4ml-finn-mlperftiny__CIFAR10__model_best.h5"  # QKeras
FULL_MODELS = (
    "CS-433__ml-project-2-nuclear-fusion__resnet.keras",
    "Hyperparticle__one-pixel-attack-keras__resnet.h5",
    "MohamedElhadidy0019__stm32ai-modelzoo__miniresnet_1stacks_64x50_tl.h5",
    "MohamedElhadidy0019__stm32ai-modelzoo__miniresnetv2_1stacks_64x50_tl.h5",
    "MohamedElhadidy0019__stm32ai-modelzoo__pooled_miniresnet_1_stacks_backbone.h5",
    "MohandHAMADOUCHE__Student_project_ResNet_vs_LSTM__1da0c8d_resnet_model.keras",
    "MohandHAMADOUCHE__Student_project_ResNet_vs_LSTM__resnet_model.keras",
    "bvenreply__stm32ai-modelzoo__miniresnet_1_stacks_backbone.h5",
    "bvenreply__stm32ai-modelzoo__miniresnetv2_1_stacks_backbone.h5",
    "jayanthkmr__Thesis-work__cifar10_ResNet8v1_model.001.h5",
    "kSuroweczka__Arrhythmia__model_resnet.h5",
    "mlcommons__tiny__e2a6032_pretrainedResnet.h5",
    "mlcommons__tiny__pretrainedResnet.h5",
)
CLASS_PATHS = "class paths"
INPUT_SHAPE = "batch_shape and batch_input_shape"
DTYPE = "dtype policies as names"
AXIS = "axis as a number"
NEWER = "arguments of newer Kerases left out"
CALLS = "calls of nested models counted from 0"
ENDS = "single inputs and outputs without a list"
TRAINING = "a nested model's training left out"
OUR_READER = "with the weights set by this project's reader"


@pytest.fixture(scope="module")
def written(keras_side, tmp_path_factory) -> Callable[[str, str], keras_references.Written]:
    """``written(family, model_name)``, each saved once."""
    made: dict[tuple[str, str], keras_references.Written] = {}

    def write(family: str, model_name: str) -> keras_references.Written:
        if (family, model_name) not in made:
            folder = tmp_path_factory.mktemp("written")
            made[family, model_name] = keras_side(keras_references.written, folder, family, model_name)
        return made[family, model_name]

    return write


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max()


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
    return (layer for layer in config["config"]["layers"] if layer["class_name"] in class_names)


@pytest.mark.parametrize("name", FULL_MODELS)
def test_real_file_gives_the_recorded_outputs(keras_side, shared_data, name):
    recordings = list((shared_data / "wild").glob(f"{name}.*keras.npz"))
    assert recordings
    for recording in recordings:
        recorded = np.load(recording)
        loaded = keras_side(keras_references.load, shared_data / "wild" / name, recorded["x0"])
        assert_close(loaded.outputs, recorded["y0"])
        assert loaded.leftovers == []


def test_every_real_full_model_is_tried(shared_data):
    catalogue = json.loads((shared_data / "wild" / "catalogue.json").read_text())
    full = {row["file"] for row in catalogue if row["container"].startswith(("h5-full-model", "keras-zip"))}
    assert full == {*FULL_MODELS, REFUSED}


def test_real_file_of_keras_2_loads_in_keras_3_alone(keras_side, shared_data):
    """As where tf-keras is not installed."""
    name = "CS-433__ml-project-2-nuclear-fusion__resnet.keras"
    recorded = np.load(shared_data / "wild" / f"{name}.tf_keras.npz")
    loaded = keras_side(keras_references.load, shared_data / "wild" / name, recorded["x0"], ("keras",))
    assert_close(loaded.outputs, recorded["y0"])
    assert CLASS_PATHS in loaded.loaded_by


def test_qkeras_is_refused_by_name(keras_side, shared_data):
    with pytest.raises(VerificationError, match=r"layer 'q_conv2d_batchnorm': class 'QConv2DBatchnorm'"):
        keras_side(keras_references.load, shared_data / "wild" / REFUSED, None)


@pytest.mark.parametrize(
    ("container", "suffix"),
    [
        ("legacy-h5", ""),
        ("legacy-h5", ".model"),
        ("legacy-h5", ".hdf5"),
        ("legacy-h5", ".keras"),
        ("keras-zip", ""),
        ("keras-zip", ".h5"),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_extension_does_not_matter(keras_side, written, tmp_path, family, container, suffix):
    saved = written(family, "flat")
    file = shutil.copyfile(saved.files[container], tmp_path / f"model{suffix}")
    loaded = keras_side(keras_references.load, file, saved.inputs)
    assert_close(loaded.outputs, saved.outputs)
    assert "repairs" not in loaded.loaded_by


@pytest.mark.parametrize("model_name", keras_checkpoints.MODELS)
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_keras_3_alone_loads_what_either_keras_writes(keras_side, written, family, container, model_name):
    saved = written(family, model_name)
    loaded = keras_side(keras_references.load, saved.files[container], saved.inputs, ("keras",))
    assert_close(loaded.outputs, saved.outputs)


# Causes and the repair that each calls for: who wrote the file, its container, what is planted, who may try.


def plant_input_shape(config: dict[str, Any]) -> None:
    inside = next(layers_of(config, "InputLayer"))["config"]
    inside["batch_shape"] = inside.pop("batch_input_shape")


def plant_class_path(config: dict[str, Any]) -> None:
    config["module"] = "keras.src.engine.functional"


def plant_layer_paths(config: dict[str, Any]) -> None:
    for layer in layers_of(config, "Conv2D"):
        layer["module"] = "tf_keras.src.layers.convolutional.conv2d"


def plant_model_class(config: dict[str, Any]) -> None:
    config.update(module="keras.src.engine.training", class_name="Model", registered_name="Model")


def plant_dtype_policy(config: dict[str, Any]) -> None:
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    next(layers_of(config, "Conv2D"))["config"]["dtype"] = policy


def plant_keras_2_policy(config: dict[str, Any]) -> None:
    policy = {"module": "keras.mixed_precision", "class_name": "Policy", "config": {"name": "float32"}}
    next(layers_of(config, "Conv2D"))["config"]["dtype"] = policy | {"registered_name": None}


def plant_newer_argument(config: dict[str, Any]) -> None:
    next(layers_of(config, "Conv2D"))["config"]["quantization_config"] = None


def plant_axis(config: dict[str, Any]) -> None:
    next(layers_of(config, "BatchNormalization"))["config"]["axis"] = [3]


def plant_nothing(config: dict[str, Any]) -> None:
    pass


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
    ("keras", "flat", "keras-zip", plant_class_path, ("keras", "tf_keras"), CLASS_PATHS),
    ("keras", "flat", "keras-zip", plant_layer_paths, ("keras", "tf_keras"), CLASS_PATHS),
    ("keras", "flat", "keras-zip", plant_model_class, ("keras", "tf_keras"), CLASS_PATHS),
    ("tf_keras", "flat", "keras-zip", plant_class_path, ("keras",), CLASS_PATHS),
    ("tf_keras", "flat", "keras-zip", plant_nothing, ("keras",), INPUT_SHAPE),
    ("tf_keras", "flat", "legacy-h5", plant_input_shape, ("tf_keras",), INPUT_SHAPE),
    ("tf_keras", "flat", "keras-zip", plant_input_shape, ("tf_keras",), INPUT_SHAPE),
    ("tf_keras", "flat", "legacy-h5", plant_dtype_policy, ("tf_keras",), DTYPE),
    ("tf_keras", "flat", "keras-zip", plant_dtype_policy, ("tf_keras",), DTYPE),
    ("keras", "flat", "keras-zip", plant_keras_2_policy, ("keras",), DTYPE),
    ("tf_keras", "flat", "legacy-h5", plant_newer_argument, ("tf_keras",), NEWER),
    ("keras", "flat", "keras-zip", plant_axis, ("keras", "tf_keras"), AXIS),
    ("tf_keras", "nested", "legacy-h5", plant_nothing, ("keras",), CALLS),
    ("tf_keras", "sequential", "legacy-h5", plant_nothing, ("keras",), ENDS),
    ("keras", "nested", "keras-zip", plant_nested_training, ("keras", "tf_keras"), TRAINING),
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


def plant_lr(training: dict[str, Any]) -> None:
    config = training["optimizer_config"]["config"]
    config["lr"] = config.pop("learning_rate")


def plant_reduction(training: dict[str, Any]) -> None:
    training["loss"] = {"class_name": "CategoricalCrossentropy", "config": {"reduction": "auto", "name": "loss"}}


@pytest.mark.parametrize("plant", [plant_lr, plant_reduction])
def test_training_is_never_read(keras_side, written, tmp_path, plant):
    saved = written("keras", "flat")
    file = edited(saved.files["legacy-h5"], tmp_path / "model.h5", plant, "training_config")
    assert keras_side(keras_references.keras_refuses, file, "keras", compiled=True)
    loaded = keras_side(keras_references.load, file, saved.inputs)
    assert loaded.loaded_by.startswith("keras ")
    assert "repairs" not in loaded.loaded_by
    assert_close(loaded.outputs, saved.outputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_our_reader_sets_weights_that_no_keras_can_place(keras_side, written, tmp_path, family):
    """Keras goes by the order in ``layer_names``, our reader by the names."""
    saved = written(family, "nested")
    file = shutil.copyfile(saved.files["legacy-h5"], tmp_path / "model.h5")
    with h5py.File(file, "r+") as opened:
        group = opened["model_weights"]
        group.attrs["layer_names"] = list(group.attrs["layer_names"])[::-1]
    loaded = keras_side(keras_references.load, file, saved.inputs)
    assert OUR_READER in loaded.loaded_by
    assert_close(loaded.outputs, saved.outputs)


def test_our_reader_leaves_no_array_out(keras_side, written, tmp_path):
    """A layer taken out of the config: the model would build, and would be another one."""

    def plant(config: dict[str, Any]) -> None:
        layers = config["config"]["layers"]
        last = layers.pop()["inbound_nodes"][0]["args"][0]["config"]["keras_history"]
        config["config"]["output_layers"] = last

    saved = written("keras", "flat")
    file = edited(saved.files["legacy-h5"], tmp_path / "model.h5", plant)
    with pytest.raises(VerificationError, match=r"2 arrays have no place in the model, such as 'fc_final/bias'"):
        keras_side(keras_references.load, file, saved.inputs)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("family", FAMILIES)
def test_lambda_never_runs(keras_side, tmp_path, family, suffix, nested):
    file, proof = tmp_path / f"model{suffix}", tmp_path / "proof"
    assert keras_side(keras_references.written_with_lambda, file, family, proof, nested), "the trap must work"
    with pytest.raises(VerificationError, match=r"layer 'trap': class 'Lambda'"):
        keras_side(keras_references.load, file, None)
    assert not proof.exists()


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_custom_layer_is_refused_by_name(keras_side, tmp_path, suffix):
    file = tmp_path / f"model{suffix}"
    keras_side(keras_references.written_with_custom_layer, file)
    with pytest.raises(VerificationError, match=r"layer 'doubling': class '(mine>)?Twice'"):
        keras_side(keras_references.load, file, None)


def test_tensorflow_functions_load(keras_side, tmp_path):
    saved = keras_side(keras_references.written_with_tensorflow_functions, tmp_path / "model.h5")
    loaded = keras_side(keras_references.load, saved.files["legacy-h5"], saved.inputs)
    assert loaded.loaded_by.startswith("tf_keras ")
    assert_close(loaded.outputs, saved.outputs)


FUNCTION = {"class_name": "function", "module": "builtins", "config": "relu", "registered_name": "relu"}


@pytest.mark.parametrize(
    ("class_name", "planted"),
    [
        ("Conv2D", {"module": "os"}),
        ("Conv2D", {"module": "kerasfoo.layers"}),
        ("Conv2D", {"module": ["keras"]}),
        ("Conv2D", {"class_name": "TFOpLambda", "config": {"name": "conv1", "function": "io.write_file"}}),
        ("Conv2D", {"class_name": ["Conv2D"]}),
        ("Activation", {"config": {"name": "activation", "activation": FUNCTION | {"module": "os"}}}),
        ("Activation", {"config": {"name": "activation", "activation": FUNCTION | {"config": "eval"}}}),
        ("Activation", {"config": {"name": "activation", "activation": FUNCTION | {"registered_name": "eval"}}}),
        ("Activation", {"config": {"name": "activation", "activation": {"class_name": "__lambda__", "config": {}}}}),
    ],
)
def test_foreign_object_is_refused_before_any_keras_sees_it(keras_side, written, tmp_path, class_name, planted):
    file = edited(
        written("keras", "flat").files["keras-zip"],
        tmp_path / "model.keras",
        lambda config: next(layers_of(config, class_name)).update(planted),
    )
    with pytest.raises(VerificationError, match=r"not Keras's own or could run code.*\n  layer '(conv1|activation)'"):
        keras_side(keras_references.load, file, None)


def test_every_attempt_is_told_where_none_works(keras_side, written, tmp_path):
    def plant(config: dict[str, Any]) -> None:
        next(layers_of(config, "Conv2D"))["config"]["bogus"] = 1

    file = edited(written("tf_keras", "flat").files["legacy-h5"], tmp_path / "model.h5", plant)
    with pytest.raises(VerificationError, match="no installed Keras loads this file") as caught:
        keras_side(keras_references.load, file, None)
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert len(lines) == 6  # each Keras on the file, on the repaired file, on the repaired config
    assert all("bogus" in line for line in lines)


def test_malformed_config_is_refused(keras_side, written, tmp_path):
    def plant(config: dict[str, Any]) -> None:
        plant_class_path(config)
        next(layers_of(config, "Conv2D"))["config"]["dtype"] = {"class_name": "DTypePolicy", "config": None}

    file = edited(written("keras", "flat").files["keras-zip"], tmp_path / "model.keras", plant)
    with pytest.raises(VerificationError, match="config is malformed"):
        keras_side(keras_references.load, file, None)


def test_weights_alone_are_no_reference(keras_side, tmp_path):
    saved = keras_side(keras_checkpoints.save_everywhere, tmp_path, "keras", "flat")
    with pytest.raises(VerificationError, match="holds weights but no model"):
        keras_side(keras_references.load, saved.files["keras3-weights-h5"], None)


def test_another_backend_is_refused(keras_side, written):
    with pytest.raises(VerificationError, match="backend 'torch'"):
        keras_side(keras_references.load_on_another_backend, written("keras", "flat").files["legacy-h5"])
