"""What a file says of its optimizer and its loss, as the fields of a recipe."""

from __future__ import annotations

import optimizer_states
import pytest
from optimizer_states import written

from weight_transfer import convert
from weight_transfer.training import Recipe
from weight_transfer.training.compiled import _loss, _optimizer, as_compiled

SUM = {"reduction": "sum", "ignore_class": 2}
MEAN = {"reduction": "sum_over_batch_size", "from_logits": False, "axis": -1}


def recipe(checkpoint, **fields):
    return Recipe(data="data.npz", output="run", checkpoint=str(checkpoint), **fields)


@pytest.mark.parametrize(
    ("compiled", "expected"),
    [
        ({"loss": "categorical_crossentropy"}, (0.0, [])),
        ({"loss": ["SparseCategoricalCrossentropy"], "loss_weights": [1.0]}, (0.0, [])),
        ({"loss": {"class_name": "function", "config": "sparse_categorical_crossentropy"}}, (0.0, [])),
        (
            {"loss": {"out": {"class_name": "CategoricalCrossentropy", "config": {**MEAN, "label_smoothing": 0.2}}}},
            (0.2, []),
        ),
        (
            {
                "loss": {
                    "class_name": "LossFunctionWrapper",
                    "config": {"fn": "categorical_crossentropy", "label_smoothing": 0.1, "reduction": "auto"},
                }
            },
            (0.1, []),
        ),
        ({"loss": "mse"}, (0.0, ["categorical cross-entropy, where the file was compiled with mse"])),
        ({"loss": 3}, (0.0, ["categorical cross-entropy, where the file was compiled with a loss of its own"])),
        (
            {"loss": "categorical_crossentropy", "loss_weights": {"out": 0.5}},
            (0.0, ["the loss unweighted, where the file weighs it by 0.5"]),
        ),
        (
            {
                "loss": {
                    "class_name": "SparseCategoricalCrossentropy",
                    "config": {"reduction": "sum", "ignore_class": 2},
                }
            },
            (
                0.0,
                [
                    "the mean of a batch's losses, where the file has the reduction 'sum'",
                    "all classes, where the file's loss ignores class 2",
                ],
            ),
        ),
    ],
)
def test_losses(compiled, expected):
    assert _loss(compiled, ("softmax",)) == expected


LOGITS = {"loss": {"class_name": "CategoricalCrossentropy", "config": {"from_logits": True}}}
OF_PROBABILITIES = {"loss": "sparse_categorical_crossentropy"}


@pytest.mark.parametrize(
    ("compiled", "last", "note"),
    [
        (LOGITS, "linear", None),
        (LOGITS, "log_softmax", None),
        (OF_PROBABILITIES, "softmax", None),
        (
            LOGITS,
            "softmax",
            "of the softmax's probabilities, where the file's loss takes them for logits (from_logits=T",
        ),
        (
            OF_PROBABILITIES,
            "linear",
            "logits, where the network ends in linear and the file's loss takes that for prob",
        ),
        (OF_PROBABILITIES, "log_softmax", "from logits, where the network ends in log_softmax and the file's loss"),
    ],
)
def test_a_loss_that_takes_outputs_for_what_they_are_not_is_said(compiled, last, note):
    _, notes = _loss(compiled, (last,))
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


def state(name, config, rate):
    return optimizer_states.OptimizerState(name, {"class_name": name, "config": config}, 5, rate)


def test_keras_2s_decay_is_a_schedule():
    fields, notes = _optimizer(
        state("SGD", {"name": "SGD", "learning_rate": 0.5, "decay": 0.25, "momentum": 0.5}, None)
    )
    assert fields == {
        "optimizer": "SGD(momentum=0.5)",
        "learning_rate": 0.5,
        "schedule": "InverseTimeDecay(initial_learning_rate=0.5, decay_steps=1, decay_rate=0.25)",
    }
    assert notes == []
    assert recipe("a.h5", **fields).optimizer_spec().arguments["momentum"] == 0.5


def test_arguments_of_zero_go_on():
    config = {"name": "adamw", "learning_rate": 0.5, "beta_1": 0.0, "weight_decay": 0.0, "amsgrad": False}
    fields, _ = _optimizer(state("AdamW", config, None))
    assert fields["optimizer"] == "AdamW(beta_1=0.0, weight_decay=0.0)"


def test_what_a_recipe_cannot_say_is_said():
    _, notes = _optimizer(state("RMSprop", {"name": "RMSprop", "learning_rate": 0.5, "decay": 0.0}, 0.5))
    assert notes == ["RMSprop with epsilon inside the root, where this file's Keras 2 had it outside"]
    rate = {"class_name": "mine>Steps", "config": {"initial_learning_rate": 0.5}}
    fields, notes = _optimizer(state("Adam", {"name": "adam", "learning_rate": rate}, None))
    assert (fields["learning_rate"], fields["schedule"]) == (0.5, None)
    assert notes == ["a constant learning rate, where the file has the schedule mine>Steps, not known here"]


def test_files_without_an_optimizer_leave_the_recipe_as_it_is(tmp_path):
    path, _ = written(tmp_path / "trained.keras")
    port = convert(path, tmp_path / "port.safetensors").output
    asked = recipe(port)
    assert as_compiled(asked, ()) == (asked, ())
    assert as_compiled(recipe(path, new_head=True), ()) == (recipe(path, new_head=True), ())
