"""The optimizers as anyone uses them: in a loop, with groups, schedulers, checkpoints and a compiler."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from optimizer_steps import RULES, torch_arguments
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.optim import lr_scheduler

from resnet_torch import optimizers
from resnet_torch.optimizers.from_keras import OPTIMIZER_CLASSES
from resnet_torch.schedules import CosineDecay, ExponentialDecay
from weight_transfer.errors import TransferError


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 2)).double()


def train(model, optimizer, num_steps, after=lambda: None, first=0):
    for step in range(first, first + num_steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 4, generator=generator, dtype=torch.float64)
        model.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        after()


def same(model, other):
    return all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_a_saved_state_goes_on_as_if_never_saved(rule):
    name, arguments = RULES[rule]
    make = getattr(optimizers, name)
    arguments = torch_arguments({**arguments, "weight_decay": 0.01, "use_ema": True, "learning_rate": 0.02})
    model = network()
    optimizer = make(model.parameters(), **arguments)
    train(model, optimizer, 4)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network()
    other.load_state_dict(saved["model"])
    restored = make(other.parameters(), use_ema=True, lr=1.0)
    restored.load_state_dict(saved["optimizer"])
    for one, two in ((model, optimizer), (other, restored)):
        train(one, two, 3, first=4)
        two.finalize_variable_values()
    assert same(model, other)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_a_copy_goes_on_alike_with_its_schedule(copied):
    model = network()
    optimizer = optimizers.Nadam(model.parameters(), lr=CosineDecay(0.1, 9))
    train(model, optimizer, 3)
    other, its_own = copied((model, optimizer))
    train(model, optimizer, 3, first=3)
    train(other, its_own, 3, first=3)
    assert same(model, other)


def test_a_state_of_another_class_is_refused():
    model = network()
    state = torch.optim.Adam(model.parameters()).state_dict()
    with pytest.raises(TransferError, match=r"not that of Adam: its groups lack .*iterations.*Load a state_dict"):
        optimizers.Adam(model.parameters()).load_state_dict(state)


def test_groups_have_their_own_arguments():
    model, alone = network(), network()
    weights, rest = list(model.parameters())[:2], list(model.parameters())[2:]
    optimizer = optimizers.Adam([{"params": weights, "lr": 0.1, "clipnorm": 0.01}, {"params": rest}], lr=0.02)
    first = optimizers.Adam(list(alone.parameters())[:2], lr=0.1, clipnorm=0.01)
    second = optimizers.Adam(list(alone.parameters())[2:], lr=0.02)
    train(model, optimizer, 4)
    train(alone, first, 4, after=second.step)
    assert same(model, alone)


def test_the_global_norm_is_of_all_groups():
    def run(split):
        model = network()
        params = list(model.parameters())
        groups = [{"params": params[:3]}, {"params": params[3:]}] if split else params
        train(model, optimizers.SGD(groups, lr=0.5, global_clipnorm=0.1), 4)
        return model

    for one, two in zip(run(True).parameters(), run(False).parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)


def test_a_group_added_later_goes_on_with_the_common_counter():
    model = network()
    params = list(model.parameters())
    optimizer = optimizers.Adam(params[:4])
    train(model, optimizer, 3)
    optimizer.add_param_group({"params": params[4:]})
    assert [group["iterations"] for group in optimizer.param_groups] == [3, 3]
    train(model, optimizer, 1)
    assert [group["iterations"] for group in optimizer.param_groups] == [4, 4]


def test_torchs_schedulers_set_the_rate():
    model, alone = network(), network()
    optimizer = optimizers.SGD(model.parameters(), lr=0.4, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, 2, gamma=0.1)
    train(model, optimizer, 6, scheduler.step)
    train(alone, optimizers.SGD(alone.parameters(), lr=lambda step: 0.4 * 0.1 ** (step // 2), momentum=0.9), 6)
    for one, two in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4 * 0.1**3)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_one_cycle_moves_the_momentum_too(name):
    model = network()
    optimizer = getattr(optimizers, name)(model.parameters(), **({"momentum": 0.9} if name == "SGD" else {}))
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
    group, before = optimizer.param_groups[0], copy.deepcopy(optimizer.param_groups[0])
    train(model, optimizer, 5, scheduler.step)
    key = "momentum" if name == "SGD" else "betas"
    assert group[key] != before[key]
    assert group["lr"] != before["lr"]


def test_a_schedule_serves_a_lambda_scheduler_and_the_optimizer_alike():
    schedule = ExponentialDecay(0.3, 4, 0.5)
    model, alone = network(), network()
    optimizer = optimizers.Adagrad(model.parameters(), lr=1.0)
    train(model, optimizer, 6, lr_scheduler.LambdaLR(optimizer, schedule).step)
    seen = []
    scheduled = optimizers.Adagrad(alone.parameters(), lr=schedule)
    assert scheduled.param_groups[0]["lr"] == schedule(0)
    train(alone, scheduled, 6, lambda: seen.append(scheduled.param_groups[0]["lr"]))
    assert same(model, alone)
    assert seen == [schedule(step) for step in range(6)]


def test_a_schedule_and_a_scheduler_are_one_too_many():
    model = network()
    optimizer = optimizers.Adam(model.parameters(), lr=CosineDecay(0.1, 9))
    lr_scheduler.StepLR(optimizer, 2)
    with pytest.raises(TransferError, match="lr is a schedule, and a torch scheduler sets it too"):
        train(model, optimizer, 1)


def test_gradients_stay_as_they_are():
    for clipping in ("clipnorm", "global_clipnorm", "clipvalue"):
        model = network()
        optimizer = optimizers.RMSprop(model.parameters(), **{clipping: 1e-3}, weight_decay=0.1)
        model(torch.ones(3, 4, dtype=torch.float64)).sum().backward()
        before = [param.grad.clone() for param in model.parameters()]
        optimizer.step()
        assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), before, strict=True))


def test_a_closure_computes_the_gradients():
    model, alone = network(), network()
    optimizer = optimizers.Adam(model.parameters())
    x = torch.ones(3, 4, dtype=torch.float64) * torch.arange(3)[:, None]

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    expected = alone(x).square().mean()
    expected.backward()
    optimizers.Adam(alone.parameters()).step()
    assert torch.equal(loss, expected)
    assert same(model, alone)


def test_without_gradients_nothing_happens():
    model = network()
    optimizer = optimizers.AdamW(model.parameters(), use_ema=True)
    assert optimizer.step() is None
    assert same(model, network())
    assert optimizer.param_groups[0]["iterations"] == 0


def test_mixed_dtypes_and_half_precision():
    params = [nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.float64, torch.float32, torch.bfloat16)]
    for name in sorted(OPTIMIZER_CLASSES):
        optimizer = getattr(optimizers, name)(params, weight_decay=0.1, global_clipnorm=0.1, use_ema=True)
        for param in params:
            param.grad = torch.ones_like(param)
        before = [param.detach().clone() for param in params]
        optimizer.step()
        optimizer.step()
        for param, old in zip(params, before, strict=True):
            assert param.dtype == old.dtype
            assert {slot.dtype for slot in optimizer.state[param].values()} == {param.dtype}
        assert not torch.equal(params[0], before[0])


@pytest.mark.parametrize("whole_loop", [True, False])
def test_a_compiled_loop_takes_the_same_steps_without_compiling_anew(whole_loop):
    def step(model, optimizer, x):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    counter = CompileCounterWithBackend("eager")
    models = network().eval(), network().eval()
    optimizer, other = (optimizers.AdamW(model.parameters(), CosineDecay(0.1, 9)) for model in models)
    if whole_loop:
        compiled = torch.compile(step, backend=counter)
    else:
        compiled, other.step = step, torch.compile(other.step, backend=counter)
    counts = []
    for number in range(12):
        x = torch.full((3, 4), 1.0 + number, dtype=torch.float64)
        step(models[0], optimizer, x)
        compiled(models[1], other, x)
        counts.append(counter.frame_count)
    assert same(*models)
    assert counts[2:] == counts[2:3] * 10


def test_sparse_gradients_are_refused():
    embedding = nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1, 3])).sum().backward()
    optimizer = optimizers.Adam(embedding.parameters())
    with pytest.raises(TransferError, match=r"shape \(5, 2\) has a sparse gradient .*torch\.optim\.SparseAdam"):
        optimizer.step()


def test_exclusion_makes_a_group_without_decay():
    model = network()
    optimizer = optimizers.AdamW(model.named_parameters(), weight_decay=0.1)
    optimizer.exclude_from_weight_decay([model[0].weight], ["bias$", r"^2\."])
    decayed, freed = optimizer.param_groups
    assert decayed["param_names"] == ["3.weight"]
    assert decayed["weight_decay"] == 0.1
    assert freed["param_names"] == ["0.weight", "0.bias", "2.weight", "2.bias", "3.bias"]
    assert freed["weight_decay"] is None
    optimizer.exclude_from_weight_decay(names=["3"])
    assert {group["weight_decay"] for group in optimizer.param_groups} == {None}


def test_exclusion_refuses_what_it_does_not_know():
    model = network()
    optimizer = optimizers.AdamW(model.named_parameters())
    with pytest.raises(TransferError, match=r"No parameter's name contains:\n  0\.wieght \(nearest: 0\.weight\)"):
        optimizer.exclude_from_weight_decay(names=["0.wieght", "bias"])
    with pytest.raises(TransferError, match="1 of the parameters to exclude are not this optimizer's"):
        optimizer.exclude_from_weight_decay([nn.Parameter(torch.ones(2))])
    with pytest.raises(TransferError, match=r"no names. Make the optimizer of model\.named_parameters"):
        optimizers.AdamW(model.parameters()).exclude_from_weight_decay(names=["bias"])
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "Adam",
            {"clipnorm": 1.0, "clipvalue": 1.0},
            "Only one of clipnorm, global_clipnorm, clipvalue can be set",
        ),
        ("Adam", {"ema_momentum": 1.5}, r"ema_momentum must be within 0 and 1\. Received: ema_momentum=1\.5"),
        ("Adam", {"ema_overwrite_frequency": 0}, "ema_overwrite_frequency must be a whole number from 1, or None"),
        ("Adam", {"ema_overwrite_frequency": 2.5}, r"Received: ema_overwrite_frequency=2\.5"),
        ("Adam", {"ema_rule": "keras"}, "ema_rule must be keras3 or tf_keras. Received: ema_rule='keras'"),
        ("SGD", {"momentum": 1.1}, r"momentum must be within 0 and 1\. Received: momentum=1\.1"),
        ("AdamW", {"weight_decay": None}, "AdamW needs a number as weight_decay"),
    ],
)
def test_what_keras_refuses_is_refused(name, arguments, message):
    with pytest.raises(TransferError, match=message):
        getattr(optimizers, name)(network().parameters(), **arguments)


def test_what_does_not_exist_is_refused():
    model = network()
    with pytest.raises(TypeError, match="clip_norm"):
        optimizers.Adam(model.parameters(), clip_norm=1.0)
    with pytest.raises(TransferError, match=r"sets what does not exist:\n  clip_norm \(nearest: clipnorm\)"):
        optimizers.Adam([{"params": model.parameters(), "clip_norm": 1.0}])
    with pytest.raises(TransferError, match="a schedule is the lr of the whole optimizer"):
        optimizers.Adam([{"params": model.parameters(), "lr": CosineDecay(0.1, 9)}])
    with pytest.raises(TransferError, match="must be real floating-point tensors"):
        optimizers.Adam([nn.Parameter(torch.ones(2, dtype=torch.complex64))])


def test_a_refused_group_leaves_the_optimizer_as_it_was():
    first, second = network(), network()
    optimizer = optimizers.SGD(first.parameters())
    with pytest.raises(TransferError, match="momentum"):
        optimizer.add_param_group({"params": second.parameters(), "momentum": 7})
    assert len(optimizer.param_groups) == 1


def test_the_averages_take_the_weights_place_when_training_ends():
    model = network()
    optimizer = optimizers.SGD(model.parameters(), lr=0.5, use_ema=True, ema_momentum=0.5)
    history = []
    train(model, optimizer, 4, lambda: history.append(model[0].weight.detach().clone()))
    average = history[0]
    for weight in history[1:]:
        average = 0.5 * average + 0.5 * weight
    optimizer.finalize_variable_values()
    np.testing.assert_allclose(model[0].weight.detach(), average, rtol=1e-13)
    optimizers.SGD(model.parameters()).finalize_variable_values()


def test_frozen_parameters_get_no_state():
    model = network()
    model[0].requires_grad_(False)
    optimizer = optimizers.Adam(model.parameters(), use_ema=True)
    train(model, optimizer, 3)
    assert not optimizer.state[model[0].weight]
    assert set(optimizer.state[model[3].weight]) == {"momentum", "velocity", "average"}
