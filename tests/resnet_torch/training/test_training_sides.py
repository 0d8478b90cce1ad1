"""One recipe on both sides: Keras's `fit` and ours go through the same numbers."""

from __future__ import annotations

import dataclasses

import keras_training
import numpy as np
import pytest
from sweeps import slow_but

from resnet_torch.training import evaluate, train
from weight_transfer.training import EpochRow, read_history
from weight_transfer.training.step_log import read_steps

EXACT = {"dropout": 0.0, "dtype": "float64", "epochs": 4}
CASES = {
    "callbacks": {
        "augment": True, "label_smoothing": 0.1, "reduce_lr_patience": 1, "reduce_lr_min_delta": 0.05,
        "early_stopping_patience": 3,
    },
    "phases": {
        "freeze": ("stem", "stage2"), "unfreeze_at": 3, "unfreeze_learning_rate": 1e-4, "restore_best_weights": True,
        "optimizer": "SGD(momentum=0.9, nesterov=True, use_ema=True, clipnorm=0.5)", "learning_rate": 0.01,
    },
    "schedule": {"schedule": "CosineDecay(decay_steps=14)", "optimizer": "AdamW(weight_decay=0.01)", "steps": 3},
}  # fmt: skip


@pytest.fixture
def checkpoint(keras_side, tmp_path):
    return keras_side(keras_training.tiny, tmp_path / "tiny.keras")


@pytest.mark.parametrize("case", slow_but(("callbacks", "phases"), CASES))
def test_histories_are_equal(keras_side, recipe, checkpoint, tmp_path, case):
    fields = {**EXACT, **CASES[case], "initial_weights": str(checkpoint)}
    theirs, ours = (
        recipe(side, **fields, log_steps=str(tmp_path / f"{side}.csv")) for side in ("resnet_keras", "resnet_torch")
    )
    # A schedule rounds in another way where nothing is compiled.
    expected = keras_side(keras_training.train, theirs.to_dict(), graph=case == "schedule")
    actual = train(ours, resume=False)
    assert isinstance(expected, tuple), expected
    assert len(actual) == len(expected)
    for name in (field.name for field in dataclasses.fields(EpochRow)):
        np.testing.assert_allclose(
            actual.column(name), [getattr(row, name) for row in expected], rtol=1e-9, err_msg=name
        )
    assert actual == read_history(tmp_path / "resnet_torch" / "history.csv")
    steps, own = (read_steps(tmp_path / f"{side}.csv") for side in ("resnet_keras", "resnet_torch"))
    for name in ("step", "epoch", "loss", "learning_rate"):
        found = [getattr(step, name) for step in own]
        np.testing.assert_allclose(found, [getattr(step, name) for step in steps], rtol=1e-6, err_msg=name)


def test_what_keras_trained_evaluates_to_the_same(keras_side, recipe, checkpoint):
    theirs = recipe("theirs", **EXACT, initial_weights=str(checkpoint))
    last = keras_side(keras_training.train, theirs.to_dict())[-1]
    best = f"{theirs.output}/last.keras"
    found = evaluate(recipe("ours", **EXACT), best, part="validation")
    assert found.loss == pytest.approx(last.val_loss, rel=1e-6)
    assert found.accuracy == last.val_accuracy
