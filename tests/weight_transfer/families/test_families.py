"""Every family's network as Keras saves it: recognised, rebuilt from our config, and the same to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import keras_families
import numpy as np
import pytest
from checkpoints import checkpoint as write_native
from checkpoints import legacy_weights, small

from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.errors import MappingError
from weight_transfer.families import FAMILIES, Recognised, like, recognise
from weight_transfer.graph import Graph, Layer, read_graph

BOTH = ("tf_keras", "keras")
PREACT = ("one-pixel-attack", "cifar-10-cnn")  # they differ in no name, no shape, no order of layers


def _v1_blocks(n: int, widths: tuple[int, ...]) -> list[tuple[int, int, bool]]:
    return [(w, w, stage > 0 and block == 0) for stage, w in enumerate(widths) for block in range(n)]


@dataclass(frozen=True)
class Case:
    """A network of `keras_families` and what is made of it.

    Attributes:
        network: Key of `keras_families.NETWORKS`.
        family: That it must be recognised as.
        says: Words of the title.
        arguments: Of the network.
        images: Their shape; none to leave out the predictions.
        families: All that fit, where there are more.
        published: Whether it has the depth and widths of a publication, without which a file that
            only counts its layers is not recognised in the families that name theirs.
        libraries: That build it.
        slow: Whether it takes more than a few seconds.
    """

    network: str
    family: str
    says: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[int, ...] = (2, 32, 32, 3)
    families: tuple[str, ...] = ()
    published: bool = True
    libraries: tuple[str, ...] = BOTH
    slow: bool = False


CASES: Mapping[str, Case] = {
    "cifar-v1-20": Case(
        "cifar-v1", "cifar-v1", "ResNet-20: blocks 3, 3, 3; widths 16, 32, 64", {"blocks": _v1_blocks(3, (16, 32, 64))}
    ),
    "cifar-v1-pruned": Case(
        "cifar-v1",
        "cifar-v1",
        "ResNet-12: blocks 2, 2, 1; widths 8, 12, 20; 7 classes",
        {
            "blocks": [(3, 8, False), (1, 8, False), (5, 12, True), (7, 12, False), (9, 20, True)],
            "classes": 7,
            "stem": 8,
        },
    ),
    "cifar-v1-64-pixels": Case(
        "cifar-v1",
        "cifar-v1",
        "ResNet-14",
        {"blocks": _v1_blocks(2, (8, 16, 32)), "image": 64, "stem": 8},
        images=(1, 64, 64, 3),
        libraries=("tf_keras",),
    ),
    "cifar-v2-20": Case("cifar-v2", "cifar-v2", "ResNet-20: blocks 2, 2, 2; widths 64, 128, 256", {"num_blocks": 2}),
    "cifar-v2-11": Case("cifar-v2", "cifar-v2", "ResNet-11: blocks 1, 1, 1", {"num_blocks": 1, "width": 8}),
    "mlperf-tiny": Case(
        "cifar-v1", "mlperf-tiny", "ResNet-8: 26 filters", {"blocks": _v1_blocks(1, (26, 52, 104)), "stem": 26}
    ),
    "one-pixel": Case(
        "preact",
        "one-pixel-attack",
        "ResNet-8",
        {"num_blocks": 1, "epsilon": 1e-3, "momentum": 0.99, "activated": False},
        families=PREACT,
    ),
    "cifar-10-cnn": Case(
        "preact",
        "cifar-10-cnn",
        "ResNet-8",
        {"num_blocks": 1, "epsilon": 1e-5, "momentum": 0.9, "activated": True},
        families=PREACT,
    ),
    "resnet50v2": Case(
        "application",
        "keras-applications-v2",
        "ResNet50V2: bottleneck blocks 3, 4, 6, 3; widths 64, 128, 256, 512; 5 classes",
        {"name": "ResNet50V2", "classes": 5},
        images=(1, 224, 224, 3),
        libraries=("keras",),
        slow=True,
    ),
    "resnet50v2-notop": Case(
        "application",
        "keras-applications-v2",
        "ResNet50V2: bottleneck blocks 3, 4, 6, 3; widths 64, 128, 256, 512; no top",
        {"name": "ResNet50V2", "include_top": False},
        images=(1, 65, 47, 3),
        libraries=("tf_keras",),
        slow=True,
    ),
    "small-v2": Case(
        "small-v2",
        "keras-applications-v2",
        "ResNetV2: bottleneck blocks 2, 3, 2; widths 8, 16, 32; 1 classes",
        {"classes": 1, "classifier_activation": "sigmoid"},
        images=(1, 224, 224, 3),
        published=False,
    ),
    "keras-hub-basic": Case(
        "keras-hub",
        "keras-hub",
        "basic blocks 2, 1; widths 8, 16",
        {"basic": True, "counts": (2, 1)},
        published=False,
    ),
    "keras-hub-bottleneck": Case(
        "keras-hub",
        "keras-hub",
        "bottleneck blocks 2, 2, 1; widths 8, 16, 32; 6 classes",
        {"basic": False, "counts": (2, 2, 1), "classes": 6},
        published=False,
    ),
    "keras-hub-18": Case(
        "keras-hub",
        "keras-hub",
        "KerasHub ResNet18: basic blocks 2, 2, 2, 2",
        {"basic": True, "counts": (2, 2, 2, 2), "width": 64},
        libraries=("tf_keras",),
    ),
    "qubvel-basic": Case(
        "qubvel",
        "classification-models",
        "basic blocks 1, 2; widths 8, 16",
        {"basic": True, "counts": (1, 2)},
        published=False,
    ),
    "qubvel-bottleneck": Case(
        "qubvel",
        "classification-models",
        "bottleneck blocks 2, 1; widths 8, 16; 9 classes",
        {"basic": False, "counts": (2, 1), "classes": 9},
        images=(1, 224, 224, 3),
        published=False,
    ),
    "qubvel-late": Case(
        "qubvel",
        "classification-models",
        "basic blocks 2, 2",
        {"basic": True, "counts": (2, 2), "late": True},
        published=False,
    ),
    "qubvel-18": Case(
        "qubvel",
        "classification-models",
        "classification_models ResNet18: basic blocks 2, 2, 2, 2",
        {"basic": True, "counts": (2, 2, 2, 2), "width": 64},
        libraries=("tf_keras",),
    ),
    "cnn-finetune": Case(
        "cnn-finetune",
        "cnn-finetune",
        "cnn_finetune ResNet: bottleneck blocks 2, 2, 1, 1; widths 4, 8, 16, 32; 5 classes",
        {"counts": (2, 2, 1, 1)},
        images=(1, 224, 224, 3),
        published=False,
    ),
    "cnn-finetune-tuned": Case(
        "cnn-finetune",
        "cnn-finetune",
        "bottleneck blocks 3, 3, 1, 2; widths 4, 8, 16, 32; 7 classes",
        {"counts": (3, 3, 1, 2), "classes": 7, "top": "fc8"},
        images=(1, 224, 224, 3),
        published=False,
        libraries=("tf_keras",),
    ),
    "cnn-finetune-notop": Case(
        "cnn-finetune",
        "cnn-finetune",
        "bottleneck blocks 1, 1, 1, 1; widths 4, 8, 16, 32; no top",
        {"counts": (1, 1, 1, 1), "classes": None},
        images=(1, 251, 230, 3),
        published=False,
    ),
    "alpha-zero": Case(
        "alpha-zero",
        "alpha-zero",
        "blocks 2; widths 8; board 6 x 7; 7 moves",
        images=(2, 2, 6, 7),
        libraries=("keras",),
    ),
    "alpha-zero-counted": Case(  # TensorFlow has no convolution of channels first on a CPU
        "alpha-zero", "alpha-zero", "blocks 2; widths 8; board 6 x 7; 7 moves", images=(), libraries=("tf_keras",)
    ),
    "alpha-zero-square": Case(
        "alpha-zero",
        "alpha-zero",
        "blocks 1; widths 12; board 5 x 5",
        {"board": (5, 5), "num_blocks": 1, "filters": 12},
        images=(2, 2, 5, 5),
        libraries=("keras",),
    ),
}


def _sparse(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """Writes a legacy file that has room for the arrays and no numbers."""
    unwritten = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    unwritten.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    unwritten.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    weights: dict[str, list[str]] = {}
    for name in shapes:
        weights.setdefault(name.partition("/")[0], []).append(name)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in weights]
        for layer, names in weights.items():
            file.create_group(layer).attrs["weight_names"] = [f"{name}:0".encode() for name in names]
            for name in names:
                file[layer].create_dataset(f"{name}:0", shapes[name], "float32", dcpl=unwritten)
    return path


def _arrays(checkpoint: Checkpoint, found: Recognised) -> dict[str, np.ndarray]:
    """The file's numbers by the config's names; each array once."""
    assert sorted(found.names.values()) == sorted(checkpoint.arrays)
    return {name: checkpoint[source] for name, source in found.names.items()}


def _offset(name: str) -> int:
    """How many layers the process has built before: none, 7 or 14."""
    return len(name) % 3 * 7


@pytest.mark.parametrize(
    ("name", "library"),
    [
        # In every run by one Keras, in turn.
        pytest.param(
            name, library, marks=[pytest.mark.slow] if case.slow or place != number % len(case.libraries) else []
        )
        for number, (name, case) in enumerate(CASES.items())
        for place, library in enumerate(case.libraries)
    ],
)
def test_a_familys_network_is_recognised_and_computes_the_same(keras_side, tmp_path, name, library):
    case = CASES[name]
    original = keras_side(
        keras_families.saved, tmp_path, library, case.network, _offset(name), case.images, **case.arguments
    )
    laid = []
    for path in original.files.values():
        with read_checkpoint(path) as checkpoint:
            recognised = {one.family: one for one in recognise(checkpoint)}
            if checkpoint.names_are_counters and not case.published:
                assert not recognised
                continue
            assert list(recognised) == list(case.families or (case.family,))
            found = recognised[case.family]
            assert case.says in found.title
            laid.append((found.config, _arrays(checkpoint, found)))
    config, arrays = laid[0]
    for other_config, others in laid[1:]:  # both layouts hold the same network
        assert other_config == config
        assert others.keys() == arrays.keys()
        assert all(np.array_equal(others[role], values) for role, values in arrays.items())
    if not case.images:
        return
    outputs = keras_side(keras_families.rebuilt, library, config, arrays, original.images)
    assert len(outputs) == len(original.outputs)
    for actual, expected in zip(outputs, original.outputs, strict=True):
        np.testing.assert_array_equal(actual, expected)


WILD = {
    "arturjordao__DepthWisePruning__ResNet20.h5": ("cifar-v1", "ResNet-20: blocks 3, 3, 3; widths 16, 32, 64", 120),
    "arturjordao__DepthWisePruning__ResNet56_prunedLayer137_PLSVIP_Iteration_9_.h5": (
        "cifar-v1",
        "ResNet-40: blocks 9, 9, 1; widths 16, 32, 64",
        240,
    ),
    "arturjordao__DepthWisePruning__cifar10ResNet20_prunedLayer60.h5": (
        "cifar-v1",
        "ResNet-18: blocks 3, 3, 2; widths 16, 32, 64",
        108,
    ),
    "Zeta36__connect4-alpha-zero__model_best_weight.h5": ("alpha-zero", "blocks 2; widths 128; board 6 x 7", 48),
}


@pytest.mark.parametrize("name", WILD)
def test_weights_from_public_repositories_are_recognised(shared_data, name):
    family, says, num_arrays = WILD[name]
    with read_checkpoint(shared_data / "wild" / name) as checkpoint:
        (found,) = recognise(checkpoint)
        assert sorted(found.names.values()) == sorted(checkpoint.arrays)
    assert found.family == family
    assert says in found.title
    assert len(found.names) == num_arrays


# Full-model files carry the truth; the first family is theirs.
WITH_GRAPH = {
    "mlcommons__tiny__pretrainedResnet.h5": ("mlperf-tiny", "ResNet-8: 16 filters"),
    "mlcommons__tiny__e2a6032_pretrainedResnet.h5": ("mlperf-tiny", "ResNet-8: 26 filters"),
    "jayanthkmr__Thesis-work__cifar10_ResNet8v1_model.001.h5": ("mlperf-tiny", "20 classes"),
    "Hyperparticle__one-pixel-attack-keras__resnet.h5": ("one-pixel-attack", "ResNet-32: blocks 5, 5, 5"),
}


@pytest.mark.parametrize("name", WITH_GRAPH)
def test_a_recognised_network_is_the_one_that_the_file_describes(shared_data, name):
    with read_checkpoint(shared_data / "wild" / name) as checkpoint:
        found = recognise(checkpoint)[0]
        truth = read_graph(checkpoint.config)
    assert found.family == WITH_GRAPH[name][0]
    assert WITH_GRAPH[name][1] in found.title
    ours = read_graph(found.config)
    assert _computed(ours) == _computed(truth)
    assert _edges(ours) == _edges(truth)


def _computed(graph: Graph) -> list[tuple[object, ...]]:
    """What each call computes."""
    return [_computes(graph.listed[name]) for name in (*graph.inputs, *(call.layer for call in graph.calls))]


def _computes(layer: Layer) -> tuple[object, ...]:
    keys = ("filters", "kernel_size", "strides", "padding", "use_bias", "activation", "epsilon", "units", "pool_size")
    shape = layer.config.get("batch_input_shape", layer.config.get("batch_shape"))
    return (layer.class_name, shape, *(layer.config.get(key) for key in keys))


def _edges(graph: Graph) -> list[list[int]]:
    """Who reads whom, by place, since the names' counters differ."""
    place = {value: number for number, value in enumerate((*graph.inputs, *(call.value for call in graph.calls)))}
    return [[place[source] for source in call.inputs] for call in graph.calls]


@pytest.mark.parametrize(
    "name",
    [
        "CS-433__ml-project-2-nuclear-fusion__resnet_weights.h5",
        "resnet50_notop_imagenet_stem_stage2.h5",
        "bvenreply__stm32ai-modelzoo__miniresnetv2_1_stacks_backbone.h5",
        "bvenreply__stm32ai-modelzoo__miniresnet_1_stacks_backbone.h5",
        "hls4ml-finn-mlperftiny__CIFAR10__model_best.h5",
        "MohandHAMADOUCHE__Student_project_ResNet_vs_LSTM__resnet_model.keras",
    ],
)
def test_other_networks_from_public_repositories_are_not_recognised(shared_data, name):
    with read_checkpoint(shared_data / "wild" / name) as checkpoint:
        assert recognise(checkpoint) == []


@pytest.mark.parametrize("library", BOTH)
@pytest.mark.parametrize(
    ("network", "arguments"),
    [("plain", {"num_convs": 7, "width": 8}), ("normed-projection", {}), ("max-pooled", {})],
)
def test_a_look_alike_is_not_recognised(keras_side, tmp_path, network, arguments, library):
    size = 64 if network == "max-pooled" else 32
    original = keras_side(keras_families.saved, tmp_path, library, network, 0, (1, size, size, 3), **arguments)
    for path in original.files.values():
        with read_checkpoint(path) as checkpoint:
            assert recognise(checkpoint) == []


def test_a_file_of_arrays_alone_fits_every_look_alike(keras_side, tmp_path):
    blocks = _v1_blocks(2, (8, 16, 32))
    original = keras_side(
        keras_families.saved, tmp_path, "tf_keras", "cifar-v1", 0, (1, 32, 32, 3), blocks=blocks, stem=8
    )
    with read_checkpoint(original.files["legacy"]) as checkpoint:
        assert [one.family for one in recognise(checkpoint)] == ["cifar-v1"]
        bare = legacy_weights(tmp_path / "bare.h5", {name: checkpoint[name] for name in checkpoint.arrays})
    with read_checkpoint(bare) as checkpoint:
        assert [one.family for one in recognise(checkpoint)] == ["cifar-v1", *PREACT]


def _without(arrays: dict[str, np.ndarray]) -> None:
    del arrays["conv2d_3/bias"]


def _beside(arrays: dict[str, np.ndarray]) -> None:
    arrays["conv2d_99/kernel"] = np.ones((3, 3, 8, 8), "float32")


def _reshaped(arrays: dict[str, np.ndarray]) -> None:
    arrays["batch_normalization_2/gamma"] = np.ones(9, "float32")


def _narrow_classifier(arrays: dict[str, np.ndarray]) -> None:
    arrays["dense/kernel"] = np.ones((3, 10), "float32")


def _flat_kernel(arrays: dict[str, np.ndarray]) -> None:
    arrays["conv2d/kernel"] = np.ones((27, 8), "float32")


@pytest.mark.parametrize("change", [_without, _beside, _reshaped, _narrow_classifier, _flat_kernel])
def test_one_array_that_does_not_fit_is_enough(tmp_path, change):
    arrays = _v1_arrays()
    with read_checkpoint(legacy_weights(tmp_path / "whole.h5", arrays)) as checkpoint:
        assert recognise(checkpoint)
    change(arrays)
    with read_checkpoint(legacy_weights(tmp_path / "changed.h5", arrays)) as checkpoint:
        assert recognise(checkpoint) == []


def _v1_arrays() -> dict[str, np.ndarray]:
    """The CIFAR example's v1 with one block in each of two stages."""
    convs = [(3, 3, 3, 8), (3, 3, 8, 8), (3, 3, 8, 8), (3, 3, 8, 16), (3, 3, 16, 16), (1, 1, 8, 16)]
    shapes = {f"conv2d_{n}" if n else "conv2d": shape for n, shape in enumerate(convs)}
    arrays = {}
    for name, shape in shapes.items():
        arrays[f"{name}/kernel"], arrays[f"{name}/bias"] = np.ones(shape), np.ones(shape[-1])
    for number, size in enumerate((8, 8, 8, 16, 16)):
        for role in ("gamma", "beta", "moving_mean", "moving_variance"):
            arrays[f"batch_normalization{f'_{number}' if number else ''}/{role}"] = np.ones(size)
    arrays["dense/kernel"], arrays["dense/bias"] = np.ones((16, 10)), np.ones(10)
    return arrays


def test_keras_1_names_are_the_same_layers(tmp_path):
    renamed = {
        name.replace("conv2d", "convolution2d").replace("batch_normalization", "batchnormalization"): values
        for name, values in _v1_arrays().items()
    }
    with read_checkpoint(legacy_weights(tmp_path / "keras_1.h5", renamed)) as checkpoint:
        found = recognise(checkpoint)[0]
    assert found.names["conv2d_2/kernel"] == "convolution2d_2/kernel"
    assert found.names["batch_normalization/gamma"] == "batchnormalization/gamma"


def test_a_nested_backbones_names_count_without_the_models(keras_side, tmp_path):
    original = keras_side(
        keras_families.saved, tmp_path, "keras", "keras-hub", 0, (1, 32, 32, 3), basic=True, counts=(2, 1)
    )
    with read_checkpoint(original.files["legacy"]) as checkpoint:
        nested = {f"backbone/{name}": checkpoint[name] for name in checkpoint.arrays}
    nested |= {"predictions/kernel": np.ones((16, 4), "float32"), "predictions/bias": np.ones(4, "float32")}
    with read_checkpoint(legacy_weights(tmp_path / "nested.h5", nested)) as checkpoint:
        (found,) = recognise(checkpoint)
    assert found.title.endswith("4 classes")
    assert found.names["conv1_conv/kernel"] == "backbone/conv1_conv/kernel"
    assert found.names["predictions/bias"] == "predictions/bias"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "blocks"), [("ResNet101V2", "3, 4, 23, 3"), ("ResNet152V2", "3, 8, 36, 3")])
def test_the_deeper_applications_are_recognised(keras_side, tmp_path, name, blocks):
    shapes = keras_side(keras_families.shapes, "application", name)
    with read_checkpoint(_sparse(tmp_path / "deep.h5", shapes)) as checkpoint:
        (found,) = recognise(checkpoint)
        assert sorted(found.names.values()) == sorted(checkpoint.arrays)
    assert found.title == f"{name}: bottleneck blocks {blocks}; widths 64, 128, 256, 512; 1000 classes"


def test_a_native_dialects_file_is_no_familys(tmp_path):
    path = tmp_path / "native.h5"
    write_native(path, small("keras-applications"), weights_only=True)
    with read_checkpoint(path) as checkpoint:
        assert recognise(checkpoint) == []


def test_every_family_says_what_it_assumes():
    for key, family in FAMILIES.items():
        assert key == family.key
        assert "epsilon" in family.assumptions
        assert family.source
        assert family.title


def test_like_lays_weights_on_another_files_model(shared_data):
    folder = shared_data / "wild"
    with (
        read_checkpoint(folder / "CS-433__ml-project-2-nuclear-fusion__resnet_weights.h5") as weights,
        read_checkpoint(folder / "CS-433__ml-project-2-nuclear-fusion__resnet.keras") as whole,
    ):
        names = like(weights, read_graph(whole.config))
        assert sorted(names.values()) == sorted(weights.arrays)
        assert len(names) == len(whole.arrays) == 62
        assert weights.arrays[names["conv1d_1/kernel"]].shape == (21, 37, 32)


def test_like_follows_counters_from_any_start(keras_side, tmp_path):
    network = {"blocks": _v1_blocks(1, (8, 16)), "stem": 8, "pool": 16}
    original = keras_side(keras_families.saved, tmp_path, "tf_keras", "cifar-v1", 9, (1, 32, 32, 3), **network)
    config = {"class_name": "Functional", "config": keras_side(keras_families.config_of, "cifar-v1", **network)}
    for path in original.files.values():
        with read_checkpoint(path) as checkpoint:
            arrays = {name: checkpoint[source] for name, source in like(checkpoint, read_graph(config)).items()}
        (output,) = keras_side(keras_families.rebuilt, "tf_keras", config, arrays, original.images)
        np.testing.assert_array_equal(output, original.outputs[0])


def test_like_refuses_another_models_weights(keras_side, tmp_path):
    config = {
        "class_name": "Functional",
        "config": keras_side(keras_families.config_of, "cifar-v1", _v1_blocks(1, (8, 17)), stem=8, pool=16),
    }
    with (
        read_checkpoint(legacy_weights(tmp_path / "other.h5", _v1_arrays())) as checkpoint,
        pytest.raises(MappingError, match=r"(?s)other\.h5: not the weights of model .*expected shape \(3, 3, 8, 17\)"),
    ):
        like(checkpoint, read_graph(config))
