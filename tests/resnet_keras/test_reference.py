"""Any Keras's full-model file loads by one of them, and gives the same numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import keras_checkpoints
import keras_references
import numpy as np
import pytest
from keras_references import assert_close, edited, layers_of

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.errors import VerificationError

FAMILIES = keras_checkpoints.FAMILIES
CLASS_PATHS = "class paths"
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
OUR_READER = "with the weights set by this project's reader"


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


@pytest.mark.parametrize("model_name", [*keras_checkpoints.MODELS, "chain"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_keras_3_alone_loads_what_either_keras_writes(keras_side, written, family, container, model_name):
    saved = written(family, model_name)
    loaded = keras_side(keras_references.load, saved.files[container], saved.inputs, ("keras",))
    assert_close(loaded.outputs, saved.outputs)


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


@pytest.mark.parametrize("model_name", keras_checkpoints.MODELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_model_is_built_from_its_config_and_arrays(keras_side, written, family, model_name):
    saved = written(family, model_name)
    config, arrays = described(saved.files["keras-zip"])
    built = keras_side(keras_references.built, config, arrays, saved.inputs)
    assert built.loaded_by.startswith("keras ")
    assert_close(built.outputs, saved.outputs)


def described(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `reference_from_config` is given of a file."""
    with read_checkpoint(path) as checkpoint:
        config = {key: value for key, value in checkpoint.config.items() if key != "compile_config"}
        return config, {name: checkpoint[name] for name in checkpoint.arrays}


def test_config_and_arrays_must_fit(keras_side, written):
    saved = written("keras", "flat")
    config, arrays = described(saved.files["keras-zip"])
    missing = {name: array for name, array in arrays.items() if name != "conv1/kernel"}
    with pytest.raises(VerificationError, match="no array is named 'conv1/kernel'"):
        keras_side(keras_references.built, config, missing, saved.inputs)
    with pytest.raises(VerificationError, match="1 arrays have no place in the model, such as 'conv9/kernel'"):
        keras_side(keras_references.built, config, arrays | {"conv9/kernel": np.ones(3)}, saved.inputs)


@pytest.mark.parametrize(
    ("planted", "where"),
    [
        ({"name": "named", "layers": [{"class_name": "Lambda", "config": {}}]}, "'named'"),
        ([], "'model'"),
        (None, "'model'"),
    ],
)
def test_config_that_could_run_code_is_never_built(keras_side, planted, where):
    config = {"class_name": "Functional" if isinstance(planted, dict) else "Lambda", "config": planted}
    with pytest.raises(VerificationError, match=rf"(?s)^{where}: not loaded.*class 'Lambda'"):
        keras_side(keras_references.built, config, {}, None)


def test_every_attempt_is_told_where_none_works(keras_side, written, tmp_path):
    def plant(config: dict[str, Any]) -> None:
        next(layers_of(config, "Conv2D"))["config"]["bogus"] = 1

    file = edited(written("tf_keras", "flat").files["legacy-h5"], tmp_path / "model.h5", plant)
    with pytest.raises(VerificationError, match="no installed Keras loads this file") as caught:
        keras_side(keras_references.load, file, None)
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert len(lines) == 6  # each Keras on the file, on the repaired file, on the repaired config
    assert all("bogus" in line for line in lines)


def test_weights_alone_are_no_reference(keras_side, tmp_path):
    saved = keras_side(keras_checkpoints.save_everywhere, tmp_path, "keras", "flat")
    with pytest.raises(VerificationError, match="holds weights but no model"):
        keras_side(keras_references.load, saved.files["keras3-weights-h5"], None)


def test_arrays_without_a_config_are_refused(keras_side, tmp_path):
    saved = keras_side(keras_checkpoints.save_everywhere, tmp_path, "keras", "flat")
    with pytest.raises(VerificationError, match=r"nothing says which model .* Received: no ResNet, and config=None"):
        keras_side(keras_references.take_arrays_without_a_config, saved.files["keras3-weights-h5"])


def test_another_backend_is_refused(keras_side, written):
    with pytest.raises(VerificationError, match="backend 'torch'"):
        keras_side(keras_references.load_on_another_backend, written("keras", "flat").files["legacy-h5"])
