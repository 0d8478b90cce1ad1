"""Trainings that go on: killed, interrupted, finished, stopped, or with the optimizer of a file."""

from __future__ import annotations

import signal
from pathlib import Path

import image_data
import numpy as np
import pytest
from training_runs import close, differences, last, resumed

from resnet_torch.training import train
from weight_transfer.cli.training_reporter import TerminalReporter
from weight_transfer.data import Batches, Shuffled, split
from weight_transfer.errors import TransferError
from weight_transfer.training import read_history

EXACT = {"dropout": 0.0, "dtype": "float64"}


class Killed(BaseException):
    """What no code expects."""


@pytest.fixture
def kill_at(monkeypatch):
    """``kill_at(1, 2)``: the next training ends when that batch to learn from is made."""
    made = Batches.batch

    def at(*place, by=Killed):
        def batch(self, epoch, step, *share):
            if (epoch, step) == place and isinstance(self.order, Shuffled):
                monkeypatch.setattr(Batches, "batch", made)
                raise by
            return made(self, epoch, step, *share)

        monkeypatch.setattr(Batches, "batch", batch)

    return at


@pytest.mark.parametrize(
    "place", [pytest.param((0, 0), marks=pytest.mark.slow), (1, 3), pytest.param((2, 1), marks=pytest.mark.slow)]
)
def test_a_resumed_training_is_the_same_bit_for_bit(trained, kill_at, tmp_path, place):
    fields = {"epochs": 3, "augment": True, "reduce_lr_patience": 1, "monitor": "loss", "restore_best_weights": True}
    settings = {"checkpoint_every_steps": 2}
    _, whole = trained("whole", settings, log_steps=str(tmp_path / "whole.csv"), **fields)
    kill_at(*place)
    with pytest.raises(Killed):
        trained("killed", settings, log_steps=str(tmp_path / "killed.csv"), **fields)
    killed = resumed(tmp_path / "killed", **{"log_steps": str(tmp_path / "killed.csv")})
    assert differences(last(killed), last(whole)) == []
    for name in ("history.csv", "best.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_stream_goes_on_in_the_middle_of_an_epoch(trained, tmp_path, monkeypatch):
    image_data.write_shards(tmp_path / "shards")
    fields = {"data": str(tmp_path / "shards" / "shards-{000..002}.tar"), "classes": 3, "batch_size": 4}
    _, whole = trained("whole", {"checkpoint_every_steps": 1}, **fields)
    from resnet_torch.training.module import TrainedNetwork

    taken = TrainedNetwork.training_step

    def step(self, batch, number):
        if (self.epoch, number) == (1, 2):
            raise Killed
        return taken(self, batch, number)

    monkeypatch.setattr(TrainedNetwork, "training_step", step)
    with pytest.raises(Killed):
        trained("killed", {"checkpoint_every_steps": 1}, **fields)
    monkeypatch.undo()
    assert last(tmp_path / "killed")["place"] == (1, 2)
    assert differences(last(resumed(tmp_path / "killed")), last(whole)) == []


def test_without_seeding_each_step_dropout_would_tell(trained, kill_at, tmp_path, monkeypatch):
    monkeypatch.setattr("resnet_torch.training.module.reseed", lambda *_: None)
    _, whole = trained("whole")
    kill_at(1, 1)
    with pytest.raises(Killed):
        trained("killed")
    assert differences(last(resumed(tmp_path / "killed"))["state_dict"], last(whole)["state_dict"])


def test_a_finished_training_goes_on_with_more_epochs(trained):
    _, whole = trained("whole", epochs=3)
    _, short = trained("short", epochs=2)
    assert differences(last(resumed(short, epochs=3))["state_dict"], last(whole)["state_dict"]) == []
    before = (short / "last.ckpt").read_bytes()
    assert len(read_history(short / "history.csv")) == 3
    resumed(short)
    assert (short / "last.ckpt").read_bytes() == before


def test_a_stopped_training_stays_stopped(trained):
    history, folder = trained(epochs=9, early_stopping_patience=1, monitor="val_accuracy", learning_rate=1e-9)
    assert len(history) < 9
    resumed(folder)
    assert read_history(folder / "history.csv") == history


def test_a_new_run_goes_on_with_the_optimizer_of_a_file(trained, tmp_path, images):
    rows = np.stack([np.random.default_rng(5).permutation(split(41)[0])] * 2)  # each epoch in the same order
    np.savez(tmp_path / "order.npz", order=rows)
    same = {"order": str(tmp_path / "order.npz"), "optimizer": "SGD(momentum=0.9)", **EXACT}
    _, whole = trained("whole", epochs=2, **same)
    _, first = trained("first", epochs=1, **same)
    file = first / "best.safetensors"
    _, second = trained("second", epochs=1, checkpoint=str(file), **same)
    _, anew = trained("anew", epochs=1, initial_weights=str(file), **same)
    close(last(second), last(whole), within=0)
    assert last(second)["optimizer_states"][0]["param_groups"][0]["iterations"] == 8
    assert differences(last(anew)["state_dict"], last(whole)["state_dict"])


def test_an_optimizer_of_other_weights_is_refused(trained, narrow, tmp_path):
    _, first = trained("first", epochs=1)
    _, other = trained("other", epochs=1, seed=1)
    (first / "best.optimizer.safetensors").write_bytes((other / "best.optimizer.safetensors").read_bytes())
    with pytest.raises(TransferError, match="the optimizer state belongs to other weights"):
        trained("second", checkpoint=str(first / "best.safetensors"))


@pytest.mark.parametrize(
    ("optimizer", "file", "words"),
    [
        ("Adam", "best.safetensors", "the optimizer goes on"),
        (
            "Adam(amsgrad=True)",
            "best.safetensors",
            "begins anew, Adam(amsgrad=True), learning rate 0.001: best.safetensors has the state of Adam with other",
        ),
        ("SGD", "best.safetensors", "begins anew, SGD, learning rate 0.001: best.safetensors has the state of Adam"),
        (
            "Adam",
            "narrow.safetensors",
            "begins anew, Adam, learning rate 0.001: no state of one lies beside narrow.safetensors",
        ),
    ],
)
def test_what_becomes_of_the_optimizer_is_said(recipe, trained, narrow, capsys, optimizer, file, words):
    _, first = trained("first", epochs=1)
    path = first / file if file.startswith("best") else narrow
    train(
        recipe("second", epochs=1, checkpoint=str(path), optimizer=optimizer), resume=False, reporter=TerminalReporter()
    )
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(("by", "code"), [("KeyboardInterrupt", 130), ("SIGTERMException", 143)])
def test_an_interrupted_training_says_how_to_go_on(recipe, kill_at, capsys, by, code):
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    kill_at(1, 1, by={"KeyboardInterrupt": KeyboardInterrupt, "SIGTERMException": SIGTERMException}[by])
    made = recipe()
    with pytest.raises(SystemExit, match=str(code)):
        train(made, resume=False, reporter=TerminalReporter())
    said = capsys.readouterr()
    assert f"to go on: weight-transfer train --resume {made.output}" in said.out
    assert said.err == ""
    assert signal.getsignal(signal.SIGINT) is before
    assert read_history(resumed(Path(made.output)) / "history.csv").rows[-1].epoch == 2


def test_a_resume_where_parts_unfreeze_is_exact(trained, kill_at, tmp_path, narrow):
    fields = {
        "epochs": 3, "freeze": ("stem",), "unfreeze_at": 2, "restore_best_weights": True,
        "optimizer": "SGD(momentum=0.9, use_ema=True)",
    }  # fmt: skip
    _, whole = trained("whole", **fields)
    kill_at(1, 0)
    with pytest.raises(Killed):
        trained("killed", **fields)
    assert differences(last(resumed(tmp_path / "killed")), last(whole)) == []
