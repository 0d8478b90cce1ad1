"""The rows of a comparison and their gates, which must be able to fail."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from torch import nn
from torch_recordings import (
    ORIGIN,
    compare_with,
    images,
    in_a_row,
    lived_in,
    record_module,
    record_subject,
    subject_for,
)

from resnet_torch import BatchNorm2d, load_model
from resnet_torch.comparison.port_comparison import compare, learn_as_in_float64, tops_of
from resnet_torch.comparison.rows import limits_of, rows_of
from resnet_torch.comparison.subject import subject_of
from weight_transfer import convert
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.parity.error import TapError
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.protocol import ComparisonRequest, ComparisonResult
from weight_transfer.parity.recording import Recording
from weight_transfer.parity.report import Row
from weight_transfer.parity.tolerances import TOLERANCES
from weight_transfer.preprocessing import PRESETS
from weight_transfer.tensor_file import Tensor

LIMIT = TOLERANCES["inference"]["float64"].error
CASES = [Case("one", (images(2, 6, 5, 3),), raw=False), Case("two", (images(1, 6, 5, 3, seed=1),), raw=False)]


def small() -> Any:
    layers = OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=BatchNorm2d(4), end=nn.Conv2d(4, 2, 1))
    return lived_in(nn.Sequential(layers))


@pytest.fixture
def recording(tmp_path) -> Recording:
    model = small()
    return record_module(tmp_path / "reference.safetensors", model, CASES, in_a_row(model))


# Gates


@pytest.mark.parametrize(
    ("error", "passes"), [(0.0, True), (1e-12, True), (1.1e-12, False), (math.inf, False), (math.nan, False)]
)
def test_an_error_beyond_the_limit_or_no_number_fails(error, passes):
    row = Row("inference", "conv", "cpu", (1, 2), 1.0, {"float64": error}, {"float64": 1e-12})
    assert row.passed == passes


def test_one_precision_is_enough_to_fail_and_one_without_a_limit_never_does():
    errors = {"float64": 0.0, "float32": 1e-4, "bfloat16": 0.5}
    row = Row("inference", "conv", "cpu", (1, 2), 1.0, errors, {"float64": 1e-12, "float32": 1e-3})
    assert row.passed
    assert not replace(row, limits={"float64": 1e-12, "float32": 1e-5}).passed
    assert not replace(row, errors={**errors, "float32": math.nan}).passed


@pytest.mark.parametrize("peak", [0.0, math.nan])
def test_a_reference_of_zeros_or_of_no_numbers_proves_nothing(peak):
    row = Row("inference", "conv", "cpu", (1, 2), peak, {"float64": 0.0}, {"float64": 1e-12})
    assert not row.proves
    assert not row.differs
    assert replace(row, check="exact").proves  # where a zero is what a layer gives for numbers that were drawn


def test_a_right_module_passes_and_each_broken_number_fails(recording):
    assert all(row.passed for row in compare_with(subject_for(small(), recording.feeds), recording))
    for number in (math.nan, math.inf, 1.0):
        model = small()
        with torch.no_grad():
            model.end.weight[0, 0] = number
        rows = {row.name: row for row in compare_with(subject_for(model, recording.feeds), recording)}
        assert [name for name, row in rows.items() if not row.passed] == ["end", "output"]
        assert (rows["end"].errors["float64"] == math.inf) == (not math.isfinite(number))


# Rows


def collected(recording: Recording, **errors: float) -> dict[Any, TapError]:
    return {
        ("float64", entry.check, entry.name, entry.case): TapError(errors.get(entry.case, 0.0), entry.peak, entry.shape)
        for entry in recording.entries
    }


def test_a_row_is_the_worst_of_its_inputs_in_the_recordings_order(recording):
    rows = rows_of(recording, "cpu", CASES, collected(recording, one=1e-15, two=3e-13), ("float64",))
    assert [row.name for row in rows] == ["conv", "norm", "end", "output"]
    assert {row.errors["float64"] for row in rows} == {3e-13}
    assert rows[0].peak == max(entry.peak for entry in recording.entries if entry.name == "conv")
    assert rows[0].shape == (2, 4, 3, 4)
    assert all(row.passed for row in rows)


@pytest.mark.parametrize("bad", ["one", "two"])
def test_one_input_is_enough_to_fail(bad, recording):
    rows = rows_of(recording, "cpu", CASES, collected(recording, **{bad: 1e-11}), ("float64",))
    assert not any(row.passed for row in rows)


def test_what_was_not_compared_fails(recording):
    found = collected(recording)
    del found["float64", "inference", "norm", "two"]
    rows = {row.name: row for row in rows_of(recording, "cpu", CASES, found, ("float64",))}
    assert rows["norm"].errors["float64"] == math.inf
    assert [name for name, row in rows.items() if not row.passed] == ["norm"]
    # Nor is float32 known where nobody looked.
    assert not any(row.passed for row in rows_of(recording, "cpu", CASES, collected(recording)))


def test_only_the_inputs_asked_for_make_rows(recording):
    rows = rows_of(recording, "cpu", CASES[:1], collected(recording, two=1.0), ("float64",))
    assert all(row.passed for row in rows)


def test_limits_grow_with_the_references_own_noise_but_not_in_float64():
    float32 = TOLERANCES["inference"]["float32"]
    assert limits_of("inference", None) == {"float64": LIMIT, "float32": float32.error}
    assert limits_of("inference", 1e-3) == {"float64": LIMIT, "float32": float32.limit(1e-3)}
    assert float32.limit(1e-3) > 1e-3
    assert limits_of("inference", 1e-7, at_the_logits=True)["float32"] < limits_of("inference", 1e-7)["float32"]


# Learning


@pytest.mark.parametrize(("module", "momentum"), [("keras", 0.01), ("tf_keras", float(np.float32(0.01)))])
def test_batch_norms_learn_as_the_reference_does_in_float64(module, momentum, recording):
    model = nn.Sequential(BatchNorm2d(4, moving_variance="tf_keras"), nn.BatchNorm2d(4, momentum=0.01))
    learn_as_in_float64(model, replace(recording, origin=replace(ORIGIN, module=module)))
    assert model[0].moving_variance == "keras3"
    assert [norm.momentum for norm in model] == [momentum, momentum]


def test_classes_are_those_of_the_first_output():
    model = lived_in(nn.Sequential(OrderedDict(end=nn.Linear(4, 7))))
    origin = replace(ORIGIN, last_activations=("softmax",))
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0, -1.0, -2.0, -3.0]]).double()
    (found,) = tops_of(subject_for(model, {"end": ()}, origin), [logits])
    assert [number for number, _ in found] == [1, 3, 2, 0, 4]
    assert found[0][1] == pytest.approx(float(logits.softmax(1)[0, 1]))
    assert tops_of(subject_for(model, {"end": ()}), [torch.zeros(2, 1)]) is None
    assert tops_of(subject_for(model, {"end": ()}), [torch.zeros(2, 5, 3, 3)]) is None


# The whole, as its process is asked


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    """A converted file, and a recording of the port itself, which knows no float32 of its own."""
    folder = tmp_path_factory.mktemp("comparing")
    port = folder / "port.safetensors"
    convert(checkpoints.checkpoint(folder / "model.h5", checkpoints.small(in_shape=(33, 33, 3))), port)
    model = load_model(port).double()
    for norm in model.modules():
        if isinstance(norm, BatchNorm2d):
            norm.moving_variance = "keras3"  # as any Keras learns in float64
    subject = subject_of(model)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 33, 33, 3)).astype(np.uint8)
    shown = [
        Case("pictures", (pictures,), raw=True),
        Case("noise, training", (images(4, 33, 33, 3),), raw=False, check="training"),
    ]
    origin = replace(ORIGIN, preprocessing=PRESETS["caffe"], channels=3, last_activations=("softmax",))
    record_subject(folder / "reference.safetensors", subject, shown, {}, origin=origin)
    return port, folder / "reference.safetensors"


def asked(files: tuple[Path, Path], **changed: Any) -> ComparisonResult:
    shares: list[float] = []
    found = compare(replace(ComparisonRequest(*files, training=False), **changed), shares.append)
    assert shares[-1:] in ([1.0], [])
    return found


def test_a_request_is_answered(files):
    found = asked(files)
    rows = found.rows
    assert {row.check for row in rows} == {"inference"}
    assert all(row.errors["float64"] <= LIMIT for row in rows)
    assert {tuple(row.errors) for row in rows} == {("float64", "float32")}
    assert found.explanation is None or rows  # float32 alone may differ from this recording
    assert len(found.tops["pictures"]) == 2
    assert "torch" in found.environment


def test_a_request_with_training_compares_a_step(files):
    rows = asked(files, training=True).rows
    assert {row.check for row in rows} == {"inference", "training", "loss", "gradient", "statistics"}
    assert all(set(row.errors) == {"float64"} for row in rows if row.check != "inference")
    assert not [row for row in rows if not row.errors["float64"] <= TOLERANCES[row.check]["float64"].error]


def test_a_request_for_cuda_alone_is_empty_where_there_is_none(files):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert asked(files, devices=("cuda",)).rows == ()


def test_a_request_with_other_numbers_is_explained_with_the_right_ones(files, tmp_path):
    converted = read_converted(files[0])
    state = converted.tensors()
    name = "stages.stage2.a.residual.res2a_branch2b.weight"
    state[name] = 1.01 * state[name]
    broken = tmp_path / "broken.safetensors"
    tensors = [Tensor.of(name, value) for name, value in state.items()]
    write_converted(broken, tensors, converted.description)
    unexplained = asked(files, converted=broken).explanation
    assert unexplained.layer == "res2a_branch2b"
    assert unexplained.found is None
    explained = asked(files, converted=broken, right=files[0]).explanation
    assert explained.layer == "res2a_branch2b"
    assert explained.found.cause == "weights"
