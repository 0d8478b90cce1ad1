"""``python -m resnet_torch train`` in processes of its own: killed, and two together by torchrun."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from killed_training import kill_trainings
from torchrun import torchrun
from training_runs import differences, last

from resnet_torch.training import train
from weight_transfer.training import Recipe, RunFolder, read_history

SIGKILL = -9
# Batches of 10, 10, 10 and 2, then of 9 to validate on; the stem unfreezes in the second epoch.
TWO = {"epochs": 2, "freeze": ("stem",), "unfreeze_at": 2, "dropout": 0.0, "dtype": "float64"}


def to_begin(recipe: Recipe, **settings) -> Path:
    """A run folder to go on with, whose training has not begun."""
    folder = RunFolder(Path(recipe.output))
    folder.write(recipe, "resnet_torch", {"accelerator": "cpu", **settings})
    return folder.path


def test_a_killed_process_resumed_ends_bit_identical(recipe, trained):
    fields, settings = {"epochs": 3, "augment": True}, {"checkpoint_every_steps": 1}
    _, whole = trained("whole", settings, **fields)
    killed = to_begin(recipe("killed", **fields), **settings)
    assert kill_trainings(["train", "--resume", killed], (1, 2)) == [SIGKILL]
    assert last(killed)["place"] == (1, 2)
    assert len(read_history(killed / "history.csv")) == 1
    train(RunFolder(killed).read()[0], resume=True, **settings)
    assert differences(last(killed), last(whole)) == []
    for name in ("history.csv", "best.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def by_two(recipe) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The run folder of a training by two processes, and how they ended."""
    two = to_begin(recipe("two", **TWO))
    done = torchrun("-m", "resnet_torch", "train", "--resume", two)
    assert done.returncode == 0, done.stderr
    return two, done


@pytest.mark.slow  # test_torch_synchronized_step has two processes in every run
def test_two_processes_learn_what_one_does(recipe, trained):
    history, one = trained("one", **TWO)
    two, done = by_two(recipe)
    assert done.stdout.count("1/2") == 1  # the first process speaks, no other
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert read_history(two / "history.csv").column(name) == pytest.approx(history.column(name), rel=1e-12)
    assert _worst(last(two), last(one)) < 1e-12


@pytest.mark.slow
def test_two_killed_processes_go_on(recipe):
    two, _ = by_two(recipe)
    killed = to_begin(recipe("killed", **TWO), checkpoint_every_steps=1)
    assert kill_trainings(["train", "--resume", killed], (1, 2), processes=2) == [SIGKILL, SIGKILL]
    assert last(killed)["place"] == (1, 2)
    done = torchrun("-m", "resnet_torch", "train", "--resume", killed)
    assert done.returncode == 0, done.stderr
    assert differences(last(killed), last(two)) == []
    assert (killed / "history.csv").read_bytes() == (two / "history.csv").read_bytes()


def _worst(actual, expected) -> float:
    """Largest difference of weights, statistics and slots, over each tensor's peak."""
    pairs = [(actual["state_dict"][name], tensor) for name, tensor in expected["state_dict"].items()]
    slots = expected["optimizer_states"][0]["state"]
    for number, state in slots.items():
        pairs += [(actual["optimizer_states"][0]["state"][number][name], slot) for name, slot in state.items()]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in pairs)
