"""cnn_finetune's ResNet-101 and -152: told from Caffe's own names, and every layer `Scale` compared with Keras's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import checkpoints
import h5py
import keras_families
import numpy as np
import pytest
import torch
from sweeps import slow_but

from resnet_torch import load_model
from resnet_torch.layers.normalizations import Scale
from weight_transfer import (
    ArchitectureError,
    Graph,
    Hints,
    MappingError,
    Verification,
    convert,
    design,
    identify,
    read_checkpoint,
    verify,
)
from weight_transfer.conversion.description import describe
from weight_transfer.families import recognise
from weight_transfer.families.cnn_finetune import resnet
from weight_transfer.families.needed import needed_arrays
from weight_transfer.families.staged import Staged
from weight_transfer.graph import read_graph
from weight_transfer.preprocessing import preset

SMALL = Staged("bottleneck", (2, 2, 1, 1), (4, 6, 8, 10), stem_filters=4, in_channels=3, classes=5)
LABELS = ("ab", ("a", "b1"), "a", "a")


def arrays_of(network: Staged = SMALL, classifier: str = "fc1000") -> dict[str, np.ndarray]:
    """Distinct positive numbers for every array of a network, by ``layer/role``."""
    generator = np.random.default_rng(0)
    return {
        f"{layer.path}/{role}": generator.uniform(0.1, 1.0, shape).astype("float32")
        for layer in needed_arrays(read_graph(resnet(network, LABELS, classifier)))
        for role, shape in layer.weights.items()
    }


def assert_equal(found: Verification, reference: str, network: Graph) -> None:
    """In float64: nobody trained these weights, and float32's rounding is amplified on either side."""
    wrong = [row for row in found.rows if not row.passed]
    assert not wrong, wrong[0]
    assert found.weights_equal == found.weights_total > 0
    assert found.reference == reference
    named = {row.name for row in found.of("inference")}
    assert {name for name in named if not name.endswith("/logits")} == {call.value for call in network.calls}
    assert {layer.class_name for layer in network.layers.values()} >= {"Scale", "BatchNormalization"}


CASES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "small": ("tf_keras", "legacy", {"counts": (2, 2, 1, 1)}),
    "keras 3": ("keras", "keras3", {"counts": (1, 2, 1, 1), "top": "fc8"}),
    "no top": ("keras", "legacy", {"counts": (1, 1, 1, 1), "classes": None}),
    "101": ("tf_keras", "legacy", {"counts": (3, 4, 23, 3), "width": 2}),
}


@pytest.mark.parametrize("name", slow_but(["small", "keras 3", "no top"], CASES))
def test_every_layer_computes_what_keras_computes(name, keras_side, tmp_path, runner):
    library, layout, arguments = CASES[name]
    original = keras_side(keras_families.saved, tmp_path, library, "cnn-finetune", 0, (), **arguments)
    conversion = convert(original.files[layout], tmp_path / "port.safetensors")
    network = conversion.network
    assert network.architecture is None
    assert conversion.description.preprocessing == preset("caffe")
    assert conversion.assumed[0].startswith("cnn_finetune ResNet: bottleneck blocks")
    found = verify(original.files[layout], conversion.output, devices=("cpu",), runner=runner)
    assert_equal(found, "twin", network)


@pytest.mark.parametrize(
    ("library", "suffix"), [("tf_keras", ".h5"), ("keras", ".h5"), ("keras", ".keras"), ("tf_keras", ".keras")]
)
def test_a_full_model_with_the_layer_is_imported(library, suffix, keras_side, tmp_path, runner):
    arguments = {"counts": (1, 1, 1, 1)}
    source = keras_side(keras_families.saved_whole, tmp_path / f"m{suffix}", library, "cnn-finetune", **arguments)
    conversion = convert(source, tmp_path / "port.safetensors")
    assert conversion.network.architecture is None
    found = verify(source, conversion.output, devices=("cpu",), runner=runner)
    assert_equal(found, "file", conversion.network)
    assert found.loaded_by.startswith(library)


def _more(config: dict[str, Any]) -> None:
    config["mode"] = 2


def _fewer(config: dict[str, Any]) -> None:
    del config["momentum"]


@pytest.mark.parametrize("change", [_more, _fewer])
def test_another_class_of_the_name_is_refused_by_name(change, keras_side, tmp_path):
    path = tmp_path / "m.h5"
    keras_side(keras_families.saved_whole, path, "tf_keras", "cnn-finetune", counts=(1, 1, 1, 1))
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(next(row["config"] for row in config["config"]["layers"] if row["name"] == "scale2a_branch1"))
        file.attrs["model_config"] = json.dumps(config)
    with (
        read_checkpoint(path) as checkpoint,
        pytest.raises(ArchitectureError, match=r"layer 'scale2a_branch1' \(Scale\): this class is not supported"),
    ):
        identify(checkpoint)


@pytest.mark.parametrize(("depth", "counts"), [(101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))])
def test_the_published_depths_are_recognised(depth, counts, keras_side, tmp_path):
    shapes = keras_side(keras_families.shapes, "cnn-finetune", counts, 64, 1000)
    empty = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
    with read_checkpoint(checkpoints.legacy_weights(tmp_path / "deep.h5", empty)) as checkpoint:
        (found,) = recognise(checkpoint)
        assert sorted(found.names.values()) == sorted(checkpoint.arrays)
    blocks = ", ".join(map(str, counts))
    assert found.title == (
        f"cnn_finetune ResNet{depth}: bottleneck blocks {blocks}; widths 64, 128, 256, 512; 1000 classes"
    )


ROLES = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}


def keras_1_file(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """As Keras 1 names them: ``scale2a_branch2a_gamma`` in the group of the layer."""
    renamed = {}
    for name, values in arrays.items():
        layer, _, role = name.partition("/")
        renamed[f"{layer}/{layer}_{ROLES.get(role, role)}"] = values
    return checkpoints.legacy_weights(path, renamed, keras_1=True)


def test_keras_1_names_are_the_same_arrays_bit_for_bit(tmp_path):
    arrays = arrays_of()
    conversion = convert(keras_1_file(tmp_path / "resnet101_weights_tf.h5", arrays), tmp_path / "port.safetensors")
    assert conversion.num_arrays == len(arrays)
    model = load_model(conversion.output)
    scale = model.get_submodule("scale3b1_branch2c")
    assert isinstance(scale, Scale)
    np.testing.assert_array_equal(scale.weight.detach().numpy(), arrays["scale3b1_branch2c/gamma"])
    np.testing.assert_array_equal(scale.bias.detach().numpy(), arrays["scale3b1_branch2c/beta"])
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 5)


def without_scale(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values for name, values in arrays.items() if not name.startswith("scale")}


def test_caffes_own_names_are_a_resnets(tmp_path):
    caffe = design(101, dialect="caffe", stem_filters=4, filters=((4, 4, 4),) * 4)
    path = checkpoints.checkpoint(tmp_path / "caffe.h5", caffe, weights_only=True)
    with read_checkpoint(path) as checkpoint:
        assert recognise(checkpoint) == []
        assert identify(checkpoint, Hints(dialect="caffe")).network.resnet.dialect == "caffe"
    with read_checkpoint(checkpoints.legacy_weights(tmp_path / "bare.h5", without_scale(arrays_of()))) as checkpoint:
        assert recognise(checkpoint) == []


def test_a_scale_is_never_left_out(tmp_path):
    path = checkpoints.legacy_weights(tmp_path / "w.h5", arrays_of())
    with read_checkpoint(path) as checkpoint:
        assert identify(checkpoint).network.architecture is None
        assert identify(checkpoint, Hints(family="cnn-finetune")).network.architecture is None
        with pytest.raises(MappingError, match="scale2a_branch1"):
            identify(checkpoint, Hints(dialect="caffe"))


def _no_beta(arrays: dict[str, np.ndarray]) -> None:
    del arrays["scale2a_branch2b/beta"]


def _no_kernel(arrays: dict[str, np.ndarray]) -> None:
    del arrays["res3a_branch2a/kernel"]


def _channels_first(arrays: dict[str, np.ndarray]) -> None:
    arrays["conv1/kernel"] = arrays["conv1/kernel"].transpose(3, 2, 0, 1)  # resnet101_weights_th.h5


def _another_classifier(arrays: dict[str, np.ndarray]) -> None:
    arrays["fc8/kernel"], arrays["fc8/bias"] = np.ones((40, 2), "float32"), np.ones(2, "float32")


@pytest.mark.parametrize("change", [_no_beta, _no_kernel, _channels_first, _another_classifier])
def test_what_does_not_fit_is_not_recognised(change, tmp_path):
    arrays = arrays_of()
    with read_checkpoint(checkpoints.legacy_weights(tmp_path / "whole.h5", arrays)) as checkpoint:
        assert [one.family for one in recognise(checkpoint)] == ["cnn-finetune"]
    change(arrays)
    with read_checkpoint(checkpoints.legacy_weights(tmp_path / "changed.h5", arrays)) as checkpoint:
        assert recognise(checkpoint) == []


def test_the_person_decides_on_the_preprocessing(tmp_path):
    path = checkpoints.legacy_weights(tmp_path / "w.h5", arrays_of())
    with read_checkpoint(path) as checkpoint:
        hints = Hints(preprocessing=preset("none"))
        found = describe(checkpoint, identify(checkpoint, hints), hints)
    assert found.network.architecture is None
    assert (found.preprocessing.name, found.preprocessing.certainty) == ("none", "known")
