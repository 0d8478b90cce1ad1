"""Exact runs: what no photograph shows is seen, at its own layer and nowhere else; a right port is proven."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras_exact
import pytest
import torch
from sides import sides_here
from torch import nn
from torch.nn import functional as F

from resnet_torch import load_model
from resnet_torch.comparison.exact_runs import ExactComparison, compare_exact_runs
from resnet_torch.comparison.explanation import explain
from resnet_torch.comparison.layer_errors import compare_inference
from resnet_torch.comparison.port_comparison import subject_for_comparison
from resnet_torch.comparison.rows import Collected, collecting, rows_of
from weight_transfer import Hints, convert, verify
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.parity.reference import record
from weight_transfer.parity.report import Row
from weight_transfer.progress import steps

pytestmark = pytest.mark.keras

GRAPH = Hints(import_as="graph")


@pytest.fixture(scope="module")
def source(keras_side, tmp_path_factory) -> Path:
    return keras_side(keras_exact.save, tmp_path_factory.mktemp("exact") / "model.keras")


@pytest.fixture(scope="module")
def recorded(source, keras_side) -> Path:
    record(source, source.with_name("reference.safetensors"), GRAPH, runner=sides_here(keras_side))
    convert(source, source.with_name("port.safetensors"), GRAPH)
    return source.with_name("reference.safetensors")


@pytest.fixture
def recording(recorded) -> Recording:
    return read_recording(recorded)


@pytest.fixture
def model(recorded) -> nn.Module:
    return load_model(recorded.with_name("port.safetensors"), unfreeze=True)


def compared(model: nn.Module, recording: Recording) -> ExactComparison:
    return compare_exact_runs(
        subject_for_comparison(model, recording, "cpu", "float64"), recording, steps(99, lambda share: None)
    )


def rows_on_images(model: nn.Module, recording: Recording) -> list[Row]:
    found: Collected = {}
    cases = [case for case in recording.cases if case.check == "inference"]
    subject = subject_for_comparison(model, recording, "cpu", "float64")
    for case in cases:
        compare_inference(subject, recording, case, collecting(found, "float64", case))
    return rows_of(recording, "cpu", cases, found, ("float64",))


def test_a_right_port_is_the_same_function(source, recorded, model, recording):
    found = verify(
        source, recorded.with_name("port.safetensors"), GRAPH, ("cpu",), reference=recorded, runner=sides_here()
    )
    assert found.verdict == "SAME FUNCTION", [row for row in found.rows if not row.passed]
    assert found.sizes == ("16x16",)
    assert found.wiring_total == 15
    assert set(found.inexact) == {"hidden", "classes"}
    assert found.num_exact == len(list(found.of("exact"))) - 2
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    compared(model, recording)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_quick_comparison_says_what_it_left_out(source, recorded, keras_side, tmp_path):
    quick = tmp_path / "quick.safetensors"
    record(source, quick, GRAPH, runner=sides_here(keras_side), quick=True)
    port = recorded.with_name("port.safetensors")
    found = {
        name: verify(source, port, GRAPH, ("cpu",), reference=reference, runner=sides_here(), quick=asked)
        for name, reference, asked in (("recorded so", quick, False), ("asked for", recorded, True))
    }
    whole = read_recording(recorded).exact_runs
    assert whole is not None
    assert whole.left_out == ()
    for one in found.values():
        assert one.verdict == "EQUAL"
        assert one.left_out == whole.quick().left_out != ()
        assert one.wiring_total == 15
        assert len(list(one.of("exact"))) == 15
        assert not list(one.of("local gradient"))
        assert one.sizes == ("16x16",)
    runs = read_recording(quick).exact_runs
    assert runs is not None
    assert [one.regime for one in runs.rounds] == ["unit", "real"]


class OneChannelThrough(nn.Module):
    """An activation that one channel goes round."""

    def forward(self, x):
        return torch.cat([F.relu6(x)[:, :-1], x[:, -1:]], 1)


class ZeroPadded(nn.Module):
    """A max pool whose pads are zero, and may be the largest."""

    def forward(self, x):
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)


class WithPads(nn.Module):
    """An average that counts its pads."""

    def forward(self, x):
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)


def put(name: str, module: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], None]:
    return lambda model: setattr(model, name, module(model.get_submodule(name)))


def epsilon(model: nn.Module) -> None:
    model.bn_a.eps *= 1 + 1e-9


# Layer, and what is done to it; on images the port gives what Keras gives, to 1e-12.
UNSEEN = {
    "relu for relu6": ("clip", put("clip", lambda old: nn.ReLU())),
    "an activation missing on one channel": ("clip", put("clip", lambda old: OneChannelThrough())),
    "another slope": ("leaky", put("leaky", lambda old: nn.LeakyReLU(0.3))),
    "an epsilon one billionth larger": ("bn_a", epsilon),
}
# Here an image shows something, and where.
SEEN = {
    "pads of zero in a max pool": ("pool", put("pool", lambda old: ZeroPadded())),
    "pads that an average counts": ("average", put("average", lambda old: WithPads())),
    "the flatten of PyTorch": ("flat", put("flat", lambda old: nn.Flatten())),
}
CAUSES = {"relu for relu6": "activation", "another slope": "activation", "an epsilon one billionth larger": "epsilon"}


@pytest.mark.parametrize("name", [*UNSEEN, *SEEN])
def test_a_mistake_is_seen_at_its_layer_and_nowhere_else(name, model, recording):
    layer, plant = {**UNSEEN, **SEEN}[name]
    plant(model)
    if name in UNSEEN:
        assert all(row.passed for row in rows_on_images(model, recording))
    found = compared(model, recording)
    failed = [row for row in found.rows if not row.passed]
    assert {row.name for row in failed if row.check == "exact"} == {layer}
    assert not found.wiring
    if name in CAUSES:
        subject = subject_for_comparison(model, recording, "cpu", "float64")
        explanation = explain(subject, recording, failed[0], found.rows)
        assert explanation.layer == layer
        assert explanation.found is not None
        assert explanation.found.cause == CAUSES[name]
        assert explanation.found.error == 0.0


def test_what_reads_another_layers_output_is_named(model, recording):
    """Dead, both outputs are zero, and so is what is computed from either."""
    read: list[torch.Tensor] = []
    model.dead.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    plain = model.b.forward
    model.b.forward = lambda x: plain(read[-1])
    found = compared(model, recording)
    (one,) = found.wiring
    assert (one.layer, one.expected, one.actual) == ("b", "dead", "conv0")
    assert "b" in {row.name for row in found.rows if not row.passed}


def test_a_gradient_that_stops_is_seen(model, recording):
    plain = model.leaky.forward
    model.leaky.forward = lambda x: plain(x.detach())
    found = compared(model, recording)
    assert {row.name for row in found.rows if not row.passed} == {"average/output"}
    assert found.untraced == ("leaky",)


def test_an_array_that_is_not_used_is_seen(model, recording):
    """A port that has the bias, bit-equal, and does not add it: on images it is far below everything else."""
    bias = model.b.bias
    model.b.forward = lambda x: F.conv2d(x, model.b.weight, padding=1) + 0 * bias.mean()
    failed = {(row.check, row.name) for row in compared(model, recording).rows if not row.passed}
    assert ("exact", "b") in failed
    assert ("local gradient", "b/bias") in failed
    assert {name for _, name in failed} == {"b", "b/bias"}
