"""The small parts of a training, each by itself."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch import nn

from resnet_torch.training.decisions import optimizer_of
from resnet_torch.training.finiteness import FiniteLosses, problem_of_weights
from resnet_torch.training.module import trained_network
from resnet_torch.training.noise import reseed
from resnet_torch.training.phases import Phases
from resnet_torch.training.running_mean import Tally
from resnet_torch.training.settings import Settings
from weight_transfer.errors import TransferError
from weight_transfer.training import Recipe


def drawn(*place):
    reseed(2021, *place)
    return torch.rand(4).tolist()


def test_noise_is_a_function_of_the_place():
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert drawn(0, 0, 0) == drawn(0, 0, 0)
    assert len({tuple(drawn(*place)) for place in places}) == 4


def test_a_tally_weights_losses_by_images():
    tally = Tally()
    tally.add(torch.tensor(6.0), torch.tensor(2), 3)
    tally.add(torch.tensor(1.0), torch.tensor(1), 1)
    assert tally.result() == (7 / 4, 3 / 4)
    tally.clear("cpu")
    assert all(number != number for number in tally.result())


def test_a_tally_goes_on_with_other_processes_too():
    of_all = torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=torch.float64)
    for rank, world, expected in [(1, 2, [4, 5, 6]), (0, 3, [5, 7, 9]), (2, 3, [0, 0, 0])]:
        tally = Tally()
        tally.go_on(of_all, rank, world)
        assert tally.sums.tolist() == expected


def test_losses_are_looked_at_one_step_late():
    losses = FiniteLosses()
    losses.add("step 1", torch.tensor(1.0))
    losses.add("step 2", torch.tensor(float("inf")))
    assert losses.problem() == ""
    losses.add("step 3", torch.tensor(float("nan")))
    assert losses.problem() == "the loss became inf at step 2"


def test_weights_and_statistics_must_be_finite():
    model = nn.BatchNorm1d(2)
    assert problem_of_weights(model, "epoch 1") == ""
    model.weight.data[0] = 1e30  # whose square is no float32
    assert problem_of_weights(model, "epoch 1") == ""
    model.running_var[1] = float("inf")
    expected = "1 of the network's tensors are no longer finite after epoch 1, running_var first"
    assert problem_of_weights(model, "epoch 1") == expected


def test_phases_are_those_of_the_recipe():
    phases = Phases(Recipe("d", "o", checkpoint="c", freeze=("stem",), unfreeze_at=3, epochs=5))
    assert [phases.number_of(epoch) for epoch in range(6)] == [0, 0, 1, 1, 1, 1]
    with pytest.raises(TransferError, match="This network has no such parts"):
        phases.enter(0, nn.Identity())


def test_torchrun_says_how_many_processes_there_are(monkeypatch):
    assert (Settings(devices=3, nodes=2).processes, Settings().processes) == (6, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")  # Lightning's own processes have this too
    assert Settings(devices=2).processes == 2
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert (Settings().processes_here, Settings().machines) == (2, 4)
    with pytest.raises(TransferError, match=r"torchrun has started 2. Leave --devices out. Received: --devices 3"):
        _ = Settings(devices=3).processes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(precision="fp16", accelerator="cpu"), "fp16 needs a GPU. Take --precision bf16"),
        (Settings(accelerator="cpu", accumulate=0), "--accumulate must be at least 1. Received: 0"),
        (Settings(accelerator="cpu", workers=-1), "--workers must be at least 0. Received: -1"),
        (Settings(accelerator="cpu", checkpoint_every_steps=0), "--checkpoint-every-steps must be at least 1"),
    ],
)
def test_what_cannot_be_done_is_refused(settings, message):
    with pytest.raises(TransferError, match=message):
        settings.check()


def test_a_gpu_must_be_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TransferError, match="there is no GPU that this torch can use"):
        _ = Settings(accelerator="gpu").device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TransferError, match=r"this machine has 1 GPUs. Received: --devices 2"):
        Settings(devices=2).check()


def test_callbacks_refuse_another_module_and_another_optimizer():
    with pytest.raises(TypeError, match=r"works on a TrainedNetwork alone\. Received: LightningModule"):
        trained_network(L.LightningModule())
    trainer = L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    trainer.strategy.optimizers = [torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)]
    with pytest.raises(TypeError, match=r"take a KerasOptimizer alone\. Received: SGD"):
        optimizer_of(trainer)
