"""The checker checked: each mistake that people make is planted in a port, and `verify` must see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_resnets
import numpy as np
import pytest
from sides import run_sides_here

from weight_transfer import Architecture, convert, verify
from weight_transfer.converted import Tensor, read_converted, write_converted

pytestmark = pytest.mark.slow

State = dict[str, np.ndarray]
BLOCK = "stages.stage3.1.residual.conv3_block1_"
OTHER = "stages.stage3.2.residual.conv3_block2_"


def conventions(**values: Any) -> Callable[[State, Architecture], Architecture]:
    """A port that builds its network with other conventions."""
    return lambda _, a: dataclasses.replace(a, conventions=dataclasses.replace(a.conventions, **values))


def tensors(change: Callable[[State], None]) -> Callable[[State, Architecture], Architecture]:
    """A port with other weights."""

    def plant(state: State, architecture: Architecture) -> Architecture:
        change(state)
        return architecture

    return plant


def swap(first: str, second: str) -> Callable[[State, Architecture], Architecture]:
    def change(state: State) -> None:
        state[first], state[second] = state[second], state[first]

    return tensors(change)


def swap_norms(state: State) -> None:
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        first, second = f"{BLOCK}2_bn.{leaf}", f"{OTHER}2_bn.{leaf}"
        state[first], state[second] = state[second], state[first]


def transpose_kernel(state: State) -> None:
    name = f"{BLOCK}2_conv.weight"
    state[name] = np.ascontiguousarray(state[name].swapaxes(2, 3))


def drop_bias(state: State) -> None:
    state["stem.conv1_conv.bias"] = np.zeros_like(state["stem.conv1_conv.bias"])


def rgb_for_bgr(state: State) -> None:
    state["stem.conv1_conv.weight"] = np.ascontiguousarray(state["stem.conv1_conv.weight"][:, ::-1])


def variance_for_deviation(state: State) -> None:
    state[f"{BLOCK}2_bn.running_var"] = state[f"{BLOCK}2_bn.running_var"] ** 2


# Each with the error, in float64, below which it would no longer be the mistake it is meant to be.
PLANTS: dict[str, tuple[Callable[[State, Architecture], Architecture], float]] = {
    "epsilon 1e-5 for 1.001e-5": (conventions(epsilon=1e-5), 1e-10),
    "epsilon 1e-3 for 1.001e-5": (conventions(epsilon=1e-3), 1e-6),
    "stride on the 3x3": (conventions(stride_in="3x3"), 1e-3),
    "stem pool unpadded": (conventions(pool_padding="none"), 1e-3),
    "stem pool 'same'": (conventions(pool_padding="same"), 1e-3),
    "stem convolution 'same'": (conventions(stem_padding="same"), 1e-3),
    "preprocessing torch for caffe": (conventions(preprocessing="torch"), 1e-3),
    "one kernel transposed in height and width": (tensors(transpose_kernel), 1e-3),
    "two same-shaped norms swapped": (tensors(swap_norms), 1e-3),
    "gamma and beta swapped": (swap(f"{BLOCK}2_bn.weight", f"{BLOCK}2_bn.bias"), 1e-3),
    "two same-shaped means swapped": (swap(f"{BLOCK}2_bn.running_mean", f"{OTHER}2_bn.running_mean"), 1e-3),
    "variance taken for a deviation": (tensors(variance_for_deviation), 1e-4),
    "conv bias dropped": (tensors(drop_bias), 1e-4),
    "BGR for RGB": (tensors(rgb_for_bgr), 1e-3),
    "shortcut and third convolution swapped": (
        swap(
            "stages.stage2.1.shortcut.conv2_block1_0_conv.weight", "stages.stage2.1.residual.conv2_block1_3_conv.weight"
        ),
        1e-3,
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory, keras_side) -> tuple[Path, Path]:
    """A checkpoint in keras.applications' names and its correct port; conv2_block1's widths are all equal."""
    folder = tmp_path_factory.mktemp("planted")
    source = keras_side(
        keras_resnets.twin,
        folder / "resnet.h5",
        in_shape=(65, 64, 3),
        dialect="keras-applications",
        block_counts=(2, 2),
        stem_filters=16,
        filters=((16, 16, 16), (24, 24, 24)),
    )
    port = folder / "resnet.safetensors"
    convert(source, port)
    return source, port


def test_the_correct_port_passes(good, monkeypatch, keras_side):
    run_sides_here(monkeypatch, keras_side)
    assert verify(*good).passed


@pytest.mark.parametrize("name", PLANTS)
def test_planted_mistake_is_seen(name, good, tmp_path, monkeypatch, keras_side):
    run_sides_here(monkeypatch, keras_side)
    source, port = good
    plant, at_least = PLANTS[name]
    broken = write_broken(port, tmp_path / "broken.safetensors", plant)
    found = verify(source, broken)
    assert not found.passed
    # The outputs show it, not only the comparison of the weights.
    assert found.first_divergence is not None
    assert found.worst("float64").errors["float64"] >= at_least


def write_broken(port: Path, broken: Path, plant: Callable[[State, Architecture], Architecture]) -> Path:
    converted = read_converted(port)
    state = converted.tensors()
    architecture = plant(state, converted.network)
    wanted = [Tensor(name, value.dtype, value.shape, lambda value=value: value) for name, value in state.items()]
    write_converted(broken, wanted, architecture, converted.origin)
    return broken
