"""``evaluate`` measures what Keras's own ``evaluate`` measures on the owner's pixels, on both sides."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras_evaluations
import pytest
from click.testing import CliRunner

from resnet_torch.training import evaluate
from weight_transfer import Hints, TransferError, convert
from weight_transfer.cli.app import app
from weight_transfer.cli.training_options import recipe_of
from weight_transfer.converted import read_converted
from weight_transfer.preprocessing import Preprocessing, preset
from weight_transfer.training import Recipe

# What a person says of each owner's file, where the file does not show it.
SAID: dict[str, dict[str, Any]] = {
    "tf": {"preprocessing": "tf"},
    "inside": {},
    "dataset": {"scale": "1/255", "image_loading": "resizing"},
    "load_img": {"scale": "1/255", "image_loading": "keras"},
}
HINTS = {
    "tf": Hints(preprocessing=preset("tf")),
    "inside": Hints(),
    "dataset": Hints(preprocessing=Preprocessing(divisor=255.0), image_loading="resizing"),
    "load_img": Hints(preprocessing=Preprocessing(divisor=255.0), image_loading="keras"),
}
CERTAINTY = {"tf": "known", "inside": "inside the network", "dataset": "known", "load_img": "known"}


@pytest.fixture(scope="module")
def owners(keras_side, tmp_path_factory) -> dict[str, dict[str, Any]]:
    return keras_side(keras_evaluations.train_owners, tmp_path_factory.mktemp("owners"))


def said_recipe(owner: dict[str, Any], **said: Any) -> Recipe:
    options = dict.fromkeys(("preprocessing", "scale", "mean", "std", "channel_order", "image_loading", "crop"))
    return recipe_of({**options, "data": owner["images"], "output": str(Path(owner["file"]).parent), **said})


def measured(recipe: Recipe, checkpoint: Path, keras_side) -> list[dict[str, Any]]:
    """By PyTorch, and by Keras."""
    theirs = keras_side(keras_evaluations.evaluate, keras_evaluations.as_json(recipe), checkpoint)
    return [evaluate(recipe, checkpoint, part=None, accelerator="cpu").to_dict(), theirs]


@pytest.mark.parametrize("kind", SAID)
def test_evaluate_is_the_owners_accuracy(kind, owners, keras_side, tmp_path):
    owner = owners[kind]
    assert owner["accuracy"] > 0.9
    assert owner["otherwise"] < owner["accuracy"] - 0.2  # or a wrong preprocessing would not be seen
    for found in measured(said_recipe(owner, **SAID[kind]), Path(owner["file"]), keras_side):
        assert found["accuracy"] == pytest.approx(owner["accuracy"], abs=1e-6)
        assert found["measured_on"] == "the test images"
        assert found["preprocessing"]["certainty"] == CERTAINTY[kind]
    port = convert(owner["file"], tmp_path / "port.safetensors", HINTS[kind]).output
    found = evaluate(said_recipe(owner), port, part=None, accelerator="cpu").to_dict()
    assert found["accuracy"] == pytest.approx(owner["accuracy"], abs=1e-6)
    if kind != "inside":  # Keras builds no imported graph from a converted file
        found = keras_side(keras_evaluations.evaluate, keras_evaluations.as_json(said_recipe(owner)), port)
        assert found["accuracy"] == pytest.approx(owner["accuracy"], abs=1e-6)
    else:
        with pytest.raises(Exception, match="Keras 3 trains and evaluates it from the Keras checkpoint with the model"):
            keras_side(keras_evaluations.evaluate, keras_evaluations.as_json(said_recipe(owner)), port)
    with pytest.raises(TransferError, match=r"its preprocessing is (known|inside the network): .* Received caffe"):
        evaluate(said_recipe(owner, preprocessing="caffe"), port, part=None, accelerator="cpu")


def test_preprocessing_inside_a_keras_file_is_overruled_by_convert_alone(owners, tmp_path):
    """Also `predict`, `record` and `verify` refuse it; what is overruled is shown beside what the layers still do."""
    owner, output = owners["inside"], tmp_path / "port.safetensors"
    for command in (["predict", owner["file"], owner["images"]], ["record", owner["file"], "-o", str(tmp_path / "r")]):
        done = CliRunner().invoke(app, [*command, "--preprocessing", "caffe"])
        assert isinstance(done.exception, TransferError)
        assert "its preprocessing is inside the network: none" in str(done.exception)
        assert "overrule it in converting the Keras checkpoint" in str(done.exception)
    same = convert(owner["file"], output, Hints(preprocessing=preset("none"))).description
    assert same.preprocessing_text == "none: RGB in 0..255 as it is (inside the network)"
    convert(owner["file"], output, HINTS["tf"])
    assert read_converted(output).description.preprocessing_text.endswith(
        "(known); the network's own first layers do theirs after it"
    )


def test_what_was_used_is_kept_by_training_and_on_the_way_back(owners, keras_side, tmp_path):
    """A run that goes on from the tf file feeds what it was fed, saves that, and is measured so, after Keras too."""
    from resnet_torch.training import train
    from weight_transfer.training import RunFolder

    owner = owners["tf"]
    port = convert(owner["file"], tmp_path / "port.safetensors", HINTS["tf"]).output
    recipe = dataclasses.replace(
        said_recipe(owner), output=str(tmp_path / "run"), initial_weights=str(port), epochs=1, learning_rate=1e-9
    )
    RunFolder(tmp_path / "run").begin(recipe, "resnet_torch", {})
    train(recipe, resume=False, accelerator="cpu")
    best = tmp_path / "run" / "best.safetensors"
    known = read_converted(best).description
    assert (known.preprocessing, known.preprocessing.certainty) == (preset("tf"), "known")
    found = evaluate(dataclasses.replace(recipe), best, part="test", accelerator="cpu").to_dict()
    assert found["accuracy"] > 0.9


def test_a_flat_folder_is_measured_on_images_that_were_not_learned_from(owners, keras_side, tmp_path):
    from resnet_torch.training import train
    from weight_transfer.conversion.export import export
    from weight_transfer.training import RunFolder

    root = Path(owners["tf"]["images"]) / "train"
    recipe = dataclasses.replace(
        said_recipe({"images": str(root), "file": str(tmp_path / "x")}),
        output=str(tmp_path / "run"),
        initial_weights=owners["tf"]["file"],
        preprocessing=preset("caffe"),
        epochs=3,
    )
    RunFolder(tmp_path / "run").begin(recipe, "resnet_torch", {})
    train(recipe, resume=False, accelerator="cpu")
    best, split = tmp_path / "run" / "best.safetensors", tmp_path / "run" / "split.json"
    expected = keras_side(keras_evaluations.accuracy_on, export(best, tmp_path / "best.keras"), root, split)
    for found in measured(dataclasses.replace(recipe), best, keras_side):
        assert found["images"] == len(json.loads(split.read_text())["validation"]) == 18
        assert found["measured_on"] == "the validation images, which training did not learn from"
        assert found["accuracy"] == pytest.approx(expected, abs=1e-6)
