"""``predict`` as a person and as a script meet it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import image_files
import numpy as np
import pytest
import torch

from resnet_torch import load_model
from weight_transfer import Hints, convert
from weight_transfer.architecture import Head
from weight_transfer.images import load_image
from weight_transfer.preprocessing import preprocess, preset


@pytest.fixture
def run(command, torch_here) -> Callable[..., Any]:
    """``run(model, image)`` is ``weight-transfer predict``."""
    return functools.partial(command, "predict")


@pytest.fixture
def model(tmp_path) -> Path:
    return checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())


@pytest.fixture
def photo(tmp_path) -> Path:
    image_files.photograph("chelsea", 90, 120).save(tmp_path / "chelsea.jpg")
    return tmp_path / "chelsea.jpg"


def test_in_processes_of_its_own(model, photo):
    words = [sys.executable, "-m", "weight_transfer", "predict", str(model), str(photo)]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count(f"{photo} at 33 x 33") == 1


def test_a_table_for_each_image(model, photo, tmp_path, run):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing [{number}]" for number in range(10)))
    done = run(model, photo, photo, "--classes", names, "--top", "3")
    assert done.code == 0, done.stderr
    assert done.stdout.count(f"{photo} at 33 x 33") == 2
    assert done.stdout.count("probability") == 2
    assert done.stdout.count("thing [") == 6
    assert "image loading  opencv: cv2.imread, cv2.cvtColor to RGB, cv2.resize; read by OpenCV" in done.stdout
    assert "(guessed; --image-loading says otherwise)" in done.stdout
    assert "preprocessing  caffe: RGB to BGR" in done.stdout
    assert "(guessed; --preprocessing, --scale, --mean, --std, --channel-order say otherwise)" in done.stdout


def test_json_and_a_converted_file_that_knows_its_loading(model, photo, tmp_path, run, command):
    converted = tmp_path / "m.safetensors"
    done = command("convert", model, "-o", converted, "--image-loading", "opencv")
    assert done.code == 0, done.stderr
    assert "image loading" in done.stdout
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.rename(folder / "chelsea.jpg")
    found = json.loads(run(converted, folder, "--json").stdout)
    assert (found["model"], found["name"], found["device"]) == (str(converted), "ResNet-11", "cpu")
    assert (found["image_loading"], found["preprocessing"]["name"]) == ("opencv", "caffe")
    assert found["preprocessing"]["certainty"] == "guessed"
    (image,) = found["images"]
    assert (image["file"], image["size"], image["probabilities"]) == (str(folder / "chelsea.jpg"), [33, 33], True)
    assert len(image["top"]) == 5
    assert set(image["top"][0]) == {"class", "name", "output"}
    assert image["top"][0]["name"] is None
    said = ("--image-loading", "resizing", "--preprocessing", "torch", "--input-size", "40x50")
    found = json.loads(run(model, folder, "--json", *said).stdout)
    assert (found["image_loading"], found["preprocessing"]["name"]) == ("resizing", "torch")
    assert found["preprocessing"]["certainty"] == "known"
    assert found["images"][0]["size"] == [40, 50]


def test_1000_outputs_are_imagenets(photo, tmp_path, run):
    """Where a person says so: a head of 1000 classes alone is no reason to name them."""
    architecture = checkpoints.small(head=Head(classes=1000, activation="linear"))
    model = checkpoints.checkpoint(tmp_path / "model.h5", architecture)
    found = json.loads(run(model, photo, "--json").stdout)
    assert (found["class_names"], found["images"][0]["top"][0]["name"]) == (None, None)
    found = json.loads(run(model, photo, "--json", "--top", "1000", "--classes", "imagenet").stdout)
    assert found["class_names"] == "imagenet"
    names = {guess["class"]: guess["name"] for guess in found["images"][0]["top"]}
    assert names[281] == "tabby"
    assert len(names) == 1000
    done = run(model, photo)
    assert "output" in done.stdout
    assert "probability" not in done.stdout


def test_one_sigmoid_is_two_classes(photo, tmp_path, run):
    architecture = checkpoints.small(head=Head(classes=1, activation="sigmoid"))
    model = checkpoints.checkpoint(tmp_path / "model.h5", architecture)
    (tmp_path / "names.json").write_text('{"cat": 0, "dog": 1}')
    found = json.loads(run(model, photo, "--json", "--classes", tmp_path / "names.json").stdout)["images"][0]
    outputs = {guess["name"]: guess["output"] for guess in found["top"]}
    assert set(outputs) == {"cat", "dog"}
    assert found["probabilities"]
    assert sum(outputs.values()) == pytest.approx(1.0)
    port = load_model(model)
    pixels = load_image(photo, (33, 33), "opencv")
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(preprocess(pixels[np.newaxis], "caffe"), -1, 1)))
    assert outputs["dog"] == pytest.approx(port.predict(x).item(), abs=1e-6)
    assert "2 classes, by one sigmoid: the probability of class 1" in run(model, photo).stdout


def test_what_a_converted_file_knows_is_contradicted_by_no_option(model, photo, tmp_path, run):
    port = tmp_path / "m.safetensors"
    convert(model, port, Hints(preprocessing=preset("tf"), image_loading="keras"))
    assert "tf: divided by 127.5, minus 1 (known)" in run(port, photo).stdout
    for said, words in (
        (("--preprocessing", "caffe"), "its preprocessing is known: tf"),
        (("--scale", "1/255"), "its preprocessing is known: tf"),
        (("--image-loading", "opencv"), "its image loading is known: keras"),
        (("--crop", "40"), "its crop is known: no crop"),
    ):
        done = run(port, photo, *said)
        assert done.code == 2
        assert words in done.stderr
        assert "weight-transfer convert" in done.stderr
    assert run(port, photo, "--preprocessing", "tf", "--image-loading", "keras").code == 0


BAD = {
    "a scale that is the inverse": (["chelsea.jpg", "--scale", "255"], "Is 1/255 meant?"),
    "a scale of almost nothing": (["chelsea.jpg", "--scale", "1e-9"], "--scale must not be below 1/65536"),
    "a scale that is NaN": (["chelsea.jpg", "--scale", "nan"], "--scale must be a finite number above 0"),
    "a scale below 0": (["chelsea.jpg", "--scale", "-1"], "--scale must be a finite number above 0"),
    "a scale of no end": (["chelsea.jpg", "--scale", "1/0"], "--scale must be a finite number above 0"),
    "a scale of no number": (["chelsea.jpg", "--scale", "x"], "--scale must be a number such as 1/255"),
    "a preset and a scale": (
        ["chelsea.jpg", "--scale", "1/255", "--preprocessing", "caffe"],
        "--preprocessing and --scale exclude each other",
    ),
    "a mean of no numbers": (["chelsea.jpg", "--mean", "a,b"], "--mean must be a number, or numbers with commas"),
    "a crop of no size": (["chelsea.jpg", "--crop", "big"], "crop must be a size such as 256"),
    "a crop smaller than the network": (["chelsea.jpg", "--crop", "20"], "a centre of 33x33 cannot be cut out"),
    "imagenet's names for ten": (["chelsea.jpg", "--classes", "imagenet"], "1000 names."),
    "a file cut short": (["cut.jpg"], "cut.jpg: not a readable image"),
    "no image": (["model.h5"], "model.h5: not a readable image"),
    "nothing there": (["nowhere.jpg"], "nowhere.jpg: does not exist"),
    "a folder without images": (["empty"], "empty: a folder without image files"),
    "too few names": (["chelsea.jpg", "--classes", "names.txt"], "names.txt: 2 class names. Expected 10, one for each"),
    "no names": (["chelsea.jpg", "--classes", "empty.txt"], "empty.txt: holds no class names"),
    "a size of one number": (["chelsea.jpg", "--input-size", "224"], "--input-size must be HxW"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_requests_are_one_message_and_exit_2(what, model, photo, tmp_path, run):
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:700])
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "empty").mkdir()
    arguments, words = BAD[what]
    done = run(model, *(tmp_path / word if (tmp_path / word).exists() else word for word in arguments))
    assert done.code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_network_that_takes_no_pictures_is_refused(photo, shared_data, run):
    done = run(shared_data / "wild" / "kSuroweczka__Arrhythmia__model_resnet.h5", photo)
    assert done.code == 2
    assert done.stderr.startswith("error: model takes no picture. Expected one input of height, width")


@pytest.mark.parametrize(("missing", "words"), [("torch", "needs torch"), ("PIL", "needs pillow, not installed")])
def test_a_missing_package_is_named(missing, words, model, photo):
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)\n"
        f"sys.argv = ['weight-transfer', 'predict', {str(model)!r}, {str(photo)!r}]\n"
        "from weight_transfer.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
