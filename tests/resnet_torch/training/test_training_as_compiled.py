"""``train --checkpoint`` goes on as the file was compiled: the reference is the owner's model, trained on."""

from __future__ import annotations

import re

import keras_training
import pytest

from resnet_torch import load_model
from resnet_torch.__main__ import app
from weight_transfer import convert
from weight_transfer.training import RunFolder
from weight_transfer.training.datasets import training_images
from weight_transfer.training.starting_point import starting_point
from weight_transfer.training.step_log import read_steps
from weight_transfer.weight_mapping import mapping

WARMING_UP = ("CosineDecay", {
    "initial_learning_rate": 1e-4, "decay_steps": 9, "alpha": 0.1, "warmup_target": 3e-3, "warmup_steps": 4,
})  # fmt: skip
ADAM = {"learning_rate": 3e-4, "beta_1": 0.5, "epsilon": 1e-3, "clipnorm": 0.5, "weight_decay": 0.01}
# Optimizer, loss, and the recipe's optimizer, rate, schedule and smoothing.
CASES = {
    "Adam": (
        ("Adam", ADAM, "CategoricalCrossentropy", {"label_smoothing": 0.3}),
        ("Adam(beta_1=0.5, beta_2=0.999, epsilon=0.001, weight_decay=0.01, clipnorm=0.5)",
         pytest.approx(3e-4), None, 0.3),
    ),
    "schedule": (
        ("SGD", {"learning_rate": WARMING_UP, "momentum": 0.8, "nesterov": True}, "SparseCategoricalCrossentropy", {}),
        ("SGD(momentum=0.8, nesterov=True)", pytest.approx(1e-4),
         "CosineDecay(initial_learning_rate=0.0001, decay_steps=9, alpha=0.1, warmup_target=0.003, warmup_steps=4)",
         0.0),
    ),
}  # fmt: skip


@pytest.fixture
def train(images, tmp_path, capsys):
    """Runs the command for three steps of eight images: the run folder, and what was printed."""

    def run(checkpoint, *words):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        short = ["--epochs", "1", "--steps", "3", "--batch-size", "8", "--no-reduce-lr", "--workers", "0"]
        out = ["-o", str(folder), "--log-steps", str(folder / "steps.csv")]
        app.main(
            ["train", "--data", str(images), "--checkpoint", str(checkpoint), *short, *out, *words],
            standalone_mode=False,
        )
        return RunFolder(folder), capsys.readouterr().out

    return run


def batches(recipe):
    learned, _ = training_images(recipe).batches((32, 32), starting_point(recipe, 3).description)
    return [(batch.x, batch.y) for batch in (learned.batch(0, i) for i in range(3))]


@pytest.mark.parametrize("name", CASES)
def test_three_steps_are_the_owners(name, keras_side, tmp_path, train):
    how, fields = CASES[name]
    file = keras_side(keras_training.compiled, tmp_path / "owner.keras", *how)
    port = convert(file, tmp_path / "port.safetensors", with_optimizer=True).output
    for start in (file, port):
        folder, printed = train(start)
        recipe, _, _ = folder.read()
        assert (recipe.optimizer, recipe.learning_rate, recipe.schedule, recipe.label_smoothing) == fields
        assert f"as {start.name} was compiled: optimizer {how[0]}(" in printed
        assert "the optimizer goes on\n" in printed
        losses, weights = keras_side(keras_training.owners_steps, file, batches(recipe))
        assert [step.loss for step in read_steps(folder.path / "steps.csv")] == pytest.approx(losses, rel=1e-4)
        model = load_model(folder.path / "best.safetensors")
        state, before = model.state_dict(), load_model(file).state_dict()
        error = change = 0.0
        for row in mapping(model.network):
            error += float(((row.to_keras(state[row.torch].numpy()) - weights[row.keras]) ** 2).sum())
            change += float(((before[row.torch] - state[row.torch]) ** 2).sum())
        assert 0 < error**0.5 <= 1e-4 * change**0.5
        assert model.network == load_model(file).network
    again, _ = train(
        folder.path / "best.safetensors", "--learning-rate", "1e-4"
    )  # a file of ours: its loss goes on too
    assert again.read()[0].label_smoothing == fields[3]


def test_what_a_person_gives_holds_and_is_said(keras_side, tmp_path, train):
    file = keras_side(keras_training.compiled, tmp_path / "owner.keras", *CASES["schedule"][0])
    folder, printed = train(file, "--learning-rate", "0.01", "--label-smoothing", "0.2")
    recipe, _, _ = folder.read()
    assert (recipe.learning_rate, recipe.schedule, recipe.label_smoothing) == (0.01, None, 0.2)
    assert recipe.optimizer.startswith("SGD(")
    assert re.search(r"learning rate 0.01, where the file has 0.0001\d*\n", printed)
    assert "schedule None, where the file has CosineDecay(initial_learning_rate=0.0001" in printed
    assert "label smoothing 0.2, where the file has 0.0\n" in printed
    folder, printed = train(file, "--optimizer", "Adam")
    recipe, _, _ = folder.read()
    assert (recipe.optimizer, recipe.learning_rate, recipe.schedule) == ("Adam", 1e-3, None)
    assert "optimizer Adam, where the file has SGD(" in printed
    assert "the optimizer begins anew, Adam, learning rate 0.001: owner.keras has the state of SGD" in printed
    folder, printed = train(file, "--optimizer", "SGD(momentum=0.8, nesterov=True, clipnorm=1.0)")
    assert folder.read()[0].schedule is not None
    assert "the optimizer goes on, with other arguments than the file's: clipnorm=1.0 for None" in printed


def test_a_new_head_begins_anew(keras_side, tmp_path, train):
    file = keras_side(keras_training.compiled, tmp_path / "owner.keras", *CASES["Adam"][0])
    folder, printed = train(file, "--new-head")
    recipe, _, _ = folder.read()
    assert (recipe.optimizer, recipe.learning_rate, recipe.label_smoothing) == ("Adam", 1e-3, 0.0)
    assert "the optimizer begins anew, Adam, learning rate 0.001: the head is new" in printed


@pytest.mark.parametrize(
    ("optimizer", "arguments", "fields", "note"),
    [
        ("Lion", {"learning_rate": 1e-4}, ("Adam", 1e-3),
         "Adam, learning rate 0.001, where the file was compiled with 'Lion', learning rate 0.0001, which is not"),
        ("Adam", {"learning_rate": 3e-4, "beta_1": 0.5, "gradient_accumulation_steps": 2},
         ("Adam(beta_1=0.5, beta_2=0.999, epsilon=1e-07)", pytest.approx(3e-4)),
         "learning rate 0.0003, without the file's gradient_accumulation_steps=2, which is not known here"),
    ],
)  # fmt: skip
def test_an_optimizer_that_cannot_go_on_is_named_with_what_replaces_it(
    keras_side, tmp_path, train, optimizer, arguments, fields, note
):
    how = (optimizer, arguments, "CategoricalCrossentropy", {})
    folder, printed = train(keras_side(keras_training.compiled, tmp_path / "owner.keras", *how))
    recipe, _, _ = folder.read()
    assert (recipe.optimizer, recipe.learning_rate) == fields
    assert note in printed
    assert f"the optimizer begins anew, {recipe.optimizer_words}: " in printed
