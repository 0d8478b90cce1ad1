"""Whole trainings in this process: what they leave, and that how a batch is computed changes nothing of it."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import image_data
import numpy as np
import pytest
import torch
from torch import nn
from training_runs import close, differences, last, resumed

from resnet_torch import create_resnet, load_model, save_converted
from resnet_torch.training import evaluate, train
from resnet_torch.training.module import TrainedNetwork
from resnet_torch.training.settings import Settings
from weight_transfer.cli.training_reporter import TerminalReporter
from weight_transfer.converted import read_converted
from weight_transfer.errors import TransferError
from weight_transfer.preprocessing import preset
from weight_transfer.training import RunFolder, read_history

EXACT = {"dropout": 0.0, "dtype": "float64"}


# What a training leaves


def test_the_run_folder_holds_what_both_sides_leave(trained):
    history, folder = trained(epochs=2)
    run = RunFolder(folder)
    whole = "best.safetensors best.optimizer.safetensors curves.png history.csv last.ckpt recipe.json summary.txt"
    assert {file.name for file in folder.iterdir()} == {*whole.split(), "tensorboard"}
    assert read_history(run.history) == history
    assert len(history) == 2
    assert run.summary.read_text().endswith(" parameters, 2,863 learning\n")
    assert isinstance(load_model(run.found_best()), nn.Module)


def test_how_images_become_inputs_is_said_and_a_guess_called_one(recipe, narrow, tmp_path, capsys):
    said = {"preprocessing": preset("tf"), "image_loading": "keras"}
    for name, fields, certainty in [("guess", {}, "guessed"), ("said", said, "known")]:
        train(recipe(name, checkpoint=str(narrow), epochs=1, **fields), resume=False, reporter=TerminalReporter())
        printed = " ".join(capsys.readouterr().out.split())
        assert re.match(
            rf"preprocessing [^()]*(\([^()]*\)[^()]*)?\({certainty}.* image loading .*\({certainty}", printed
        )
        assert read_converted(tmp_path / name / "best.safetensors").description.preprocessing.certainty == "known"


def test_tensorboard_has_keras_names_and_epochs(trained):
    history, folder = trained(epochs=2)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert "tensorflow" not in sys.modules  # which TensorBoard loads where it finds it, unless it is told not to
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(folder / "tensorboard" / part)).Reload()
        scalars = events.Scalars("epoch_loss")
        assert [event.step for event in scalars] == [0, 1]
        assert np.allclose([event.value for event in scalars], history.column(f"{prefix}loss"))
        if part == "train":
            assert events.Scalars("epoch_learning_rate")[1].value == pytest.approx(1e-3)


def test_the_best_checkpoint_evaluates_to_its_epoch(trained, recipe):
    history, folder = trained(epochs=3, learning_rate=3e-3, images=41)
    found = evaluate(recipe("other", images=41), folder / "best.safetensors", part="validation")
    assert found.loss == pytest.approx(history.best().val_loss, rel=1e-5)
    assert found.accuracy == pytest.approx(history.best().val_accuracy)


def test_regularizers_are_those_of_the_layers_that_are_kept(recipe):
    from resnet_torch.training.run import trained_network
    from weight_transfer.training.reporter import SILENT

    for new_head, expected in [(False, 2), (True, 1)]:
        module = trained_network(recipe(str(new_head), new_head=new_head), Settings(accelerator="cpu"), SILENT)
        assert len(module.penalty.weights) == expected
        assert module.penalty().item() > 0.01


# How a batch is computed


def test_accumulated_pieces_are_one_step(trained):
    frozen = {"freeze": ("stem", "stage2", "stage3")}  # batch norms see the pieces; frozen ones see none
    _, whole = trained("whole", **EXACT, **frozen)
    _, pieces = trained("pieces", {"accumulate": 4}, **EXACT, **frozen)
    close(last(pieces), last(whole))
    assert last(pieces)["global_step"] == last(whole)["global_step"] == 8


def test_memory_format_and_workers_change_nothing(trained):
    _, plain = trained("plain", **EXACT)
    _, other = trained("other", {"channels_last": True, "workers": 1}, **EXACT)
    close(last(other), last(plain))


def test_compiling_changes_nothing(trained, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    _, plain = trained("plain", **EXACT)
    _, other = trained("other", {"compile": True}, **EXACT)
    assert len(compiled) == 1
    assert differences(last(other)["state_dict"], last(plain)["state_dict"]) == []


def test_bf16_keeps_the_weights_in_float32(trained):
    history, folder = trained("bf16", {"precision": "bf16"})
    plain, _ = trained("plain")
    assert {tensor.dtype for tensor in last(folder)["state_dict"].values()} == {torch.float32, torch.int64}
    assert history != plain
    assert history.rows[0].loss == pytest.approx(plain.rows[0].loss, rel=0.05)


def test_deterministic_mode_ends_with_the_training(trained):
    _, folder = trained("deterministic", {"deterministic": True})
    torch.use_deterministic_algorithms(False)
    _, plain = trained("plain")
    assert differences(last(folder)["state_dict"], last(plain)["state_dict"]) == []


def test_steps_are_logged_as_on_the_other_side(trained, tmp_path):
    history, _ = trained(
        log_steps=str(tmp_path / "steps.csv"), schedule="ExponentialDecay(decay_steps=1, decay_rate=0.5)"
    )
    rows = [line.split(",") for line in (tmp_path / "steps.csv").read_text().splitlines()]
    assert rows[0] == ["step", "epoch", "loss", "learning_rate"]
    assert [row[:2] for row in rows[1:]] == [[str(n + 1), str(n // 4 + 1)] for n in range(8)]
    losses = np.array([float(row[2]) for row in rows[1:5]])
    assert (losses * [10, 10, 10, 2]).sum() / 32 == pytest.approx(history.rows[0].loss)  # weighted as Keras does
    assert [float(row[3]) for row in rows[1:5]] == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])
    assert history.rows[0].learning_rate == pytest.approx(6.25e-5)  # of the next step, as Keras writes it


# Fine-tuning


def test_frozen_parts_stay_and_unfreeze_with_a_new_optimizer(trained, narrow):
    frozen = {"freeze": ("stem", "stage2"), "new_head": True, "checkpoint": str(narrow)}
    _, one = trained("one", epochs=2, **frozen)
    _, two = trained("two", epochs=3, unfreeze_at=3, unfreeze_learning_rate=1e-4, **frozen)
    before = load_model(narrow).state_dict()
    state = {name.removeprefix("model."): tensor for name, tensor in last(one)["state_dict"].items()}
    kept = [name for name in before if name.startswith(("stem", "stages.stage2")) and "num_batches" not in name]
    assert any(name.endswith("running_var") for name in kept)
    assert all(torch.equal(state[name], before[name]) for name in kept)
    learned = "stages.stage3.a.shortcut.res3a_branch1.weight"
    assert not torch.equal(state[learned], before[learned])
    group = last(two)["optimizer_states"][0]["param_groups"][0]
    assert (group["iterations"], group["lr"]) == (4, 1e-4)
    moved = {name.removeprefix("model."): tensor for name, tensor in last(two)["state_dict"].items()}
    assert not any(torch.equal(moved[name], before[name]) for name in kept if name.endswith("running_var"))


# What goes wrong


def test_a_loss_that_is_no_number_stops_at_its_step(trained, tmp_path):
    message = "the loss became nan at step 2 of epoch 1. There is no checkpoint before it. Lower --learning-rate"
    with pytest.raises(TransferError, match=message):
        trained(learning_rate=1e30)
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_weights_that_are_no_numbers_are_not_saved(trained, tmp_path, monkeypatch):
    trained(epochs=1)
    before = (tmp_path / "run" / "last.ckpt").read_bytes()

    def logs(self):  # as after a last step whose loss was finite, and whose gradient was not
        with torch.no_grad():
            next(self.model.parameters()).fill_(float("nan"))
        return {"loss": 9.0, "accuracy": 0.0, "val_loss": 9.0, "val_accuracy": 0.0}

    monkeypatch.setattr("resnet_torch.training.module.TrainedNetwork.logs", logs)
    message = r"1 of the network's tensors are no longer finite after epoch 2.*The last good checkpoint is .*last.ckpt"
    with pytest.raises(TransferError, match=message):
        resumed(tmp_path / "run", epochs=2)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


def test_a_corrupt_image_is_named(trained, tmp_path, narrow):
    root = image_data.write_tree(tmp_path / "photos", parts=("train",), per_class=5)
    torn = sorted(root.rglob("*.png"))[2]
    torn.write_bytes(torn.read_bytes()[:60])
    with pytest.raises(TransferError, match=f"{torn.name}: not a readable image"):
        trained(data=str(root), batch_size=4)


def test_another_network_is_refused(trained, narrow, tmp_path):
    other = create_resnet((32, 32, 3), 1, depth=18, stem_filters=3, filters=((3, 3),), block_counts=(1,))
    save_converted(other, tmp_path / "sigmoid.safetensors")
    with pytest.raises(TransferError, match=r"a classifier of 1 classes. Expected 3"):
        trained(checkpoint=str(tmp_path / "sigmoid.safetensors"))


def test_an_epoch_whose_value_is_no_number_is_never_the_best(recipe, monkeypatch, capsys):
    """Keras's ModelCheckpoint takes a first one for the best, and then nothing for better."""
    logs = TrainedNetwork.logs

    def spoiled(self):
        return {**logs(self), **({"val_loss": math.nan} if self.epoch != 1 else {})}

    monkeypatch.setattr(TrainedNetwork, "logs", spoiled)
    asked = recipe("run", epochs=3)
    history = train(asked, resume=False, reporter=TerminalReporter())
    assert history.best("val_loss").epoch == 2
    assert RunFolder(Path(asked.output)).found_best().exists()
    assert capsys.readouterr().out.count("val_loss is no number in this epoch, which is not taken for the best") == 2
