"""``weight-transfer convert --schema``: a port back to the other Keras, or why not."""

from __future__ import annotations

import json

import keras_way_back
import numpy as np
import pytest


def test_a_port_of_keras_3_goes_to_tf_keras(command, verified, tmp_path, keras_side):
    back = tmp_path / "back.h5"
    done = command("convert", verified.port, "--schema", "keras2", "-o", back, "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["output"] == str(back)
    (expected,) = keras_side(keras_way_back.predicted, "keras", "resnet", [verified.source])
    (found,) = keras_side(keras_way_back.predicted, "tf_keras", "resnet", [back])
    for y, wanted in zip(found, expected, strict=True):
        assert np.abs(y - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_what_the_other_keras_cannot_say_is_one_message(command, tmp_path, keras_side):
    source = keras_side(keras_way_back.saved, "keras", "hard sigmoid", tmp_path)[0]
    port, back = tmp_path / "port.safetensors", tmp_path / "back.h5"
    assert command("convert", source, "-o", port).code == 0
    done = command("convert", port, "--schema", "keras2", "-o", back)
    assert done.code == 2
    assert "layer 'hard' (Dense): activation is" in done.stderr
    assert "Keras 2 (tf_keras)" in done.stderr
    assert "Write the file without --schema" in done.stderr
    assert not back.exists()


@pytest.mark.parametrize("extra", [(), ("--to-folder", "package")])
def test_a_schema_that_says_nothing_is_refused(command, verified, tmp_path, extra):
    file = verified.port if extra else verified.source
    named = ["--to-folder", tmp_path / "package"] if extra else ["-o", tmp_path / "port.safetensors"]
    done = command("convert", file, "--schema", "keras3", *named)
    assert done.code == 2
    assert "--schema" in done.stderr
    assert not list(tmp_path.iterdir())


def test_there_are_two_schemas(command, verified, tmp_path):
    done = command("convert", verified.port, "--schema", "keras1", "-o", tmp_path / "back.h5")
    assert done.code == 2
    assert "keras2" in done.stderr
