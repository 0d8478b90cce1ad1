"""`load_optimizer` and `save_converted(optimizer=...)`: what comes back, and what is no state of this model."""

from __future__ import annotations

import dataclasses

import checkpoints
import pytest
import torch
from optimizer_states import tiny, without, written
from torch import nn

from resnet_torch import load_model, save_converted, save_keras
from resnet_torch.optimizers import SGD, Adagrad, Adam, Nadam, RMSprop, load_grad_scaler, load_optimizer
from resnet_torch.optimizers.serialization import describe_optimizer
from resnet_torch.regularizers import regularizers_from_keras
from resnet_torch.schedules import CosineDecay, Keras2Decay
from weight_transfer import Hints, MappingError, OptionError, TransferError, convert, read_checkpoint
from weight_transfer.optimizer.state import LossScale, read_state, state_content


@pytest.fixture
def port(tmp_path):
    """A converted file with an optimizer's state beside it."""
    path, _ = written(tmp_path / "m.keras")
    return convert(path, tmp_path / "m.safetensors", with_optimizer=True).output


def step(model, optimizer):
    model.train()
    optimizer.zero_grad()
    torch.manual_seed(3)
    model(torch.randn(4, 3, 33, 33, dtype=next(model.parameters()).dtype)).square().mean().backward()
    optimizer.step()


def assert_equal(one, other):
    """Two optimizers of models alike."""
    for first, second in zip(one.param_groups, other.param_groups, strict=True):
        assert {k: v for k, v in first.items() if k != "params"} == {k: v for k, v in second.items() if k != "params"}
        for mine, theirs in zip(first["params"], second["params"], strict=True):
            assert one.state.get(mine, {}).keys() == other.state.get(theirs, {}).keys()
            for slot, tensor in one.state.get(mine, {}).items():
                assert torch.equal(tensor, other.state[theirs][slot]), slot


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_from_either_file_and_the_checkpoint_itself(dtype, port, tmp_path):
    model = load_model(port).to(dtype)
    loaded = [
        load_optimizer(tmp_path / name, model) for name in ("m.safetensors", "m.optimizer.safetensors", "m.keras")
    ]
    for other in loaded[1:]:
        assert_equal(loaded[0], other)
    group = loaded[0].param_groups[0]
    assert (type(loaded[0]), group["iterations"], group["lr"]) == (Adam, 7, 0.25)
    assert group["param_names"] == [name for name, _ in model.named_parameters()]
    assert all(slot.dtype == dtype for slots in loaded[0].state.values() for slot in slots.values())
    step(model, loaded[0])
    assert group["iterations"] == 8


def test_slots_lie_in_memory_as_their_weights(port):
    """The fused kernels pair elements by place."""
    model = load_model(port).to(memory_format=torch.channels_last)
    optimizer = load_optimizer(port, model)
    for parameter in model.parameters():
        assert all(slot.stride() == parameter.stride() for slot in optimizer.state[parameter].values())


def test_wrapped_models_and_rates_of_ones_own(port):
    class Parallel(nn.Module):  # as torch.nn.parallel.DistributedDataParallel holds it
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = load_model(port)
    schedule = CosineDecay(0.5, 100)
    optimizer = load_optimizer(port, Parallel(model), lr=schedule)
    assert optimizer.param_groups[0]["lr"] == schedule(6)
    step(model, optimizer)
    assert optimizer.param_groups[0]["lr"] == schedule(7)


def test_frozen_layers_are_frozen(tmp_path):
    path, _ = written(tmp_path / "m.keras", frozen=("stem.conv", "stem.bn_conv1"))
    model = load_model(path).train()
    optimizer = load_optimizer(path, model)
    assert not model.stem.conv.weight.requires_grad
    assert model.stem.bn_conv1.frozen
    assert not model.stem.bn_conv1.training
    before = {name: tensor.clone() for name, tensor in model.stem.state_dict().items()}
    step(model, optimizer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.stem.state_dict().items())


# What is no state of this model.


def test_weights_that_moved_on(port):
    model = load_model(port)
    step(model, load_optimizer(port, model))
    with pytest.raises(TransferError, match="belongs to other weights than the model has now"):
        load_optimizer(port, model)
    load_optimizer(port, model, any_weights=True)


def test_a_state_of_another_network(port, tmp_path):
    other, _ = written(tmp_path / "other.keras", tiny(filters=((4, 4), (6, 8))))
    with pytest.raises(MappingError, match=r"optimizer state is not that of ResNet-6:\n  momentum of head"):
        load_optimizer(port, load_model(other))
    other, _ = written(tmp_path / "other.keras", tiny("keras-applications"))
    with pytest.raises(MappingError, match=r"the model has no such parameter"):
        load_optimizer(port, load_model(other))


def test_a_state_with_holes(tmp_path):
    path, state = written(tmp_path / "m.keras")
    model = load_model(path)
    save_converted(model, tmp_path / "p.safetensors", optimizer=load_optimizer(path, model))
    saved = read_state(tmp_path / "p.optimizer.safetensors")
    for names in (["momentum/stem.conv.bias"], [t.name for t in state.tensors if t.name.startswith("velocity")]):
        holed = without(saved.state, *names)
        state_content(holed, saved.fingerprint, saved.origin).write(tmp_path / "holes.optimizer.safetensors")
        with pytest.raises(MappingError, match=f"{names[0].partition('/')[0]} of .*: missing"):
            load_optimizer(tmp_path / "holes.optimizer.safetensors", model)


def test_no_state_at_all(tmp_path):
    path = checkpoints.checkpoint(tmp_path / "m.keras", tiny())
    port = convert(path, tmp_path / "m.safetensors").output
    with pytest.raises(TransferError, match=r"no optimizer state lies beside it. Expected m.optimizer.safetensors"):
        load_optimizer(port, load_model(port))
    with pytest.raises(TransferError, match="holds no optimizer state"):
        load_optimizer(path, load_model(path))


def test_the_scaler_of_a_loss(tmp_path):
    path, _ = written(tmp_path / "m.keras")
    port = convert(path, tmp_path / "m.safetensors", with_optimizer=True).output
    assert load_grad_scaler(port, "cpu") is None
    saved = read_state(tmp_path / "m.optimizer.safetensors")
    scaled = dataclasses.replace(saved.state, loss_scale=LossScale(1024.0, 5, 77))
    state_content(scaled, saved.fingerprint, saved.origin).write(tmp_path / "m.optimizer.safetensors")
    scaler = load_grad_scaler(port, "cpu")
    assert (scaler.get_scale(), scaler.get_growth_interval()) == (1024.0, 77)
    assert scaler.state_dict()["_growth_tracker"] == 5


# A live optimizer in a file, and back.


@pytest.mark.parametrize(
    "make",
    [
        lambda p: Adam(p, lr=0.3, betas=(0.8, 0.9), amsgrad=True, clipnorm=1.5),
        lambda p: SGD(p, lr=0.3, momentum=0.5, nesterov=True, weight_decay=0.01),
        lambda p: SGD(p, lr=CosineDecay(0.5, 9, warmup_target=0.7, warmup_steps=3, in_fit=True)),
        lambda p: SGD(p, lr=Keras2Decay(0.5, 0.25), momentum=0.5),
        lambda p: RMSprop(p, momentum=0.5, centered=True, use_ema=True, ema_rule="tf_keras"),
        lambda p: RMSprop(p, eps_outside_root=True),
        lambda p: Adagrad(p, initial_accumulator_value=0.3, use_ema=True, ema_overwrite_frequency=2),
        lambda p: Nadam(p, global_clipnorm=3.0),
    ],
)
def test_a_live_optimizer_comes_back(make, port, tmp_path):
    model = load_model(port).double()
    optimizer = make(model.named_parameters())
    for _ in range(2):
        step(model, optimizer)
    save_converted(model, tmp_path / "live.safetensors", optimizer=optimizer)
    again = load_model(tmp_path / "live.safetensors")
    resumed = load_optimizer(tmp_path / "live.safetensors", again)
    assert type(resumed) is type(optimizer)
    assert_equal(resumed, optimizer)
    step(model, optimizer)
    step(again, resumed)
    assert_equal(resumed, optimizer)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_what_had_no_gradient_gets_what_keras_starts_from(port, tmp_path):
    model = load_model(port)
    save_keras(model, tmp_path / "new.keras", Adagrad(model.parameters(), initial_accumulator_value=0.5))
    resumed = load_optimizer(tmp_path / "new.keras", load_model(tmp_path / "new.keras"))
    assert resumed.param_groups[0]["iterations"] == 0
    assert all(bool((slot == 0.5).all()) for slots in resumed.state.values() for slot in slots.values())


def _one_part(model):
    model.stem.conv.weight.requires_grad_(False)


def _statistics_that_move(model):
    model.stem.requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: torch.optim.Adam(m.parameters()), r"a Adam is no optimizer that Keras has. Expected one of"),
        (lambda m: Adam(m.head.parameters()), r"learns, and the optimizer does not have it"),
        (
            lambda m: Adam([*m.parameters(), nn.Parameter(torch.ones(2))]),
            "1 of the optimizer's parameters are not the model's",
        ),
        (
            lambda m: Adam([{"params": m.stem.parameters(), "weight_decay": 0.1}, {"params": m.stages.parameters()}]),
            "parameter groups differ in weight_decay",
        ),
    ],
)
def test_what_keras_has_not_is_refused(make, message, port):
    model = load_model(port)
    with pytest.raises(TransferError, match=message):
        describe_optimizer(make(model), model)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (_one_part, r"conv: only some of its parameters learn"),
        (_statistics_that_move, r"bn_conv1: frozen=False, and its parameters"),
    ],
)
@pytest.mark.parametrize("only_what_learns", [False, True])
def test_what_is_frozen_as_no_keras_layer_is_gets_the_slots_that_keras_starts_from(
    freeze, message, only_what_learns, port, tmp_path
):
    model = load_model(port)
    freeze(model)
    given = [one for one in model.parameters() if one.requires_grad or not only_what_learns]
    optimizer = Adam(given)
    step(model, optimizer)
    with pytest.warns(UserWarning, match=message):
        save_keras(model, tmp_path / "new.keras", optimizer)
    again = load_model(tmp_path / "new.keras")
    resumed = load_optimizer(tmp_path / "new.keras", again)
    assert resumed.param_groups[0]["iterations"] == 1
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        if one in optimizer.state and other.requires_grad:
            assert torch.equal(resumed.state[other]["momentum"], optimizer.state[one]["momentum"])
        elif other.requires_grad:
            assert not resumed.state[other]["momentum"].any()


@pytest.mark.parametrize(
    ("load", "name"),
    [
        (lambda port, model: load_model(port, Hints(depth=50)), "hints"),
        (lambda port, model: load_optimizer(port, model, hints=Hints(depth=50)), "hints"),
        (lambda port, model: load_optimizer(port, model, optimizer="Adam"), "optimizer"),
        (lambda port, model: regularizers_from_keras(port, model, hints=Hints(depth=50)), "hints"),
    ],
)
def test_what_is_said_of_a_converted_file_is_refused(load, name, port):
    model = load_model(port, Hints())
    with pytest.raises(OptionError, match=rf"converted file, which says itself what it holds: {name} would be ignored"):
        load(port, model)


def test_slots_that_are_not_finite_leave_both_files_alone(port):
    model = load_model(port)
    optimizer = load_optimizer(port, model)
    step(model, optimizer)
    optimizer.state[model.stem.conv.weight]["momentum"].fill_(float("nan"))
    files = [port, port.with_name("m.optimizer.safetensors")]
    before = [file.read_bytes() for file in files]
    with pytest.raises(MappingError, match=r"momentum of stem\.conv\.weight: not finite"):
        save_converted(model, port, optimizer=optimizer)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: RMSprop(p, eps_outside_root=True), "Keras 2's, which adds epsilon outside the root"),
        (lambda p: SGD(p, lr=Keras2Decay(0.1, 0.5)), "Keras 2's, which has an argument decay"),
        (lambda p: SGD(p, lr=lambda step: 0.1), "a function, 'function', which no Keras file holds"),
    ],
)
def test_what_no_keras_of_today_has_is_refused_on_the_way_back(make, message, port, tmp_path):
    model = load_model(port)
    optimizer = make(model.parameters())
    step(model, optimizer)
    with pytest.raises(TransferError, match=message):
        save_keras(model, tmp_path / "back.keras", optimizer)
    assert not (tmp_path / "back.keras").exists()
    save_converted(model, tmp_path / "port.safetensors", optimizer=optimizer)  # but here it has


def test_a_function_as_rate_must_be_given_again(port, tmp_path):
    model = load_model(port)
    optimizer = SGD(model.parameters(), lr=lambda step: 0.1 * step, momentum=0.5)
    step(model, optimizer)
    save_converted(model, tmp_path / "p.safetensors", optimizer=optimizer)
    again = load_model(tmp_path / "p.safetensors")
    with pytest.raises(TransferError, match=r"No learning rate schedule 'function'.*pass it as lr"):
        load_optimizer(tmp_path / "p.safetensors", again)
    assert (
        load_optimizer(tmp_path / "p.safetensors", again, lr=lambda step: 0.1 * step).param_groups[0]["iterations"] == 1
    )


def test_a_tf_keras_file_cannot_hold_nadam(port, tmp_path):
    model = load_model(port)
    optimizer = Nadam(model.parameters())
    step(model, optimizer)
    with pytest.raises(TransferError, match="tf_keras keeps no product of Nadam's momentum"):
        save_keras(model, tmp_path / "back.h5", optimizer, schema="keras2")


def test_save_keras_writes_what_convert_writes_back(port, tmp_path):
    model = load_model(port)
    save_keras(model, tmp_path / "one.keras", load_optimizer(port, model), loss="categorical_crossentropy")
    with read_checkpoint(tmp_path / "one.keras") as checkpoint:
        assert checkpoint.training["loss"] == "categorical_crossentropy"
        assert checkpoint.training["optimizer"]["class_name"] == "Adam"
    with pytest.raises(TransferError, match=r"a weights-only \.h5 holds no optimizer"):
        save_keras(model, tmp_path / "one.h5", load_optimizer(port, model), weights_only=True)
    graph = load_model(tmp_path / "m.keras", Hints(import_as="graph"))
    save_keras(graph, tmp_path / "graph.keras")
    again = load_model(tmp_path / "graph.keras", Hints(import_as="graph")).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in graph.state_dict().items())
