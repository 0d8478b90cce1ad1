"""The reference's own `Scale` stands in for cnn_finetune's; no module that a file names is imported for it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_families
import keras_scale
import pytest

from weight_transfer.errors import VerificationError

NETWORK = {"counts": (1,), "classes": None}


def edited(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A .keras file whose layers of class Scale are changed in its config, the rest as it was."""
    with zipfile.ZipFile(source) as original, zipfile.ZipFile(target, "w") as copied:
        for name in original.namelist():
            content = original.read(name)
            if name == "config.json":
                config = json.loads(content)
                for row in config["config"]["layers"]:
                    if row["class_name"] == "Scale":
                        change(row)
                content = json.dumps(config).encode()
            copied.writestr(name, content)
    return target


@pytest.mark.parametrize(("library", "suffix"), [("keras", ".keras"), ("keras", ".h5"), ("tf_keras", ".keras")])
def test_our_class_takes_the_place_of_the_users(keras_side, tmp_path, library, suffix):
    path = keras_side(keras_families.saved_whole, tmp_path / f"m{suffix}", library, "cnn-finetune", **NETWORK)
    _, modules = keras_side(keras_scale.reference_classes, path)
    assert modules == {"resnet_keras.scale"}


def _elsewhere(row: dict[str, Any]) -> None:
    row["module"] = "a_module_that_nobody_has.layers"


def test_the_module_that_a_file_names_is_not_looked_at(keras_side, tmp_path):
    source = keras_side(keras_families.saved_whole, tmp_path / "m.keras", "keras", "cnn-finetune", **NETWORK)
    loaded_by, modules = keras_side(keras_scale.reference_classes, edited(source, tmp_path / "other.keras", _elsewhere))
    assert loaded_by.startswith("keras")
    assert "repairs" not in loaded_by
    assert modules == {"resnet_keras.scale"}


def _registered(row: dict[str, Any]) -> None:
    row["registered_name"] = "mine>Scale"


def _registered_as_nothing(row: dict[str, Any]) -> None:
    row["registered_name"] = None  # Keras would then import the module


def _more_arguments(row: dict[str, Any]) -> None:
    row["config"]["factor"] = 2.0


@pytest.mark.parametrize("change", [_registered, _registered_as_nothing, _more_arguments])
def test_another_class_of_the_name_is_refused(keras_side, tmp_path, change):
    source = keras_side(keras_families.saved_whole, tmp_path / "m.keras", "keras", "cnn-finetune", **NETWORK)
    path = edited(source, tmp_path / "other.keras", change)
    with pytest.raises(VerificationError, match=r"(?s)layer 'scale_conv1': class 'Scale' of 'keras_scale'"):
        keras_side(keras_scale.reference_classes, path)
