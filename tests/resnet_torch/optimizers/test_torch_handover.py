"""Real Keras trains, saves, and trains on; PyTorch takes over at the file, and does the same. And the way back.

In float64, so that a slot in the wrong place, or one that is lost, cannot hide.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handover
import keras_handover
import numpy as np
import pytest
import torch
from keras_handover import Run
from sweeps import each_once, slow_but
from torch import nn

from resnet_torch import load_model, save_converted, save_keras
from resnet_torch.optimizers import load_grad_scaler, load_optimizer
from weight_transfer import Hints, convert, export
from weight_transfer.optimizer import from_keras
from weight_transfer.weight_mapping import mapping

GATE = 1e-9
STEPS = (2, 2)
RATE = 0.004
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Adam": ("Adam", {"learning_rate": 0.01}),
    "SGD": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    "RMSprop": ("RMSprop", {"learning_rate": 0.01, "momentum": 0.8, "centered": True}),
    "AdamW": ("AdamW", {"learning_rate": 0.01, "amsgrad": True, "use_ema": True, "ema_momentum": 0.9}),
    "Nadam": ("Nadam", {"learning_rate": 0.01}),
}
# What a weights file does not say, and Keras's user says again when they build the model.
SAID = {
    "Adam": "Adam()",
    "SGD": "SGD(momentum=0.9, nesterov=True)",
    "RMSprop": "RMSprop(momentum=0.8, centered=True)",
    "AdamW": "AdamW(amsgrad=True, use_ema=True, ema_momentum=0.9)",
    "Nadam": "Nadam()",
}
Train = Callable[..., Run]


@pytest.fixture(scope="module")
def train(keras_side, tmp_path_factory) -> Train:
    """Trains in Keras; the same run once."""
    runs: dict[str, Run] = {}

    def trained(family: str, network: str, key: str, **more: Any) -> Run:
        name = f"{family}-{network}-{key}-{sorted(more.items())}"
        if name not in runs:
            folder = tmp_path_factory.mktemp("run")
            more.setdefault("rate", RATE)
            runs[name] = keras_side(
                keras_handover.trained, folder, family, network, *OPTIMIZERS[key], steps=STEPS, **more
            )
        return runs[name]

    return trained


def take_over(run: Run, kind: str, family: str, key: str, network: str = "native") -> tuple[Any, Any]:
    """Opens one of a run's files with what must be said of it."""
    if kind != "keras3-weights-h5":
        return handover.taken_over(run.files[kind], family)
    # tf_keras only counts the layers, which shows no dialect.
    hints = Hints(dialect="keras-applications") if network == "native" else Hints(like=run.files["legacy-h5"])
    rate = "" if family == "keras" else f"learning_rate={RATE}, "  # tf_keras leaves it out
    said = SAID[key].replace("(", f"({rate}")
    return handover.taken_over(run.files[kind], family, hints, optimizer=said)


def assert_goes_on(run: Run, model: Any, optimizer: Any, family: str) -> None:
    losses = handover.train(model, optimizer, STEPS)
    found = handover.errors(model, optimizer, losses, run, family)
    assert max(found.values()) <= GATE, found


FAMILIES = ("keras", "tf_keras")
NATIVE = [
    *itertools.product(FAMILIES, ("Adam",), keras_handover.ENDINGS),
    ("keras", "AdamW", "keras-zip"),
    ("keras", "AdamW", "keras3-weights-h5"),
    ("tf_keras", "AdamW", "legacy-h5"),
    ("keras", "Nadam", "keras-zip"),
    ("tf_keras", "Nadam", "keras-zip"),
]
USUAL = [*each_once(FAMILIES, ("Adam",), [*keras_handover.ENDINGS]), ("keras", "AdamW", "keras3-weights-h5")]


@pytest.mark.parametrize(("family", "key", "kind"), slow_but(USUAL, NATIVE))
def test_training_goes_on_as_if_nothing_had_happened(family, key, kind, train):
    run = train(family, "native", key)
    model, optimizer = take_over(run, kind, family, key)
    assert optimizer.param_groups[0]["iterations"] == STEPS[0]
    assert optimizer.param_groups[0]["lr"] == RATE  # not the one that it was compiled with
    assert_goes_on(run, model, optimizer, family)


OTHERS = (("nested", "RMSprop"), ("graph", "Adam"), ("frozen", "SGD"))
HEADED = [("keras", "headed", "Adam", "keras-zip"), ("keras", "headed", "Adam", "keras3-weights-h5")]
KINDS = [*itertools.product(FAMILIES, OTHERS, keras_handover.ENDINGS)]
USUAL_KINDS = [*each_once(FAMILIES, OTHERS, [*keras_handover.ENDINGS]), ("tf_keras", OTHERS[-1], "keras-zip")]


def flat(kinds):
    return [(family, *other, kind) for family, other, kind in kinds]


@pytest.mark.parametrize(
    ("family", "network", "key", "kind"), slow_but([*flat(USUAL_KINDS), HEADED[0]], [*flat(KINDS), *HEADED])
)
def test_frozen_layers_nested_models_and_graphs(family, network, key, kind, train):
    run = train(family, network, key)
    model, optimizer = take_over(
        run, kind, family, key, network if network != "frozen" or kind != "legacy-h5" else "native"
    )
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = {name for name, _ in model.named_parameters()} - learning
    assert len(frozen) == {"nested": 8, "graph": 0, "frozen": 16, "headed": 28}[network]
    assert {name for name, p in model.named_parameters() if optimizer.state.get(p)} == learning
    assert_goes_on(run, model, optimizer, family)


def test_legacy_classes_of_tf_keras(train):
    run = train("tf_keras legacy", "native", "Adam")
    assert_goes_on(run, *handover.taken_over(run.files["legacy-h5"], "tf_keras"), "tf_keras")


def test_a_schedule_goes_on_from_its_step(keras_side, tmp_path):
    rate = ("PiecewiseConstantDecay", {"boundaries": [0, 2], "values": [0.01, 0.003, 0.001]})
    run = keras_side(
        keras_handover.trained, tmp_path, "keras", "native", "SGD", {"learning_rate": rate}, STEPS, rate=None
    )
    model, optimizer = handover.taken_over(run.files["keras-zip"], "keras")
    assert optimizer.param_groups[0]["lr"] == float(np.float32(0.003))  # the last step's
    assert_goes_on(run, model, optimizer, "keras")


def test_layers_that_were_frozen_without_compiling_again(train):
    """The optimizer has slots of all layers; by name in .h5, by number, which all must be, in .keras."""
    run = train("keras", "graph", "SGD", freeze_late=True)
    for kind in ("legacy-h5", "keras-zip"):
        model, optimizer = handover.taken_over(run.files[kind], "keras")
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        assert frozen == {"first.weight", "first.bias"}
        assert all(optimizer.state[parameter] for parameter in model.parameters())


def test_the_scale_of_a_loss_comes_along(keras_side, tmp_path):
    run = keras_side(
        keras_handover.trained, tmp_path, "keras", "native", "Adam", {"learning_rate": 0.01}, STEPS, RATE, scaled=True
    )
    for kind in ("legacy-h5", "keras-zip"):
        assert_goes_on(run, *handover.taken_over(run.files[kind], "keras"), "keras")
    scaler = load_grad_scaler(run.files["keras-zip"], "cpu")
    assert scaler.get_scale() == 2.0**15
    assert scaler.state_dict()["_growth_tracker"] == STEPS[0]
    assert scaler.get_growth_interval() == 2000


# Each mistake that a port of the state could make, seen.


def _of_kernels(model: Any) -> tuple[Any, Any]:
    """Two weights of one shape, side by side."""
    found = dict(model.named_parameters())
    return found["b_conv.weight"], found["a_conv.weight"]


def _swap_two_weights(model: Any, optimizer: Any) -> None:
    one, other = _of_kernels(model)
    optimizer.state[one]["momentum"], optimizer.state[other]["momentum"] = (
        optimizer.state[other]["momentum"],
        optimizer.state[one]["momentum"],
    )


def _swap_m_and_v(model: Any, optimizer: Any) -> None:
    for slots in optimizer.state.values():
        slots["momentum"], slots["velocity"] = slots["velocity"], slots["momentum"].abs()


def _transpose(model: Any, optimizer: Any) -> None:
    slots = optimizer.state[_of_kernels(model)[0]]
    slots["velocity"] = slots["velocity"].transpose(2, 3).contiguous()


def _lose_the_count(model: Any, optimizer: Any) -> None:
    optimizer.param_groups[0]["iterations"] = 0


def _lose_the_slots(model: Any, optimizer: Any) -> None:
    optimizer.state.clear()


def _as_compiled(model: Any, optimizer: Any) -> None:
    optimizer.param_groups[0]["lr"] = OPTIMIZERS["Adam"][1]["learning_rate"]


@pytest.mark.parametrize(
    "plant", [_swap_two_weights, _swap_m_and_v, _transpose, _lose_the_count, _lose_the_slots, _as_compiled]
)
def test_each_mistake_is_seen(plant, train):
    run = train("keras", "graph", "Adam")
    model, optimizer = handover.taken_over(run.files["keras-zip"], "keras")
    with torch.no_grad():
        plant(model, optimizer)
    losses = handover.train(model, optimizer, STEPS)
    found = handover.errors(model, optimizer, losses, run, "keras")
    assert max(found["loss"], found["weights"]) > 1e-6, found


@pytest.mark.parametrize("family", ["keras", "tf_keras"])
def test_the_order_of_arrays_in_the_file_would_be_seen(family, train, monkeypatch):
    run = train(family, "graph", "Adam")
    right = from_keras.variables_of

    def in_the_files_order(checkpoint: Any, identified: Any) -> Any:
        places = {name: place for place, name in enumerate(sorted(identified.arrays))}
        return tuple(sorted(right(checkpoint, identified), key=lambda variable: places[variable.row.keras]))

    monkeypatch.setattr(from_keras, "variables_of", in_the_files_order)
    with pytest.raises(Exception, match=r"variables are not those of Adam"):
        handover.taken_over(run.files["keras-zip"], family)
    # Names, where there are names, do not depend on it.
    assert_goes_on(run, *handover.taken_over(run.files["legacy-h5"], family), family)


# The way back.


@pytest.mark.parametrize(
    ("network", "key", "ending"),
    [
        ("native", "AdamW", "keras"),
        ("native", "Nadam", "weights.h5"),
        ("frozen", "SGD", "keras"),
        ("frozen", "SGD", "weights.h5"),
    ],
)
def test_keras_3_goes_on_where_pytorch_stopped(network, key, ending, train, keras_side, tmp_path):
    run = train("keras", network, key)
    assert_keras_goes_on(run, "keras", network, key, tmp_path / f"back.{ending}", keras_side)


@pytest.mark.parametrize(("network", "key"), [("native", "Adam"), ("frozen", "SGD")])
def test_tf_keras_goes_on_where_pytorch_stopped(network, key, train, keras_side, tmp_path):
    run = train("tf_keras", network, key)
    assert_keras_goes_on(run, "tf_keras", network, key, tmp_path / "back.h5", keras_side)


def assert_keras_goes_on(run: Run, family: str, network: str, key: str, file: Path, keras_side: Any) -> None:
    """One of the run's second steps in PyTorch, the other in Keras again."""
    model, optimizer = handover.taken_over(run.files["keras-zip"], family)
    handover.train(model, optimizer, (STEPS[0], 1))
    save_converted(model, file.with_name("port.safetensors"), optimizer=optimizer)
    export(file.with_name("port.safetensors"), file, with_optimizer=True)
    save_keras(model, file.with_name(f"direct_{file.name}"), optimizer)
    assert file.read_bytes() == file.with_name(f"direct_{file.name}").read_bytes()
    name, arguments = OPTIMIZERS[key]
    compiled = {"network": network, "name": name, **arguments} if file.name.endswith("weights.h5") else None
    back = keras_side(keras_handover.went_on, file, family, (STEPS[0] + 1, 1), compiled)
    assert abs(back.losses[0] / run.losses[1] - 1) <= GATE
    again, resumed = handover.taken_over(back.last, family)
    found = handover.errors(again, resumed, back.losses, _at_its_end(run), family)
    assert max(found.values()) <= GATE, found


def _at_its_end(run: Run) -> Run:
    return Run(run.files, run.losses[1:], run.weights, run.last)


def test_the_loaded_optimizer_is_that_of_the_converted_file(train, tmp_path):
    run = train("keras", "native", "Adam")
    port = convert(run.files["keras-zip"], tmp_path / "port.safetensors", with_optimizer=True).output
    model = load_model(port)
    one, other = load_optimizer(port, model), load_optimizer(run.files["keras-zip"], model)
    assert one.param_groups == other.param_groups
    for parameter in model.parameters():
        for slot, tensor in other.state[parameter].items():
            assert torch.equal(one.state[parameter][slot], tensor)


ORDINARY = [
    ("keras", "float32", "adam", "keras"),
    ("keras", "mixed_float16", "adam", "keras"),
    ("keras", "mixed_float16", "sgd", "keras"),
    ("tf_keras", "float32", "adam", "keras"),
    ("tf_keras", "float32", "RMSprop", "keras"),
    ("tf_keras", "float32", "sgd", "keras"),
    ("tf_keras", "mixed_float16", "adam", "keras"),
    ("tf_keras", "mixed_float16", "adam", "h5"),
]
ORDINARY_USUALLY = (ORDINARY[0], ORDINARY[2], ORDINARY[4], ORDINARY[7])  # each Keras, policy, name and container
HALF = 2e-2  # of what three steps changed: the owner's gradients are of half precision


@pytest.mark.parametrize(("family", "policy", "name", "container"), slow_but(ORDINARY_USUALLY, ORDINARY))
def test_compiled_by_name_and_under_a_policy(family, policy, name, container, keras_side, tmp_path):
    """What Keras's own `compile` makes of a name, and wraps for half precision; the reference is the owner's model."""
    file, losses, before, after = keras_side(keras_handover.compiled_by_name, tmp_path, family, policy, name, container)
    port = convert(file, tmp_path / "port.safetensors", with_optimizer=True)
    for start in (file, port.output):
        model = load_model(start).train()
        optimizer = load_optimizer(start, model)
        found = []
        for x, y in keras_handover.batches(5)[2:]:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                model(torch.tensor(np.moveaxis(x, -1, 1), dtype=torch.float32)), torch.tensor(y, dtype=torch.float32)
            )
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        tolerance = 1e-4 if policy == "float32" else HALF
        assert found == pytest.approx(losses, rel=tolerance)
        state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
        error, change = 0.0, 0.0
        for row in mapping(model.network):
            name_there = next(key for key in after if f"/{key}".endswith(f"/{row.keras}"))
            error += float(((row.to_keras(state[row.torch]) - after[name_there]) ** 2).sum())
            change += float(((before[name_there] - after[name_there]) ** 2).sum())
        assert 0 < error**0.5 <= tolerance * change**0.5, (start, error, change)
    scaler = load_grad_scaler(file, "cpu")
    assert (scaler is None) == (policy == "float32")
    if scaler is not None:  # tf_keras saves no scale, and begins again as here
        assert scaler.get_scale() == 2.0**15
        assert scaler.state_dict()["_growth_tracker"] == (2 if family == "keras" else 0)
    if family == "tf_keras" and container == "keras":
        rate = "0.01" if name == "sgd" else "0.001"
        assert any(f"learning rate {rate}: " in words for words in port.optimizer.assumed)
