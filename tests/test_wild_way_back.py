"""Real checkpoints from public repositories, to the port and back: what Keras loaded before it loads as it was."""

from __future__ import annotations

import keras_round_trips
import numpy as np
import pytest
import supported
from keras_round_trips import ENDINGS

from weight_transfer import convert, export, read_checkpoint

WILD = supported.module_at("test_wild.py")
WEIGHTS_ALONE = sorted({*WILD.NETWORKS, *WILD.NEEDS} - {*WILD.WITH_MODEL})
TRAINED_ON = {
    "mlcommons__tiny__e2a6032_pretrainedResnet.h5": "tf_keras",
    "kSuroweczka__Arrhythmia__model_resnet.h5": "tf_keras",
    "MohandHAMADOUCHE__Student_project_ResNet_vs_LSTM__resnet_model.keras": "keras",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WILD.WILD.is_dir(), reason="needs ../shared/data beside the checkout"),
]


def library_of(name):
    """The Keras of today that loads what an older one wrote."""
    with read_checkpoint(WILD.WILD / name) as checkpoint:
        return "keras" if str(checkpoint.keras_version).startswith("3") else "tf_keras"


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_a_strangers_model_comes_back_in_either_container(library, tmp_path, keras_side):
    names = [name for name in WILD.WITH_MODEL if library_of(name) == library]
    pairs = []
    for number, name in enumerate(names):
        port = tmp_path / f"{number}.safetensors"
        convert(WILD.WILD / name, port)
        pairs += [((WILD.WILD / name,), export(port, tmp_path / f"{number}.back{ending}")) for ending in ENDINGS]
    assert len(names) == {"keras": 2, "tf_keras": 11}[library]
    for found in keras_side(keras_round_trips.judged, library, pairs):
        assert found.lines == []
        assert found.num_outputs > 0


def test_weights_alone_come_back_as_whole_models(tmp_path, keras_side):
    """The network that its owner's other file, a family or a dialect's recipe describes, with each array of its own."""
    backs, expected = [], []
    for number, name in enumerate(WEIGHTS_ALONE):
        port = tmp_path / f"{number}.safetensors"
        convert(WILD.WILD / name, port, WILD.hints(name))
        backs += [export(port, tmp_path / f"{number}.back{ending}", schema="keras2") for ending in ENDINGS]
        with read_checkpoint(WILD.WILD / name) as checkpoint:
            expected += [sorted(checkpoint[array].tobytes() for array in checkpoint.arrays)] * 2
    assert len(WEIGHTS_ALONE) == 6
    for back, arrays, wanted in zip(
        backs, keras_side(keras_round_trips.arrays_of, "tf_keras", backs), expected, strict=True
    ):
        assert sorted(array.tobytes() for array in arrays) == wanted, back.name


@pytest.mark.parametrize("name", TRAINED_ON)
def test_a_stranger_could_train_on(name, tmp_path, keras_side):
    """From the state of the optimizer that the file holds: the same loss, arrays and count of steps."""
    source, port = WILD.WILD / name, tmp_path / "port.safetensors"
    convert(source, port, with_optimizer=True)
    back = export(port, tmp_path / f"back{source.suffix}", with_optimizer=True)
    one, other = keras_side(keras_round_trips.next_steps, TRAINED_ON[name], [source, back])
    assert other[0] == one[0]
    assert other[2] == one[2] > 1000
    for actual, expected in zip(other[1], one[1], strict=True):
        np.testing.assert_array_equal(actual, expected)
