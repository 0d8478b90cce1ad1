"""Every callback against real Keras: 2,000 random histories per setting, each decision the same."""

from __future__ import annotations

import json
import math
import operator
import warnings

import keras_callbacks
import numpy as np
import pytest
import torch
from metric_sequences import COUNT, RATE, SETTINGS, rates, scheduled, sequences
from torch import nn

from resnet_torch import callbacks, optimizers
from resnet_torch.callbacks.monitor import HIGHER, LOWER, Monitor, is_higher_better
from weight_transfer.errors import TransferError

HISTORIES = sequences()
CASES = [(name, setting) for name, settings in SETTINGS.items() for setting in settings]


class Weights(nn.Module):
    """One weight and one buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("statistic", torch.zeros(()))


def made(kind, arguments, model=None, saved=None, lr=None):
    """A callback with Keras's arguments."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=lr or RATE)
    first = {
        "ReduceLROnPlateau": lambda: (optimizer,),
        "EarlyStopping": lambda: (model or Weights(),),
        "ModelCheckpoint": lambda: ("{epoch}.keras", (saved if saved is not None else []).append),
    }
    name = next(base.__name__ for base in kind.__mro__ if base.__name__ in first)
    return kind(*first[name](), **arguments)


def trace(kind, arguments, history, resume_at=None):
    """As `keras_callbacks._trace`; at an epoch, the callback is exchanged for one with its saved state."""
    model, saved = Weights(), []
    lr = float(np.dtype(arguments.get("floatx", "float32")).type(RATE))
    callback = made(kind, arguments, model, saved, lr)
    found = []
    for epoch, value in enumerate(history):
        if epoch == resume_at:
            state = callback.state_dict()
            state = state if "best_weights" in state else json.loads(json.dumps(state))
            callback = made(kind, arguments, model, saved, rate_of(callback))
            callback.load_state_dict(state)
        with torch.no_grad():
            model.weight.fill_(epoch)
            model.statistic.fill_(epoch)
        rate = rate_of(callback)
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"loss": 1.0} if value is None else {"loss": 1.0, "val_loss": value})
        stop = getattr(callback, "stop_training", False)
        found.append((rate, getattr(callback, "wait", None), stop, len(saved)))
        if stop:
            break
    if hasattr(callback, "on_train_end"):
        callback.on_train_end()
    assert model.weight == model.statistic
    last_rate = [] if rate_of(callback) is None else [rate_of(callback)]
    return [*found, (*last_rate, int(model.weight), *saved)]


def rate_of(callback):
    optimizer = getattr(callback, "optimizer", None)
    return None if optimizer is None else optimizer.param_groups[0]["lr"]


def traces(kind, arguments, histories=HISTORIES, **more):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The metric 'val_loss' is not in the logs")
        return [trace(kind, arguments, history, **more) for history in histories]


@pytest.fixture(scope="module")
def of_keras(keras_side):
    """What Keras 3 decides, by callback and setting."""
    found = {
        name: keras_side(keras_callbacks.decisions, "keras", name, list(settings.values()), HISTORIES)
        for name, settings in SETTINGS.items()
    }
    return {name: dict(zip(SETTINGS[name], per_setting, strict=True)) for name, per_setting in found.items()}


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_every_decision_is_keras(name, setting, of_keras):
    actual = traces(getattr(callbacks, name), SETTINGS[name][setting])
    wrong = [i for i in range(COUNT) if actual[i] != of_keras[name][setting][i]]
    assert not wrong, (HISTORIES[wrong[0]], actual[wrong[0]], of_keras[name][setting][wrong[0]])


@pytest.mark.parametrize("name", SETTINGS)
def test_every_decision_is_tf_keras(name, keras_side):
    settings, some = list(SETTINGS[name].values()), HISTORIES[:400]
    expected = keras_side(keras_callbacks.decisions, "tf_keras", name, settings, some)
    for arguments, traced in zip(settings, expected, strict=True):
        actual = traces(getattr(callbacks, name), {**arguments, "rule": "tf_keras"}, some)
        wrong = [i for i in range(len(some)) if actual[i] != traced[i]]
        assert not wrong, (arguments, some[wrong[0]], actual[wrong[0]], traced[wrong[0]])
        if arguments:  # a checkpoint of every epoch is the same in both
            other_rule = traces(getattr(callbacks, name), arguments, some)
            assert sum(a != b for a, b in zip(other_rule, traced, strict=True)) >= 10, arguments


class OneMorePatience(callbacks.ReduceLROnPlateau):
    """torch's count: more bad epochs than the patience."""

    def __init__(self, *args, patience, **arguments):
        super().__init__(*args, patience=patience + 1, **arguments)


class RelativeThreshold(callbacks.ReduceLROnPlateau):
    """torch's default: better by a share of the best."""

    def _is_better(self, current):
        best, delta = self.monitor.best, self.monitor.min_delta
        return best is None or (current > best * (1 + delta) if self.monitor.higher else current < best * (1 + delta))


class TorchCooldown(callbacks.ReduceLROnPlateau):
    """torch's order: the counter goes down after the epoch was looked at."""

    def on_epoch_end(self, epoch, logs):
        cooling = self.cooldown_counter
        self.cooldown_counter = cooling + 1 if cooling else 0
        return super().on_epoch_end(epoch, logs)


class ExactRate(callbacks.ReduceLROnPlateau):
    """The rate as Python holds it."""

    def __init__(self, *args, **arguments):
        super().__init__(*args, **{**arguments, "floatx": "float64"})


class OneMorePatienceToStop(callbacks.EarlyStopping):
    def __init__(self, *args, patience, **arguments):
        super().__init__(*args, patience=patience + 1, **arguments)


class NoBaseline(callbacks.EarlyStopping):
    def __init__(self, *args, baseline, **arguments):
        super().__init__(*args, **arguments)


class LastWeights(callbacks.EarlyStopping):
    def on_train_end(self, logs=None):
        return None


class StopsOnNaN(callbacks.EarlyStopping):
    """Lightning's check_finite."""

    def on_epoch_end(self, epoch, logs):
        stop = super().on_epoch_end(epoch, logs)
        self.stop_training = stop or not math.isfinite(logs.get("val_loss", 0.0))
        return self.stop_training


class SkipsMissing(callbacks.ModelCheckpoint):
    def _should_save(self, current):
        return current is not None and super()._should_save(current)


class SavesTies(callbacks.ModelCheckpoint):
    def _should_save(self, current):
        return super()._should_save(current) or current == self.monitor.best


@pytest.mark.parametrize(
    ("name", "setting", "mistake"),
    [
        ("ReduceLROnPlateau", "usual", OneMorePatience),
        ("ReduceLROnPlateau", "usual", RelativeThreshold),
        ("ReduceLROnPlateau", "cooldown", TorchCooldown),
        ("ReduceLROnPlateau", "usual", ExactRate),
        ("EarlyStopping", "usual", OneMorePatienceToStop),
        ("EarlyStopping", "baseline", NoBaseline),
        ("EarlyStopping", "usual", LastWeights),
        ("EarlyStopping", "usual", StopsOnNaN),
        ("ModelCheckpoint", "usual", SkipsMissing),
        ("ModelCheckpoint", "usual", SavesTies),
    ],
)
def test_the_histories_see_a_mistake(name, setting, mistake, of_keras):
    wrong = traces(mistake, SETTINGS[name][setting], HISTORIES[:400])
    assert sum(map(operator.ne, wrong, of_keras[name][setting])) >= 10


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("floatx", ["float64", "no flush"])
def test_the_histories_see_another_arithmetic(name, floatx, of_keras, monkeypatch):
    arguments = SETTINGS[name]["usual"]
    if floatx == "float64":
        monkeypatch.setattr(Monitor, "_rounded", lambda self, value: value)
    else:
        monkeypatch.setattr(
            Monitor, "_rounded", lambda self, value: float(np.float32(value)) if math.isfinite(value) else value
        )
    wrong = traces(getattr(callbacks, name), arguments)
    # With a min_delta of 1e-4, tiny numbers are all the same to anyone.
    least = 0 if (name, floatx) == ("ReduceLROnPlateau", "no flush") else 10
    assert sum(map(operator.ne, wrong, of_keras[name]["usual"])) >= least


def test_scheduled_rates_are_keras(keras_side):
    schedules = rates()
    for library, count in (("keras", COUNT), ("tf_keras", 200)):
        expected = keras_side(keras_callbacks.scheduled_rates, library, schedules[:count])
        for (kind, numbers), keras_rates in zip(schedules[:count], expected, strict=True):
            optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=RATE)
            scheduler = callbacks.LearningRateScheduler(optimizer, scheduled(kind, numbers))
            assert [scheduler.on_epoch_begin(epoch) for epoch in range(len(numbers))] == keras_rates
            assert optimizer.param_groups[0]["lr"] == keras_rates[-1]


def test_a_real_fit_decides_the_same(keras_side):
    history = [1.0, 0.9, 0.95, 0.92, 0.85, 0.85, 0.86, 0.87, 0.9, 0.8, 0.7]
    expected = keras_side(keras_callbacks.fit, history)
    model = Weights()
    optimizer = optimizers.SGD(model.parameters(), lr=0.01)
    reduce = callbacks.ReduceLROnPlateau(optimizer, factor=0.2, patience=2)
    stop = callbacks.EarlyStopping(model, patience=4, restore_best_weights=True)
    found = []
    for epoch, val_loss in enumerate(history):
        with torch.no_grad():
            model.weight.fill_(epoch)
        found.append(optimizer.param_groups[0]["lr"])
        reduce.on_epoch_end(epoch, {"val_loss": val_loss})
        if stop.on_epoch_end(epoch, {"val_loss": val_loss}):
            break
    assert stop.on_train_end() == 4 == expected["weight"]
    assert model.weight == 4
    assert [pytest.approx(rate, rel=1e-7) for rate in found] == expected["rates"]


def test_auto_knows_keras_metrics(keras_side):
    found = keras_side(keras_callbacks.directions, sorted(HIGHER | LOWER))
    assert {name for name, direction in found.items() if direction == "greater"} == HIGHER
    assert {name for name, direction in found.items() if direction == "less"} == LOWER
    assert is_higher_better("val_accuracy")
    assert not is_higher_better("loss")


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_a_resumed_callback_decides_the_same(name, setting):
    some, arguments = HISTORIES[:150], SETTINGS[name][setting]
    kind = getattr(callbacks, name)
    for at in (1, 4):
        assert traces(kind, arguments, some, resume_at=at) == traces(kind, arguments, some)


def test_every_group_is_reduced_from_its_own_rate():
    weights = [{"params": [nn.Parameter(torch.zeros(()))], "lr": lr} for lr in (0.5, 0.25, torch.tensor(0.125))]
    optimizer = torch.optim.SGD(weights)
    reduce = callbacks.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, min_lr=0.2)
    assert [reduce.on_epoch_end(epoch, {"val_loss": 1.0}) for epoch in range(4)] == [False, True, True, False]
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.2, 0.2, 0.125])
    callbacks.LearningRateScheduler(optimizer, lambda epoch, rate: rate / 2).on_epoch_begin(0)
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.1, 0.1, 0.0625])


def test_a_metric_that_is_the_learning_rate():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.1)
    reduce = callbacks.ReduceLROnPlateau(optimizer, "learning_rate", patience=1, mode="min", factor=0.5)
    assert [reduce.on_epoch_end(epoch, {}) for epoch in range(4)] == [False, True, False, True]


def test_a_missing_metric_is_said():
    for name in SETTINGS:
        callback = made(getattr(callbacks, name), {"save_best_only": True} if name == "ModelCheckpoint" else {})
        with pytest.warns(UserWarning, match=r"'val_loss' is not in the logs.*There are: .*loss"):
            callback.on_epoch_end(0, {"loss": 1.0})


def test_paths_are_filled_in_and_a_failed_save_is_not_the_best(tmp_path):
    written, full = [], [True]

    def save(path):
        if full:
            full.pop()
            raise OSError(28, "No space left on device")
        written.append(path)

    path = tmp_path / "new" / "best-{epoch:02d}-{val_loss:.2f}.pt"
    checkpoint = callbacks.ModelCheckpoint(path, save, save_best_only=True)
    with pytest.raises(OSError, match="No space"):
        checkpoint.on_epoch_end(0, {"val_loss": 0.5})
    assert checkpoint.on_epoch_end(1, {"val_loss": 0.625}) == str(tmp_path / "new" / "best-02-0.62.pt")
    assert written == [str(tmp_path / "new" / "best-02-0.62.pt")]
    assert (tmp_path / "new").is_dir()
    with pytest.raises(TransferError, match=r"cannot be filled in .*val_loss.*There are: epoch, loss"):
        checkpoint.on_epoch_end(2, {"loss": 0.5})


def test_what_is_refused():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.1)
    scheduled_optimizer = optimizers.SGD([nn.Parameter(torch.zeros(()))], lr=lambda step: 0.1)
    with pytest.raises(TransferError, match="factor must be below 1"):
        callbacks.ReduceLROnPlateau(optimizer, factor=1.0)
    for kind in (callbacks.ReduceLROnPlateau, lambda it: callbacks.LearningRateScheduler(it, lambda epoch: 0.1)):
        with pytest.raises(TransferError, match="lr is a schedule of the step"):
            kind(scheduled_optimizer)
    with pytest.raises(TransferError, match=r"'val_acuracy' is better does not show.*nearest: .*Pass mode='max'"):
        callbacks.EarlyStopping(Weights(), "val_acuracy")
    for argument in ("mode", "rule"):
        with pytest.raises(TransferError, match=f"{argument} must be one of .* Received: {argument}='up'"):
            callbacks.EarlyStopping(Weights(), **{argument: "up"})
    with pytest.raises(TransferError, match="must give a float, at epoch 3 it gave 1"):
        callbacks.LearningRateScheduler(optimizer, lambda epoch, rate: 1).on_epoch_begin(3)
    with pytest.raises(TransferError, match=r"not that of ReduceLROnPlateau\. Expected: best.* Received: best$"):
        callbacks.ReduceLROnPlateau(optimizer).load_state_dict({"best": 1.0})
    scheduler = callbacks.LearningRateScheduler(optimizer, max)
    scheduler.load_state_dict(scheduler.state_dict())
    assert scheduler.on_epoch_begin(0) == pytest.approx(0.1)
