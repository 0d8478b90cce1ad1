"""The Keras side of training: the shared pixels, the callbacks, a run that is killed and goes on, bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import image_data
import keras_training
import numpy as np
import pytest

from weight_transfer import convert
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.data import ArrayImages, Batches, Fixed, Preparation, Shuffled
from weight_transfer.parity.tolerances import TOLERANCES
from weight_transfer.training import read_history
from weight_transfer.training.step_log import read_steps

FLOAT32 = TOLERANCES["inference"]["float32"].error


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return image_data.write_npz(tmp_path_factory.mktemp("data") / "a.npz", train=40, test=12)


@pytest.fixture(scope="module")
def network(tmp_path_factory, keras_side) -> Path:
    return keras_side(keras_training.tiny, tmp_path_factory.mktemp("tiny") / "tiny.keras")


@pytest.fixture(scope="module")
def shared(data, network) -> dict:
    """What every recipe here has."""
    start = {"data": str(data), "initial_weights": str(network)}
    return {**start, "batch_size": 12, "epochs": 3, "learning_rate": 0.01}


@pytest.fixture
def recipe(shared, tmp_path):
    return lambda name="run", **more: {**shared, "output": str(tmp_path / name), **more}


@pytest.fixture(scope="module")
def trained(shared, tmp_path_factory, keras_side) -> tuple[dict, list]:
    """A recipe that was trained, and its history's rows."""
    folder = tmp_path_factory.mktemp("trained")
    more = {"epochs": 2, "label_smoothing": 0.1, "log_steps": str(folder / "steps.csv")}
    asked = {**shared, **more, "output": str(folder / "run")}
    return asked, keras_side(keras_training.train, asked)


@pytest.mark.parametrize("workers", [1, 3])
def test_fit_sees_the_shared_batches_bit_for_bit(keras_side, workers):
    images = ArrayImages(image_data.pixels(23), np.arange(23) % 3, ("a", "b", "c"))
    batches = Batches(images, Shuffled(np.arange(23), 5), 5, Preparation((40, 48), augment_seed=1))
    validation = Batches(images, Fixed(np.arange(4)), 2, Preparation((40, 48)))
    seen = keras_side(keras_training.seen, batches, validation, 2, workers)
    expected = [batches.batch(epoch, i) for epoch in range(2) for i in range(5)]
    assert len(seen) == 2 * len(expected)
    for i, batch in enumerate(expected):
        np.testing.assert_array_equal(seen[2 * i], batch.x)
        np.testing.assert_array_equal(seen[2 * i + 1], np.eye(3, dtype=np.float32)[batch.y])


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(keras_side, recipe, tmp_path):
    """Dropout, augmentation, lowered rates, restored weights: all as in a run that nobody killed."""
    more = {
        "epochs": 3, "augment": True, "reduce_lr_patience": 1, "restore_best_weights": True,
        "optimizer": "Adam(clipnorm=1.0)", "reduce_lr_min_delta": 1e3,
    }  # fmt: skip
    whole = recipe("whole", **more, log_steps=str(tmp_path / "whole.csv"))
    killed = recipe("killed", **more, log_steps=str(tmp_path / "killed.csv"))
    keras_side(keras_training.train, whole, graph=True)
    assert "killed" in keras_side(keras_training.train, killed, kill_at=(2, 1), graph=True)
    assert len(read_history(tmp_path / "killed" / "history.csv")) == 2
    keras_side(keras_training.train, killed, resume=True, graph=True)
    assert (tmp_path / "killed" / "history.csv").read_text() == (tmp_path / "whole" / "history.csv").read_text()
    assert (tmp_path / "killed.csv").read_text() == (tmp_path / "whole.csv").read_text()
    rates = read_history(tmp_path / "whole" / "history.csv").column("learning_rate")
    assert rates[-1] < rates[0]  # the plateau was acted on, before and after the kill
    for name in ("last.keras", "best.keras"):
        ours, theirs = (keras_training.contents(tmp_path / run / name) for run in ("killed", "whole"))
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=f"{name} {key}")
    states = []
    for run in ("killed", "whole"):
        with zipfile.ZipFile(tmp_path / run / "last.keras") as archive:
            states.append((json.loads(archive.read("training_state.json")), archive.read("best_weights.npz")))
    assert states[0] == states[1]
    assert states[0][0]["seeds"].keys() == {"dropout_01", "dropout_02"}
    for name in ("recipe.json", "summary.txt", "curves.png", "tensorboard/train", "tensorboard/validation"):
        assert (tmp_path / "killed" / name).exists(), name


def test_steps_are_logged_with_their_own_loss(trained):
    asked, rows = trained
    steps = read_steps(Path(asked["log_steps"]))
    assert [(row.step, row.epoch) for row in steps] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]
    for epoch, row in enumerate(rows):
        own = [step.loss for step in steps[3 * epoch : 3 * epoch + 3]]
        assert np.average(own, weights=[12, 12, 8]) == pytest.approx(row.loss, rel=FLOAT32)
    assert len({step.loss for step in steps}) == 6


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_nothing(keras_side, recipe, tmp_path):
    schedule = "PiecewiseConstantDecay(boundaries=[2], values=[0.01, 3e38])"  # from the second epoch on
    said = keras_side(keras_training.train, recipe(schedule=schedule, optimizer="SGD"))
    assert re.search(r"TransferError: the loss became (nan|inf) at step [23] of epoch 2. The last good", said), said
    assert f"The last good checkpoint is {tmp_path / 'run' / 'last.keras'}" in said
    assert all(np.isfinite(array).all() for array in arrays(tmp_path / "run" / "last.keras").values())
    assert len(read_history(tmp_path / "run" / "history.csv")) == 1


def test_a_full_disk_leaves_the_last_good_checkpoint(keras_side, tmp_path):
    path = tmp_path / "last.keras"
    said = keras_side(keras_training.save_on_a_full_disk, path, 10_000)
    assert f"TransferError: cannot write {path}: File too large" in said
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("training_state.json")) == {"epoch": 1, "seeds": {}}
    assert [file.name for file in tmp_path.iterdir()] == ["last.keras"]


def test_fine_tuning_frozen_then_unfrozen(keras_side, recipe, tmp_path):
    """A backbone without top gets the tutorial's head; what is frozen keeps weights and statistics."""
    backbone = keras_side(keras_training.tiny, tmp_path / "backbone.keras", top=False, seed=3)
    asked = recipe(initial_weights=None, checkpoint=str(backbone), freeze=["stem"], unfreeze_at=2, epochs=1)
    keras_side(keras_training.train, asked)
    start, first = (arrays(path) for path in (backbone, tmp_path / "run" / "last.keras"))
    keras_side(keras_training.train, {**asked, "epochs": 2, "unfreeze_learning_rate": 1e-3}, resume=True)
    second = arrays(tmp_path / "run" / "last.keras")
    frozen = {name for name in start if name.startswith(("conv/", "bn_conv1"))}
    assert {"bn_conv1/moving_mean", "conv/kernel"} <= frozen < set(start)
    for name, array in start.items():
        if not name.endswith("/bias"):  # a convolution's bias before a batch norm has no gradient
            assert np.array_equal(first[name], array) == (name in frozen), name
            assert not np.array_equal(second[name], array), name
    assert set(first) - set(start) == {
        f"{layer}/{role}" for layer in ("fc_01", "fc_final") for role in ("kernel", "bias")
    }
    rates = read_history(tmp_path / "run" / "history.csv").column("learning_rate")
    assert rates == pytest.approx([0.01, 1e-3])


def arrays(path: Path) -> dict[str, np.ndarray]:
    """A checkpoint's weights by ``layer/role``."""
    with read_checkpoint(path) as checkpoint:
        return {name: array.read() for name, array in checkpoint.arrays.items()}


def test_both_sides_can_start_from_one_converted_file(keras_side, recipe, network, tmp_path):
    port = convert(network, tmp_path / "port.safetensors").output
    for more in ({}, {"dropout": 0.0}, {"size": [64, 48]}, {"dtype": "float64"}):
        from_port = keras_side(keras_training.started, recipe(initial_weights=str(port), **more))
        from_keras = keras_side(keras_training.started, recipe(**more))
        assert len(from_port) == len(from_keras) > 30
        for ours, theirs in zip(from_port, from_keras, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("more", [{}, {"new_head": True}, {"dropout": 0.1}])
def test_the_files_regularizers_go_on(keras_side, recipe, tmp_path, more):
    file = keras_side(keras_training.regularized, tmp_path / "tiny.keras")
    for start in (file, convert(file, tmp_path / "port.safetensors").output):
        added, expected = keras_side(keras_training.regularizer_of, recipe(initial_weights=str(start), **more))
        assert added == pytest.approx(expected, rel=FLOAT32)
        assert added > 0


def test_logits_and_probabilities_have_one_loss(keras_side):
    of_probabilities, of_logits = keras_side(keras_training.losses)
    assert of_logits == pytest.approx(of_probabilities, rel=FLOAT32)


def test_the_optimizer_goes_on_where_the_file_has_its_state(keras_side, trained, recipe):
    last = str(Path(trained[0]["output"]) / "last.keras")
    go_on = recipe(initial_weights=None, checkpoint=last, learning_rate=1e-4)
    assert keras_side(keras_training.optimizer_steps, go_on) == (6, pytest.approx(1e-4))
    assert keras_side(keras_training.optimizer_steps, {**go_on, "optimizer": "SGD(momentum=0.9)"}) is None


def test_evaluation_gives_the_loss_that_fit_gave(keras_side, trained):
    asked, rows = trained
    best = min(rows, key=lambda row: row.val_loss)
    path = Path(asked["output"]) / "best.keras"
    found = keras_side(keras_training.evaluate, asked, path, "validation")
    assert found["loss"] == pytest.approx(best.val_loss, rel=FLOAT32)
    assert found["accuracy"] == pytest.approx(best.val_accuracy)
    assert (found["images"], sum(row["images"] for row in found["classes"])) == (8, 8)
    assert keras_side(keras_training.evaluate, asked, path, "test")["images"] == 12


def test_shards_are_trained_on_as_a_stream(keras_side, recipe, tmp_path):
    image_data.write_shards(tmp_path / "shards", size=32)
    asked = recipe(data=str(tmp_path / "shards" / "shards-{000..002}.tar"), classes=3, epochs=2, batch_size=8)
    rows = keras_side(keras_training.train, asked)
    assert len(rows) == 2
    assert all(np.isfinite([row.loss, row.val_loss]).all() for row in rows)


def test_stopping_early_is_for_good(keras_side, recipe, tmp_path):
    asked = recipe(epochs=9, early_stopping_patience=1, learning_rate=1e-9, monitor="accuracy", dropout=0.0)
    rows = keras_side(keras_training.train, asked)
    assert len(rows) < 9
    assert keras_side(keras_training.train, asked, resume=True) == rows


def test_a_corrupt_image_is_named_and_the_exit_code_is_2(keras_side, network, tmp_path):
    root = image_data.write_tree(tmp_path / "tree")
    broken = root / "train" / "dog" / "y.png"
    broken.write_bytes(broken.read_bytes()[:200])
    arguments = ["train", "--data", root, "-o", tmp_path / "run", "--initial-weights", network, "--batch-size", 3]
    code, _, err = keras_side(keras_training.command, arguments)
    assert code == 2
    assert err.startswith(f"error: {broken}: not a readable image")


def test_the_command_line_of_a_process_of_its_own(data, network, tmp_path):
    words = ["train", "--data", data, "-o", tmp_path / "run", "--initial-weights", network, "--epochs", 1]
    words += ["--steps", 1, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "resnet_keras", *map(str, words)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 1
    assert done.stderr == ""
