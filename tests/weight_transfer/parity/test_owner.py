"""The owner's own model, called as its owner calls it, against the port as it is delivered."""

from __future__ import annotations

from pathlib import Path

import keras_owner_calls
import pytest

from resnet_torch import load_model, save_converted
from weight_transfer import convert, verify
from weight_transfer.parity.reference import record
from weight_transfer.parity.report import OWNER_CHECKS, Verification

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def source(keras_side, runner, tmp_path_factory) -> Path:
    source = keras_side(keras_owner_calls.save, tmp_path_factory.mktemp("owner") / "model.keras")
    convert(source, source.with_name("port.safetensors"))
    record(source, source.with_name("reference.safetensors"), runner=runner)
    return source


def verified(source: Path, port: Path, runner) -> Verification:
    return verify(source, port, devices=("cpu",), reference=source.with_name("reference.safetensors"), runner=runner)


def failed(found: Verification) -> set[tuple[str, str]]:
    return {(row.check, row.name) for row in found.rows if not row.passed}


def test_a_right_port_answers_as_the_owners_model(source, runner):
    found = verified(source, source.with_name("port.safetensors"), runner)
    assert found.verdict == "SAME FUNCTION", failed(found)
    rows = {(row.check, row.name): row for row in found.rows if row.check in OWNER_CHECKS}
    assert {check for check, _ in rows} == OWNER_CHECKS
    assert {name for check, name in rows if check == "moved statistics"} == {
        f"{layer}/{role}" for layer in ("learns", "frozen") for role in ("moving_mean", "moving_variance")
    }
    for role in ("moving_mean", "moving_variance"):  # what is frozen does not move by a bit
        assert rows["moved statistics", f"frozen/{role}"].errors == {"float32": 0.0}
    assert found.doubt == ""


def test_a_momentum_that_is_not_the_files(source, runner, tmp_path):
    model = load_model(source.with_name("port.safetensors"))
    model.learns.momentum = 0.01
    save_converted(model, tmp_path / "port.safetensors")
    found = verified(source, tmp_path / "port.safetensors", runner)
    moved = {("moved statistics", f"learns/{role}") for role in ("moving_mean", "moving_variance")}
    assert moved <= failed(found)
    assert found.verdict == "DIFFERS"


def test_a_batch_norm_that_is_no_longer_frozen(source, runner, tmp_path):
    model = load_model(source.with_name("port.safetensors"), unfreeze=True)
    save_converted(model, tmp_path / "port.safetensors")
    found = verified(source, tmp_path / "port.safetensors", runner)
    moved = {("moved statistics", f"frozen/{role}") for role in ("moving_mean", "moving_variance")}
    learnt = {("trained weights", f"frozen/{role}") for role in ("gamma", "beta")}
    assert moved | learnt | {("training call", "classes")} <= failed(found)
    assert {check for check, _ in failed(found)} <= OWNER_CHECKS
    assert ("frozen", "trainable") in {(one.layer, one.field) for one in found.fields_differing}


def test_a_reference_that_is_not_the_owners_model_proves_nothing(source, keras_side, tmp_path):
    right, wrong = keras_side(keras_owner_calls.doubt_of_another_reference, source, tmp_path)
    assert right == ""
    assert "gives other numbers than its layers rebuilt in float64 (output differs by " in wrong
