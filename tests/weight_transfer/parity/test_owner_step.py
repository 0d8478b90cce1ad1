"""One train_on_batch of the owner's own model: loss, penalties, constraints, optimizer, slots, and the port's."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_owner_steps
import keras_trained_owners
import pytest
from keras_owner_steps import FAMILIES
from sweeps import slow_but

from resnet_torch import PortedModel, load_model, save_converted
from weight_transfer import Verification, convert, verify
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.graph import read_graph
from weight_transfer.parity.recording import read_recording
from weight_transfer.parity.reference import record
from weight_transfer.parity.report import STEP_CHECKS
from weight_transfer.tensor_file import Tensor

pytestmark = pytest.mark.keras


def failed(found: Verification) -> set[tuple[str, str]]:
    return {(row.check, row.name) for row in found.rows if not row.passed}


@pytest.fixture(scope="module")
def owners(keras_side, tmp_path_factory):
    """``owners(family, name)``: the files of a network that its owner compiled, made once."""
    folder = tmp_path_factory.mktemp("compiled")
    return functools.cache(lambda family, name: keras_side(keras_owner_steps.owner, folder, family, name, "float32"))


USUAL = [("keras", "keras", "constrained"), ("tf_keras", "h5", "transfer")]
OF_MSE = ("siamese", "shared_head", "penalties", "dict_loss")  # Keras 3 does not load what it saved as .h5 of these
CASES = [*itertools.product(FAMILIES, ("keras", "h5"), keras_owner_steps.NETWORKS)]


@pytest.mark.parametrize(("family", "ending", "name"), slow_but(USUAL, CASES))
def test_a_right_port_trains_as_the_owners_model(family, ending, name, owners, runner):
    found = verify(owners(family, name).files[ending], devices=("cpu",), runner=runner)
    assert found.passed, failed(found)
    if (family, ending) == ("keras", "h5") and name in OF_MSE:
        assert any("does not compile it: Could not deserialize 'keras.metrics.mse'" in note for note in found.assumed)
    else:
        assert {row.check for row in found.rows} >= STEP_CHECKS, found.assumed


@pytest.fixture(scope="module")
def trained(keras_side, runner, tmp_path_factory):
    """``trained(family, ending)``: a network that was compiled, trained for three steps and saved; its port and its
    recording lie beside it.
    """

    def make(family: str, ending: str) -> Path:
        folder = tmp_path_factory.mktemp(f"{family}_{ending}")
        source = keras_side(keras_trained_owners.save, folder / f"model.{ending}", family)
        convert(source, folder / "port.safetensors")
        record(source, folder / "reference.safetensors", runner=runner)
        return source

    return functools.cache(make)


def verified(source: Path, port: Path, runner: Any) -> Verification:
    return verify(source, port, devices=("cpu",), reference=source.with_name("reference.safetensors"), runner=runner)


@pytest.mark.parametrize(("family", "ending"), [("keras", "keras"), ("tf_keras", "h5")])
def test_it_goes_on_with_the_files_slots(family, ending, trained, runner):
    source = trained(family, ending)
    step = read_recording(source.with_name("reference.safetensors")).owner_step
    assert step is not None
    assert (step.iterations, step.notes) == (keras_trained_owners.STEPS, ())
    found = verified(source, source.with_name("port.safetensors"), runner)
    assert found.verdict == "SAME FUNCTION", failed(found)
    rows = {row.name: row for row in found.rows if row.check in STEP_CHECKS}
    assert set(rows) == {"loss", *keras_trained_owners.ARRAYS}
    assert rows["still/kernel"].errors == {"float32": 0.0}  # what is frozen does not move by a bit


def without(layer: str, key: str) -> Callable[[Path, Path], None]:
    """Leaves a setting out of what a converted file says of a layer."""

    def change(port: Path, output: Path) -> None:
        found = read_converted(port)
        config = copy.deepcopy(found.description.keras_config)
        (one,) = (one for one in config["config"]["layers"] if one["config"]["name"] == layer)
        one["config"][key] = None
        network = read_graph(config)
        description = dataclasses.replace(
            found.description, network=network, keras_config=config, regularizers={}, constraints={}
        )
        tensors = [Tensor.of(name, tensor.read()) for name, tensor in found.stored.items()]
        write_converted(output, tensors, description)

    return change


def with_model(change: Callable[[PortedModel], None]) -> Callable[[Path, Path], None]:
    def saved(port: Path, output: Path) -> None:
        model = load_model(port)
        change(model)
        save_converted(model, output)

    return saved


PLANTED: dict[str, tuple[Callable[[Path, Path], None], set[tuple[str, str]]]] = {
    "a penalty dropped": (
        without("conv", "kernel_regularizer"),
        {("trained loss", "loss"), ("trained weights", "conv/kernel")},
    ),
    "a constraint dropped": (without("classes", "kernel_constraint"), {("trained weights", "classes/kernel")}),
    "a frozen layer learns": (
        with_model(lambda model: model.unfreeze("still")),
        {("trained weights", "still/kernel"), ("trained weights", "still/bias")},
    ),
    "a layer frozen": (with_model(lambda model: model.freeze("conv")), {("trained weights", "conv/kernel")}),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_acts_in_training_alone_is_seen(what, trained, runner, tmp_path):
    source = trained("keras", "keras")
    change, expected = PLANTED[what]
    change(source.with_name("port.safetensors"), tmp_path / "port.safetensors")
    found = verified(source, tmp_path / "port.safetensors", runner)
    assert found.verdict == "DIFFERS"
    assert expected <= failed(found)
