"""Which architecture a file holds: the names decide, and where they cannot, a flag does."""

from __future__ import annotations

import dataclasses
import re

import checkpoints
import numpy as np
import pytest

from weight_transfer import (
    Architecture,
    ArchitectureError,
    Head,
    Hints,
    LayerGraph,
    MappingError,
    design,
    identify,
    read_checkpoint,
)
from weight_transfer.conversion.mapping import mapping
from weight_transfer.dialects import DIALECTS, head_for


def identified(path, **hints) -> Architecture:
    with read_checkpoint(path) as checkpoint:
        return identify(checkpoint, Hints(**hints)).network


def same_network(actual: Architecture, expected: Architecture) -> bool:
    """Equal but for what only training sees and for names of layers without weights."""
    return (actual.block, actual.block_counts, actual.filters, actual.head, mapping(actual)) == (
        expected.block,
        expected.block_counts,
        expected.filters,
        expected.head,
        mapping(expected),
    ) and dataclasses.replace(actual.conventions, kernel_initializer="he_normal") == dataclasses.replace(
        expected.conventions, kernel_initializer="he_normal"
    )


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_every_dialect_and_depth_is_told_from_names_given_the_dialect(dialect, depth, tmp_path):
    width = 3 if depth > 34 else 2
    filters = tuple((4,) * width for _ in range(4))
    expected = design(depth, dialect=dialect, stem_filters=4, filters=filters, in_shape=(224, 224, 3))
    path = checkpoints.checkpoint(tmp_path / "w.h5", expected, weights_only=True)
    assert same_network(identified(path, dialect=dialect), expected)


@pytest.mark.parametrize("dialect", ["tutorial", "keras-applications"])
def test_names_of_one_dialect_alone_need_no_flag(dialect, tmp_path):
    expected = checkpoints.small(dialect)
    path = checkpoints.checkpoint(tmp_path / "w.h5", expected, weights_only=True)
    assert identified(path).dialect == dialect


def test_full_model_shows_its_own_conventions(tmp_path):
    """Names of one dialect, conventions of none: the graph in the file decides."""
    expected = checkpoints.small(
        "keras-2.2", epsilon=3e-4, momentum=0.9, stride_in="3x3", stem_padding="same", pool_padding="none"
    )
    actual = identified(checkpoints.checkpoint(tmp_path / "m.h5", expected))
    assert same_network(actual, expected)
    assert actual.in_shape == (33, 33, 3)


@pytest.mark.parametrize(
    "head",
    [
        Head(pooling="avg", classes=None),
        Head(pooling="max", classes=None),
        Head(pooling=None, classes=None),
        Head(classes=1, activation="sigmoid"),
        Head(classes=9, activation="linear"),
        Head(classes=9, dropout=0.25),
        Head(pooling="max", classes=9),
    ],
)
def test_full_model_shows_its_head(head, tmp_path):
    expected = checkpoints.small("keras-applications", head=head)
    assert identified(checkpoints.checkpoint(tmp_path / "m.keras", expected)).head == head


def test_tutorial_head_on_another_backbone(tmp_path):
    names = {"hidden": "fc_01", "classifier": "fc_final"}
    base = checkpoints.small("keras-applications", head=Head(hidden_units=5, classes=3, dropout=0.5))
    expected = dataclasses.replace(base, names=dataclasses.replace(base.names, **names))
    assert same_network(identified(checkpoints.checkpoint(tmp_path / "m.h5", expected)), expected)


@pytest.mark.parametrize("stem_conv", ["conv", "conv1"])
def test_tutorial_stem_has_two_names(stem_conv, tmp_path):
    base = checkpoints.small()
    expected = dataclasses.replace(base, names=dataclasses.replace(base.names, stem_conv=stem_conv))
    path = checkpoints.checkpoint(tmp_path / "w.h5", expected, weights_only=True)
    assert same_network(identified(path), expected)


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


def test_several_descriptions_are_listed_with_the_deciding_flag(tmp_path):
    path = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small("keras-2.2"), weights_only=True)
    with pytest.raises(ArchitectureError) as error:
        identified(path)
    assert "2 descriptions fit its names and shapes" in str(error.value)
    assert "--dialect keras-2.1: pool_padding none" in str(error.value)
    assert "--dialect keras-2.2: pool_padding zeros" in str(error.value)


def test_a_flag_that_removes_the_difference_decides(tmp_path):
    path = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small("keras-2.2"), weights_only=True)
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
    import weight_transfer.keras_config as keras_config
    from weight_transfer.checkpoint.writing import write_checkpoint

    architecture = checkpoints.small("keras-applications")
    original = keras_config.legacy_keras_config
    config = original(architecture)
    for layer in config["config"]["layers"]:
        if layer["name"] == "conv3_block1_0_bn":
            layer["config"]["epsilon"] = 1e-3
        if layer["name"] == "conv2_block2_2_conv":
            layer["config"]["activation"] = "relu"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weight_transfer.checkpoint.writing.legacy_keras_config", lambda _: config)
        write_checkpoint(tmp_path / "m.h5", architecture, checkpoints.arrays_of(architecture))
    assert isinstance(identified(tmp_path / "m.h5"), LayerGraph)
    with pytest.raises(ArchitectureError) as error:
        identified(tmp_path / "m.h5", import_as="native")
    assert "its model computes something else" in str(error.value)
    assert "conv3_block1_0_bn: epsilon expected 1.001e-05, the file's model has 0.001" in str(error.value)
    assert "conv2_block2_2_conv: activation expected linear, the file's model has relu" in str(error.value)


def test_hints_are_checked():
    with pytest.raises(ArchitectureError, match="unknown dialect"):
        Hints(dialect="klingon")
    with pytest.raises(ArchitectureError, match="depth must be one of"):
        Hints(depth=51)


def test_the_same_layer_in_two_nested_models_is_refused(tmp_path):
    arrays = {
        f"{model}/{layer}/kernel": np.ones((7, 7, 3, 4), np.float32)
        for model in ("left", "right")
        for layer in ("conv1", "conv2")
    }
    path = checkpoints.legacy_weights(tmp_path / "w.h5", arrays)
    with pytest.raises(MappingError, match="are the same layer of two nested models"):
        identified(path)


def test_what_the_file_does_not_show_is_told(tmp_path):
    path = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small("keras-applications"), weights_only=True)
    with read_checkpoint(path) as checkpoint:
        assumed = identify(checkpoint, Hints(conventions={"preprocessing": "tf"})).assumed
    assert "preprocessing tf (you said so)" in assumed
    assert "epsilon 1.001e-05 (keras-applications)" in assumed


def test_layer_counters_are_named_by_the_architecture(tmp_path):
    """A Keras 3 weights file without names, as tf_keras writes it, given the dialect and depth."""
    import h5py

    expected = design(
        18,
        dialect="keras-applications",
        stem_filters=4,
        filters=tuple((w, w) for w in (4, 5, 6, 7)),
        head=head_for("keras-applications", 3),
    )
    path = checkpoints.checkpoint(tmp_path / "m.weights.h5", expected)
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            del group["vars"].attrs["name"]
    arrays = checkpoints.arrays_of(expected)
    with read_checkpoint(path) as checkpoint:
        assert checkpoint.names_are_counters
        found = identify(checkpoint, Hints(dialect="keras-applications"))
        for name, value in arrays.items():
            np.testing.assert_array_equal(found.arrays[name].read(), value)
