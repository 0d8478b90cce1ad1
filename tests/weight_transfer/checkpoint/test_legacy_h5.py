"""Keras 1 and 2: whose weights a name in a group means."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from handmade_h5 import some, write_legacy
from hypothesis import given, settings
from hypothesis import strategies as st

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.errors import CheckpointError


def names_in(path):
    with read_checkpoint(path) as checkpoint:
        return list(checkpoint.arrays)


@pytest.mark.parametrize("ending", ["", "_1", ":0", "_1:0"])
def test_keras_1_names(tmp_path, ending):
    """As the official resnet50_weights_tf_dim_ordering_tf_kernels.h5 has them."""
    layers = {
        "res2a_branch2a": {f"res2a_branch2a_W{ending}": some(1, 1, 2, 3), f"res2a_branch2a_b{ending}": some(3)},
        "bn2a_branch2a": {
            f"bn2a_branch2a_{suffix}{ending}": some(3) * factor
            for factor, suffix in enumerate(("gamma", "beta", "running_mean", "running_std"), start=1)
        },
        "input_1": {},
    }
    with read_checkpoint(write_legacy(tmp_path / "a.h5", layers)) as checkpoint:
        assert list(checkpoint.arrays) == [
            "res2a_branch2a/kernel",
            "res2a_branch2a/bias",
            "bn2a_branch2a/gamma",
            "bn2a_branch2a/beta",
            "bn2a_branch2a/moving_mean",
            "bn2a_branch2a/moving_variance",
        ]
        np.testing.assert_array_equal(checkpoint["bn2a_branch2a/moving_variance"], some(3) * 4)
        assert not checkpoint.names_are_counters


@pytest.mark.parametrize("texts", [bytes, str])
@pytest.mark.parametrize("parts", [1, 3, 12])
def test_lists_of_names_may_be_split(tmp_path, texts, parts):
    layers = {f"conv{i}": {f"conv{i}/kernel:0": some(2, 2) * i, f"conv{i}/bias:0": some(2)} for i in range(1, 40)}
    with read_checkpoint(write_legacy(tmp_path / "a.h5", layers, parts=parts, texts=texts)) as checkpoint:
        assert list(checkpoint.arrays) == [f"conv{i}/{role}" for i in range(1, 40) for role in ("kernel", "bias")]
        np.testing.assert_array_equal(checkpoint["conv39/kernel"], some(2, 2) * 39)


@pytest.mark.parametrize(
    ("group", "weight_name", "expected"),
    [
        ("conv2d_1", "conv2d_1_6/kernel:0", "conv2d_1/kernel"),  # a TensorFlow graph's counter
        ("conv2d_7", "conv2d/kernel:0", "conv2d_7/kernel"),
        ("stem", "conv2d_3/kernel:0", "stem/kernel"),  # renamed after it was built
        ("fc", "sequential/fc/kernel", "fc/kernel"),  # Keras 3 writes the outer model's name
        ("dense_1", "dense_1/kernel_1:0", "dense_1/kernel"),
        ("embedding", "embedding/embeddings:0", "embedding/embeddings"),
        ("odd", "Variable:0", "odd/Variable"),
        ("scale2a_branch2a", "scale2a_branch2a_gamma:0", "scale2a_branch2a/gamma"),  # cnn_finetune's layer in Keras 1
        ("scale_conv1", "scale_conv1/scale_conv1_beta:0", "scale_conv1/beta"),  # and in Keras 2
        ("scale_conv1", "scale_conv1_2/scale_conv1_gamma_1:0", "scale_conv1/gamma"),
        ("mixed", "mixed/other_gamma:0", "mixed/other_gamma"),
    ],
)
def test_the_group_is_the_layer(tmp_path, group, weight_name, expected):
    assert names_in(write_legacy(tmp_path / "a.h5", {group: {weight_name: some(2)}})) == [expected]


NESTED = {
    "plain": ["conv1/kernel:0", "bn_conv1/gamma:0"],
    "with its own name": ["resnet50/conv1/kernel:0", "resnet50/bn_conv1/gamma:0"],
    "with an outer name": ["outer/resnet50_2/conv1/kernel:0", "outer/resnet50_2/bn_conv1/gamma:0"],
    "keras 1": ["conv1_W:0", "bn_conv1_gamma:0"],
}


@pytest.mark.parametrize("weight_names", NESTED.values(), ids=NESTED)
def test_a_nested_model_is_told_by_its_several_layers(tmp_path, weight_names):
    path = write_legacy(tmp_path / "a.h5", {"resnet50": dict.fromkeys(weight_names, some(2))})
    assert names_in(path) == ["resnet50/conv1/kernel", "resnet50/bn_conv1/gamma"]


def test_a_layer_name_may_hold_slashes(tmp_path):
    """As keras.applications names the layers of a DenseNet."""
    layers = {"conv1/conv": {"conv1/conv/kernel:0": some(2)}, "conv1/bn": {"conv1/bn/gamma:0": some(2)}}
    with read_checkpoint(write_legacy(tmp_path / "a.h5", layers)) as checkpoint:
        assert list(checkpoint.arrays) == ["conv1/conv/kernel", "conv1/bn/gamma"]
        assert checkpoint.skipped == ()


def test_a_layer_may_hold_layers(tmp_path):
    weights = ["q_conv/kernel:0", "q_conv/batch_normalization/gamma:0"]
    path = write_legacy(tmp_path / "a.h5", {"q_conv": dict.fromkeys(weights, some(2))})
    assert names_in(path) == ["q_conv/kernel", "q_conv/batch_normalization/gamma"]


def sequential(name, *layers):
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def layer(class_name, name):
    return {"class_name": class_name, "config": {"name": name}}


def test_the_config_tells_a_nested_model_of_one_layer_and_undoes_counters(tmp_path):
    config = sequential(
        "outer",
        sequential("encoder", sequential("resnet50", layer("Conv2D", "conv1"), layer("BatchNormalization", "bn_1"))),
        sequential("head", {"class_name": "Lambda", "config": {}}, layer("Dense", "fc")),
        layer("Dense", "logits"),
        layer("Dense", "absent"),
    )
    layers = {
        "encoder": {"conv1_3/kernel:0": some(2), "bn_1/gamma:0": some(2), "stray/kernel:0": some(2)},
        "head": {"fc/kernel:0": some(2)},
        "logits": {"outer/logits/kernel:0": some(2)},
    }
    assert names_in(write_legacy(tmp_path / "a.h5", layers, config=config)) == [
        "encoder/resnet50/conv1/kernel",
        "encoder/resnet50/bn_1/gamma",
        "encoder/stray/kernel",
        "head/fc/kernel",
        "logits/kernel",
    ]


def test_a_sequential_config_before_keras_2_2_3_is_a_list(tmp_path):
    config = {"class_name": "Sequential", "config": [{**sequential("head"), "config": [layer("Dense", "fc")]}]}
    config["config"][0]["name"] = "head"
    path = write_legacy(tmp_path / "a.h5", {"head": {"fc/kernel:0": some(2)}}, config=config)
    assert names_in(path) == ["head/fc/kernel"]


@given(
    layer=st.from_regex(r"[a-z][a-zA-Z0-9_]{0,12}", fullmatch=True),
    ending=st.sampled_from(["", ":0", "_1:0", "_12"]),
    role=st.sampled_from([("W", "kernel"), ("b", "bias"), ("running_mean", "moving_mean")]),
)
@settings(max_examples=40, deadline=None)
def test_any_keras_1_layer_is_read_back(tmp_path_factory, layer, ending, role):
    path = tmp_path_factory.mktemp("keras1") / "a.h5"
    suffix, expected = role
    assert names_in(write_legacy(path, {layer: {f"{layer}_{suffix}{ending}": some(2)}})) == [f"{layer}/{expected}"]


def test_weights_of_the_model_itself_are_kept_and_foreign_groups_listed(tmp_path):
    path = write_legacy(
        tmp_path / "a.h5", {"top_level_model_weights": {"scale:0": some(1)}, "conv": {"conv/bias:0": some(1)}}
    )
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [b"conv"]
        file["notes/\x1b[2J"] = some(1)
        file["also\x1b"] = some(1)
        file.attrs["backend"] = "tensor\x1bflow"
        file.attrs["keras_version"] = b"1.2.2"
    with read_checkpoint(path) as checkpoint:
        assert list(checkpoint.arrays) == ["conv/bias", "top_level_model_weights/scale"]
        assert checkpoint.skipped == (r"'also\x1b'", "notes")
        assert (checkpoint.backend, checkpoint.keras_version) == (r"'tensor\x1bflow'", "1.2.2")


def test_a_layer_that_is_missing(tmp_path):
    path = write_legacy(tmp_path / "a.h5", {"conv": {"conv/kernel:0": some(2)}})
    with h5py.File(path, "a") as file:
        del file["conv"]
    with pytest.raises(CheckpointError, match=r"'/conv': the file names it, but does not hold it. The file is damaged"):
        read_checkpoint(path)


def test_an_array_that_is_missing(tmp_path):
    path = write_legacy(tmp_path / "a.h5", {"conv": {"conv/kernel:0": some(2)}})
    with h5py.File(path, "a") as file:
        del file["conv/conv/kernel:0"]
    with pytest.raises(CheckpointError, match="'/conv/conv/kernel:0': the file names it, but does not hold it"):
        read_checkpoint(path)


def test_a_full_model_without_layer_names(tmp_path):
    path = write_legacy(tmp_path / "a.h5", {"conv": {"conv/kernel:0": some(2)}}, config=sequential("a"))
    with h5py.File(path, "a") as file:
        del file["model_weights"].attrs["layer_names"]
    with pytest.raises(CheckpointError, match="'/model_weights': it lacks the attribute 'layer_names'"):
        read_checkpoint(path)


def test_two_arrays_of_one_name(tmp_path):
    path = write_legacy(tmp_path / "a.h5", {"conv": {"conv/kernel:0": some(2), "conv_1/kernel": some(2)}})
    assert names_in(path) == ["conv/conv/kernel", "conv/conv_1/kernel"]
    path = write_legacy(tmp_path / "b.h5", {"conv": {"conv/kernel:0": some(2), "conv/kernel_1:0": some(2)}})
    with pytest.raises(CheckpointError, match="'/conv/conv/kernel:0' and '/conv/conv/kernel_1:0' are both named"):
        read_checkpoint(path)


def test_a_name_that_a_terminal_would_obey(tmp_path):
    path = write_legacy(tmp_path / "a.h5", {"conv\x1b[31m": {"conv/kernel:0": some(2)}})
    with pytest.raises(CheckpointError, match=r"'conv\\x1b\[31m/kernel' holds characters that cannot be printed"):
        read_checkpoint(path)


def test_no_weights_at_all(tmp_path):
    with pytest.raises(CheckpointError, match="it holds no weights"):
        read_checkpoint(write_legacy(tmp_path / "a.h5", {"input_1": {}}))


def test_a_config_that_is_no_object(tmp_path):
    with pytest.raises(CheckpointError, match="model_config': not a model's config"):
        read_checkpoint(write_legacy(tmp_path / "a.h5", {"conv": {"conv/kernel:0": some(2)}}, config=[1]))
