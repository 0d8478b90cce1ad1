"""Checking one network of `keras_zoo` layer by layer: what the files of networks share."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from pathlib import Path

import keras_zoo
import pytest

from weight_transfer import Hints, Verification, convert, verify
from weight_transfer.parity.report import OWNER_CHECKS
from weight_transfer.parity.tolerances import TOLERANCES

GRAPH = Hints(import_as="graph")
BOTH_KERASES = {
    "sequential",
    "cifar v1 20",
    "cifar v2 20",
    "ResNet50V2",
    "frozen backbone, new head",
    "shared backbone, two inputs",
    "preprocessing inside, caffe",
    "preprocessing inside, tf",
    "1-D",
    "pre-activation",
    "outputs in a list",
    "squeeze excite",
    "separable",
    "fused activations",
    "other norms",
    "decoder",
}
DEEP = tuple(name for name in keras_zoo.NETWORKS if name.startswith(("cifar", "ResNet")))


def parameters(names: Iterable[str], usual: Collection[tuple[str, str]] = ()) -> list:
    """Each network by Keras 3, and the simpler ones by tf_keras too; either Keras writes either container.

    All but the usual ones, each a network and its Keras, are marked slow.
    """
    suffixes = itertools.cycle((".h5", ".keras", ".keras", ".h5"))
    cases = [(name, family) for name in names for family in ("keras", "tf_keras")]
    cases = [(name, family) for name, family in cases if family == "keras" or name in BOTH_KERASES]
    return [
        pytest.param(
            *(name, family, suffix),
            id=f"{name}-{family}-{suffix[1:]}",
            marks=() if (name, family) in usual else pytest.mark.slow,
        )
        for (name, family), suffix in zip(cases, suffixes, strict=False)
    ]


def assert_equal(found: Verification) -> None:
    """In float64: networks this deep with weights that nobody trained amplify float32's rounding on either side."""
    compared = [row for row in found.rows if row.check not in OWNER_CHECKS]  # which are in the model's own precision
    wrong = [row for row in compared if not row.errors["float64"] <= TOLERANCES[row.check]["float64"].error]
    assert not wrong, wrong[0]
    assert not found.unproven, found.unproven[:3]  # dead on photographs, some layers are proven by exact runs alone
    assert found.weights_equal == found.weights_total > 0


def check(name: str, family: str, suffix: str, folder: Path, keras_side, runner) -> None:
    """Real Keras saves the network; every layer of the port must compute what Keras computes."""
    if "preprocessing" in name:  # neither Keras can write an operation into its other container and read it again
        suffix = ".keras" if family == "keras" else ".h5"
    source = keras_side(keras_zoo.save, folder / f"model{suffix}", family, name)
    port = folder / "port.safetensors"
    network = convert(source, port, GRAPH).network
    found = verify(
        source, port, GRAPH, devices=("cpu",), training=name not in DEEP and family == "keras", runner=runner
    )
    assert_equal(found)
    named = {row.name for row in found.of("inference")}
    assert {name for name in named if not name.endswith("/logits")} == {call.value for call in network.calls}
    assert found.reference == "file"
    assert found.loaded_by.startswith(family)
