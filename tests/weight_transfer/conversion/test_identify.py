"""Which architecture a file holds: the names decide, and where they cannot, a flag does."""

from __future__ import annotations

import json
import re

import checkpoints
import h5py
import numpy as np
import pytest

from weight_transfer import (
    Architecture,
    ArchitectureError,
    Hints,
    MappingError,
    design,
    identify,
    read_checkpoint,
)
from weight_transfer.architecture import Head


def identified(path, **hints) -> Architecture | None:
    """The ResNet that a file holds; None of another network."""
    with read_checkpoint(path) as checkpoint:
        return identify(checkpoint, Hints(**hints)).network.resnet


@pytest.mark.parametrize("dialect", ["tutorial", "keras-applications"])
def test_names_of_one_dialect_alone_need_no_flag(dialect, tmp_path):
    expected = checkpoints.small(dialect)
    path = checkpoints.checkpoint(tmp_path / "w.h5", expected, weights_only=True)
    assert identified(path).dialect == dialect


def test_keras_1_suffixes(tmp_path):
    suffixes = {
        "kernel": "W",
        "bias": "b",
        "gamma": "gamma",
        "beta": "beta",
        "moving_mean": "running_mean",
        "moving_variance": "running_std",
    }
    expected = checkpoints.small("keras-2.2")
    arrays = checkpoints.arrays_of(expected)
    renamed = {}
    for name, value in arrays.items():
        layer, _, role = name.rpartition("/")
        renamed[f"{layer}/{layer}_{suffixes[role]}_1"] = value  # as in res2a_branch2a_W_1:0
    path = checkpoints.legacy_weights(tmp_path / "keras1.h5", renamed, keras_1=True)
    with read_checkpoint(path) as checkpoint:
        found = identify(checkpoint, Hints(dialect="keras-2.2"))
        for name, value in arrays.items():
            np.testing.assert_array_equal(found.arrays[name].read(), value)


@pytest.mark.parametrize(("dialect", "padding"), [("keras-2.2", "zeros"), ("keras-2.1", "none")])
def test_a_file_that_lists_its_layers_shows_its_padding(dialect, padding, tmp_path):
    path = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small(dialect), weights_only=True)
    assert identified(path).conventions.pool_padding == padding
    other = "keras-2.1" if dialect == "keras-2.2" else "keras-2.2"
    with read_checkpoint(path) as checkpoint:  # Keras itself has loaded one file into both
        found = identify(checkpoint, Hints(dialect=other))
    assert found.network.resnet.conventions.pool_padding != padding
    assert "zero padding otherwise than the file lists it (you said so)" in found.assumed


def test_several_descriptions_are_listed_with_the_deciding_flag(tmp_path):
    path = checkpoints.legacy_weights(tmp_path / "w.h5", checkpoints.arrays_of(checkpoints.small("keras-2.2")))
    with pytest.raises(ArchitectureError) as error:
        identified(path)
    assert "2 descriptions fit its names and shapes" in str(error.value)
    assert "--dialect keras-2.1: pool_padding none" in str(error.value)
    assert "--dialect keras-2.2: pool_padding zeros" in str(error.value)


def test_a_flag_that_removes_the_difference_decides(tmp_path):
    path = checkpoints.legacy_weights(tmp_path / "w.h5", checkpoints.arrays_of(checkpoints.small("keras-2.2")))
    assert identified(path, conventions={"pool_padding": "zeros"}).conventions.pool_padding == "zeros"


def test_names_of_no_dialect_are_shown_beside_the_known_ones(tmp_path):
    path = checkpoints.legacy_weights(tmp_path / "w.h5", {"conv2d_1/kernel": np.ones((3, 3, 3, 4))})
    with pytest.raises(ArchitectureError, match=r"its names are those of no dialect\. It starts with conv2d_1/kernel"):
        identified(path)


def test_whole_network_asked_of_a_part_names_every_missing_group(shared_data):
    source = shared_data / "wild" / "resnet50_notop_imagenet_stem_stage2.h5"
    with pytest.raises(MappingError) as error:
        identified(source, depth=50, dialect="keras-2.2")
    text = str(error.value)
    assert "Missing 252 of 318 arrays" in text
    for stage, count in ((3, 78), (4, 114), (5, 60)):
        assert f"stage{stage}: all {count} arrays, res{stage}a_branch2a/kernel to bn{stage}" in text


def test_missing_extra_and_misshapen_arrays_are_collected_with_the_nearest_name(tmp_path):
    arrays = checkpoints.arrays_of(checkpoints.small())
    arrays["res2b_branch2b/kernal"] = arrays.pop("res2b_branch2b/kernel")
    arrays["bn2b_branch2b/gamma"] = np.ones(5, np.float32)
    arrays["res2b_branch2c/bias"] = np.ones(8, np.int32)
    with pytest.raises(MappingError) as error:
        identified(checkpoints.legacy_weights(tmp_path / "w.h5", arrays))
    text = str(error.value)
    assert "Missing 1 of 76 arrays:\n  res2b_branch2b/kernel (nearest: res2b_branch2b/kernal)" in text
    assert "'res2b_branch2b/kernal' (3, 3, 4, 4) (nearest: res2b_branch2b/kernel)" in text
    assert "bn2b_branch2b/gamma: expected shape (4,), received (5,)" in text
    assert "res2b_branch2c/bias: expected floating-point numbers, received int32" in text


def test_theano_kernels_are_named(tmp_path):
    arrays = checkpoints.arrays_of(checkpoints.small())
    name = "res2b_branch2b/kernel"
    arrays["res2b_branch2c/kernel"] = np.ascontiguousarray(arrays["res2b_branch2c/kernel"].transpose(3, 2, 0, 1))
    with pytest.raises(MappingError, match=re.escape("(1, 1, 4, 8), received (8, 4, 1, 1) (Theano's order")):
        identified(checkpoints.legacy_weights(tmp_path / f"{name[:5]}.h5", arrays))


def test_a_model_with_the_names_and_another_computation_is_no_resnet(tmp_path):
    """A stride moved in one block only: the names fit, the graph does not."""
    import weight_transfer.resnet.keras_config as keras_config

    architecture = checkpoints.small("keras-applications")
    original = keras_config.legacy_keras_config
    config = original(architecture)
    for layer in config["config"]["layers"]:
        if layer["name"] == "conv3_block1_0_bn":
            layer["config"]["epsilon"] = 1e-3
        if layer["name"] == "conv2_block2_2_conv":
            layer["config"]["activation"] = "relu"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weight_transfer.conversion.keras_model.legacy_keras_config", lambda *_: config)
        checkpoints.write_checkpoint(tmp_path / "m.h5", architecture, checkpoints.arrays_of(architecture))
    assert identified(tmp_path / "m.h5") is None
    with pytest.raises(ArchitectureError) as error:
        identified(tmp_path / "m.h5", import_as="native")
    assert "its model computes something else" in str(error.value)
    assert "conv3_block1_0_bn: epsilon expected 1.001e-05, the file's model has 0.001" in str(error.value)
    there = "conv2_block2_2_bn: input expected conv2_block2_2_conv, the file's model has relu of"
    assert f"{there} conv2_block2_2_conv" in str(error.value)


def test_what_the_file_does_not_show_is_told(tmp_path):
    path = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small("keras-applications"), weights_only=True)
    with read_checkpoint(path) as checkpoint:
        assumed = identify(checkpoint, Hints(conventions={"epsilon": 0.5})).assumed
    assert "epsilon 0.5 (you said so)" in assumed
    assert "stem_padding zeros (keras-applications)" in assumed


@pytest.mark.parametrize("top", [False, True])
def test_the_list_of_the_published_resnet50_is_its_dialects(shared_data, top, tmp_path):
    """As Keras 1 wrote it: one padding, and a pooling of 7 x 7 behind which the whole network flattens."""
    names = json.loads((shared_data / "wild" / "resnet50_notop_imagenet_layer_names.json").read_text())
    widths = tuple((width, width, 4 * width) for width in (2, 3, 4, 5))
    head = Head(classes=4) if top else Head(pooling=None, classes=None)
    arrays = checkpoints.arrays_of(design(50, dialect="keras-2.1", filters=widths, stem_filters=2, head=head))
    path = checkpoints.legacy_weights(tmp_path / "w.h5", arrays)
    listed = [*names, "flatten_1", "fc1000"] if top else names
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [name.encode() for name in listed]
        for name in set(listed) - set(file):
            file.create_group(name).attrs["weight_names"] = np.array([], "S1")
    if top:
        assert identified(path).conventions.pool_padding == "none"
    else:
        with pytest.raises(ArchitectureError, match=r"--dialect keras-2\.1: pool_padding none"):
            identified(path)  # Mask R-CNN's pads its pool otherwise, by no layer
    for dialect in ("keras-2.1", "keras-2.2"):
        assert identified(path, dialect=dialect).head.pooling == ("avg" if top else None)
    with read_checkpoint(path) as checkpoint:
        assumed = identify(checkpoint, Hints(dialect="keras-2.1")).assumed
    assert ("no pooling at the end, where the file lists one layer more" in assumed) is not top
