"""The checker checked: mistakes that people make, planted in a port, are all seen, and named for what they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_resnets
import keras_zoo
import numpy as np
import pytest
from sweeps import slow_but

from resnet_torch.comparison.sensitivity import port_to_plant_in, sensitivity
from weight_transfer import Architecture, Hints, convert, verify
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.parity.recording import read_recording
from weight_transfer.parity.reference import record
from weight_transfer.parity.sketch import COMPACT
from weight_transfer.preprocessing import preset
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.tensor_file import Tensor

pytestmark = pytest.mark.keras

# conv2_block1's widths are all equal, so that its shortcut and its third convolution can be mistaken for each other.
SMALL: Mapping[str, Any] = {
    "in_shape": (65, 64, 3),
    "dialect": "keras-applications",
    "block_counts": (2, 2),
    "stem_filters": 16,
    "filters": ((16, 16, 16), (24, 24, 24)),
}
WILD = {
    "ResNet-8 for CIFAR": "jayanthkmr__Thesis-work__cifar10_ResNet8v1_model.001.h5",
    "1-D, no batch norm fused": "CS-433__ml-project-2-nuclear-fusion__resnet.keras",
}
# How many kinds each network has a place for at least; `test_hidden_mistakes` has networks with places for all.
MOST_KINDS: Mapping[str, int] = {
    "small ResNet-50": 60,
    "ResNet-8 for CIFAR": 60,
    "1-D, no batch norm fused": 55,
    "flatten head": 60,
}


@dataclass(frozen=True)
class Recorded:
    """A checkpoint, its correct port, and a compact recording of Keras."""

    name: str
    source: Path
    port: Path
    reference: Path


@pytest.fixture(scope="module")
def small(keras_side, tmp_path_factory, runner) -> Recorded:
    folder = tmp_path_factory.mktemp("small")
    return recorded(
        "small ResNet-50", keras_side(keras_resnets.twin, folder / "resnet.h5", **SMALL), folder, runner=runner
    )


@pytest.fixture(scope="module")
def network(request, keras_side, tmp_path_factory, runner) -> Recorded:
    if request.param == "small ResNet-50":
        return request.getfixturevalue("small")
    folder = tmp_path_factory.mktemp("planted")
    if request.param in WILD:
        source = request.getfixturevalue("shared_data") / "wild" / WILD[request.param]
        return recorded(request.param, source, folder, runner=runner)
    source = keras_side(keras_zoo.save, folder / "model.keras", "keras", request.param)
    return recorded(request.param, source, folder, Hints(import_as="graph"), runner=runner)


def recorded(name: str, source: Path, folder: Path, hints: Hints | None = None, *, runner) -> Recorded:
    found = Recorded(name, source, folder / "port.safetensors", folder / "reference.safetensors")
    convert(source, found.port, hints)
    assert record(source, found.reference, hints, runner=runner).detail == COMPACT
    assert verify(source, found.port, hints, devices=("cpu",), reference=found.reference, runner=runner).passed
    return found


@pytest.mark.parametrize("network", slow_but([next(iter(MOST_KINDS))], MOST_KINDS), indirect=True, scope="module")
def test_every_mistake_is_seen_and_named_wherever_it_is_planted(network):
    recording = read_recording(network.reference)
    found = list(sensitivity(port_to_plant_in(network.port, recording), recording))
    assert len(found) >= MOST_KINDS[network.name]
    assert not [one for one in found if not len(one.planted) == one.seen == one.located == one.named]


State = dict[str, np.ndarray]
Break = Callable[[State, Architecture], Architecture | Description]


def conventions(**values: Any) -> Break:
    """A port that builds its network with other conventions."""
    return lambda _, a: dataclasses.replace(a, conventions=dataclasses.replace(a.conventions, **values))


def swap_shortcut_and_third(state: State, architecture: Architecture) -> Architecture:
    block = "stages.stage2.1"
    one, two = f"{block}.shortcut.conv2_block1_0_conv.weight", f"{block}.residual.conv2_block1_3_conv.weight"
    state[one], state[two] = state[two], state[one]
    return architecture


# What is broken, the first layer that then differs, the cause to be named, and what the explanation says.
STRUCTURAL: Mapping[str, tuple[Break, str, str, str]] = {
    "epsilon 1e-5 everywhere": (conventions(epsilon=1e-5), "conv1_bn", "epsilon", "epsilon 1.001e-05"),
    "epsilon 1e-3 everywhere": (conventions(epsilon=1e-3), "conv1_bn", "epsilon", "epsilon 1.001e-05"),
    "stride on the 3x3": (conventions(stride_in="3x3"), "conv3_block1_1_conv", "stride", "stride 2 in place of 1"),
    "stem pool unpadded": (conventions(pool_padding="none"), "pool1_pool", "padding", "padding (1, 1) x (1, 1)"),
    "stem pool 'same'": (conventions(pool_padding="same"), "pool1_pool", "padding", "padding (1, 1) x (1, 1)"),
    "stem convolution 'same'": (conventions(stem_padding="same"), "conv1_conv", "padding", "padding (3, 3) x (3, 3)"),
    "preprocessing torch for caffe": (
        lambda _, a: Description(resnet_graph(a), MADE_HERE, said_preprocessing=preset("torch")),
        "conv1_conv",
        "preprocessing",
        "caffe preprocessing",
    ),
    "shortcut and third convolution swapped": (
        swap_shortcut_and_third,
        "conv2_block1_3_conv",  # the first of the two in Keras's order of calls
        "partner",
        "stages.stage2.1.shortcut.conv2_block1_0_conv",
    ),
}


@pytest.mark.parametrize("name", STRUCTURAL)
def test_a_network_built_otherwise_is_seen_and_named(name, small, tmp_path, runner):
    break_it, layer, cause, text = STRUCTURAL[name]
    broken = write_broken(small.port, tmp_path / "broken.safetensors", break_it)
    found = verify(small.source, broken, devices=("cpu",), reference=small.reference, runner=runner)
    assert not found.passed
    assert found.first_divergence is not None
    assert found.first_divergence.check == "inference"
    assert found.explanation is not None
    assert found.explanation.found is not None, found.explanation
    assert (found.explanation.layer, found.explanation.found.cause) == (layer, cause)
    assert text in found.explanation.sentence


def write_broken(port: Path, broken: Path, break_it: Break) -> Path:
    converted = read_converted(port)
    state = converted.tensors()
    made = break_it(state, converted.network.resnet)
    description = made if isinstance(made, Description) else Description(resnet_graph(made), converted.origin)
    wanted = [Tensor.of(name, value) for name, value in state.items()]
    write_converted(broken, wanted, description)
    return broken
