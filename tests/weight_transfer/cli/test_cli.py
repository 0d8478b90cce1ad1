"""The command line as a person and as a script meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import checkpoints
import keras_resnets
import numpy as np
import pytest

from weight_transfer import __version__
from weight_transfer.cli.app import COMMANDS

COMMAND = [sys.executable, "-m", "weight_transfer"]
FRAMEWORKS = ("torch", "tensorflow", "keras", "tf_keras", "PIL", "cv2", "simplejpeg")


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)


def loaded_frameworks(*arguments: str | Path) -> list[str]:
    """Which frameworks one command loads, asked of `sys.modules` in its own process when it ends."""
    code = (
        "import sys, atexit, json\n"
        f"found = lambda: [name for name in {FRAMEWORKS!r} if name in sys.modules]\n"
        "atexit.register(lambda: print(json.dumps(found()), file=sys.stderr))\n"
        f"sys.argv = ['weight-transfer', *{[str(a) for a in arguments]!r}]\n"
        "from weight_transfer.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def model(tmp_path) -> Path:
    return checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())


def test_help_inspect_and_convert_load_no_framework(model, tmp_path):
    assert loaded_frameworks("--help") == []
    assert loaded_frameworks("inspect", model) == []
    assert loaded_frameworks("convert", model, "-o", tmp_path / "m.safetensors") == []
    assert loaded_frameworks("convert", tmp_path / "m.safetensors", "-o", tmp_path / "back.keras") == []
    assert loaded_frameworks("convert", model, "-o", tmp_path / "g.safetensors", "--as", "graph") == []
    assert loaded_frameworks("verify", "--help") == []
    assert loaded_frameworks("predict", "--help") == []


@pytest.mark.parametrize("name", ["", "verify", "verify-training", "check"])
def test_help_says_the_exit_codes(name, command):
    words = " ".join(command(*name.split(), "--help").stdout.split())
    assert "Exit codes: 0 done or proven, 1 differs, 2 bad input, 3 not proven." in words


def test_help_shows_the_commands_and_an_example_each(command):
    text = " ".join(command("--help").stdout.split())
    for name, place in COMMANDS.items():
        assert f" {name} {place.summary} " in text
        assert f"weight-transfer {name} " in command(name, "--help").stdout


@pytest.mark.parametrize("asked", ["--help", "--version", "completion"])
def test_a_list_of_commands_imports_none_of_them(asked):
    completing = {"_WEIGHT_TRANSFER_COMPLETE": "bash_complete", "COMP_WORDS": "weight-transfer tr", "COMP_CWORD": "1"}
    code = f"""
import atexit, sys
others = ("numpy", "h5py", {", ".join(repr(f"weight_transfer.cli.{place.module}") for place in COMMANDS.values())})
atexit.register(lambda: print([name for name in others if name in sys.modules]))
sys.argv = ["weight-transfer", *{[] if asked == "completion" else [asked]!r}]
from weight_transfer.cli import main
main()
"""
    environment = {**os.environ, **(completing if asked == "completion" else {})}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    if asked == "completion":
        assert done.stdout.splitlines()[0] == "plain,train"


def test_a_command_that_does_not_exist_is_answered_with_the_nearest():
    done = run("trian")
    assert (done.returncode, "No such command 'trian'. (nearest: train)" in done.stderr) == (2, True)


def test_version():
    assert run("--version").stdout.strip() == __version__


def test_inspect_shows_the_architecture(model, command):
    done = command("inspect", model)
    assert done.code == 0
    for text in (
        "ResNet-11",
        "tutorial",
        "written by Keras",
        "sha256",
        "stage3",
        "caffe: RGB to BGR, minus (103.939, ",
    ):
        assert text in done.stdout


def test_inspect_json_holds_the_same(model, command):
    found = json.loads(command("inspect", model, "--json").stdout)
    assert found["name"] == "ResNet-11"
    assert found["num_arrays"] == len(found["arrays"]) == 76
    assert found["arrays"]["conv/kernel"] == {"shape": [7, 7, 3, 4], "dtype": "float32"}
    assert found["network"]["architecture"]["block_counts"] == [2, 1]
    assert sum(part["num_arrays"] for part in found["parts"]) == 76


def test_inspect_lists_arrays_when_asked(model, command):
    assert "res2a_branch2a/kernel" not in command("inspect", model).stdout
    assert "res2a_branch2a/kernel" in command("inspect", model, "--arrays").stdout


def test_inspect_shows_a_sound_file_of_unknown_architecture(tmp_path, command):
    path = checkpoints.legacy_weights(tmp_path / "w.h5", {"conv2d_1/kernel": np.ones((3, 3, 3, 4), np.float32)})
    done = command("inspect", path)
    assert done.code == 0
    assert "not convertible" in done.stdout
    assert json.loads(command("inspect", path, "--json").stdout)["network"] is None


def test_convert_and_back(model, tmp_path, command):
    done = command("convert", model, "-o", tmp_path / "m.safetensors", "--json")
    assert done.code == 0
    assert json.loads(done.stdout)["num_arrays"] == 76
    assert "76 of 76 arrays" in command("convert", model, "-o", tmp_path / "m.safetensors").stdout
    assert "converted safetensors" in command("inspect", tmp_path / "m.safetensors").stdout
    done = command("convert", tmp_path / "m.safetensors", "-o", tmp_path / "back.keras")
    assert done.code == 0
    assert command("inspect", tmp_path / "back.keras").code == 0


def test_flags_reach_the_conversion(tmp_path, command):
    weights = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small("keras-2.2"), weights_only=True)
    options = ["--dialect", "keras-2.1", "--epsilon", "0.002", "--stride-in", "3x3", "--stem-padding", "same"]
    options += ["--pool-padding", "same", "--preprocessing", "tf", "--input-size", "65x33", "--pooling", "max"]
    done = command("convert", weights, "-o", tmp_path / "w.safetensors", "--json", *options)
    found = json.loads(done.stdout)["network"]["architecture"]
    assert found["in_shape"] == [65, 33, 3]
    assert found["conventions"]["epsilon"] == 0.002
    assert found["conventions"]["stride_in"] == "3x3"
    assert found["conventions"]["stem_padding"] == found["conventions"]["pool_padding"] == "same"
    said = json.loads(done.stdout)["preprocessing"]
    assert (said["name"], said["divisor"], said["certainty"]) == ("tf", 127.5, "known")
    assert found["dialect"] == "keras-2.1"


def test_the_loading_of_images_is_kept_and_shown(model, tmp_path, command):
    port = tmp_path / "m.safetensors"
    done = command("convert", model, "-o", port, "--image-loading", "resizing", "--json")
    assert json.loads(done.stdout)["image_loading"] == "resizing"
    assert json.loads(command("inspect", port, "--json").stdout)["image_loading"] == "resizing"
    assert "image loading  resizing: keras.utils.image_dataset_from_directory" in command("inspect", port).stdout
    command("convert", model, "-o", port)
    shown = command("inspect", port).stdout
    assert "image loading  opencv: cv2.imread" in shown
    assert "(guessed; --image-loading says otherwise)" in shown
    done = command("convert", model, "-o", port, "--image-loading", "pillow")
    assert done.code == 2
    assert "'keras', 'opencv', 'resizing'" in done.stderr


def nan_weight(folder: Path) -> Path:
    arrays = checkpoints.arrays_of(checkpoints.small())
    arrays["conv/bias"][0] = np.nan
    return checkpoints.legacy_weights(folder / "nan.h5", arrays)


def without_an_array(folder: Path) -> Path:
    arrays = checkpoints.arrays_of(checkpoints.small())
    del arrays["bn2a_branch1/gamma"]
    return checkpoints.legacy_weights(folder / "missing.h5", arrays)


def with_an_extra_array(folder: Path) -> Path:
    arrays = checkpoints.arrays_of(checkpoints.small())
    arrays["attention/kernel"] = np.ones((3, 3), np.float32)
    return checkpoints.legacy_weights(folder / "extra.h5", arrays)


def truncated(folder: Path) -> Path:
    whole = checkpoints.checkpoint(folder / "whole.h5", checkpoints.small()).read_bytes()
    return written(folder / "truncated.h5", whole[: len(whole) // 2])


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 102967424\n"
BAD_FILES = {
    "an empty file": (lambda folder: written(folder / "a.h5", b""), "empty"),
    "a Git LFS pointer": (lambda folder: written(folder / "a.h5", LFS), "Git LFS"),
    "an HTML page": (lambda folder: written(folder / "a.h5", b"<!DOCTYPE html><html></html>"), "web page"),
    "a truncated file": (truncated, "truncated"),
    "a missing file": (lambda folder: folder / "nowhere.h5", "nowhere.h5"),
    "a folder": (lambda folder: folder, "folder"),
    "a NaN weight": (nan_weight, "conv/bias: 1 of 4 numbers are not finite"),
    "a missing array": (without_an_array, "bn2a_branch1/gamma"),
    "an extra array": (with_an_extra_array, "attention/kernel"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_input_is_one_message_exit_2_and_nothing_written(what, tmp_path, command):
    make, text = BAD_FILES[what]
    source = make(tmp_path)
    before = set(os.listdir(tmp_path))
    done = command("convert", source, "-o", tmp_path / "out.safetensors")
    assert done.code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert set(os.listdir(tmp_path)) == before


BAD_REQUESTS = {
    "a wrong architecture": (["--depth", "50"], "out.safetensors", "Missing"),
    "an unknown depth": (["--depth", "51"], "out.safetensors", "depth must be one of"),
    "an unknown dialect": (["--dialect", "klingon"], "out.safetensors", "klingon"),
    "a wrong size": (["--input-size", "224"], "out.safetensors", "--input-size must be HxW"),
    "output equal to input": ([], "model.h5", "the output is the input"),
    "a missing output folder": ([], "no/out.safetensors", "does not exist"),
    "an output that is a folder": ([], ".", "is a folder"),
}


@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_bad_requests_are_one_message_exit_2_and_nothing_written(what, model, tmp_path, command):
    options, output, text = BAD_REQUESTS[what]
    before = model.read_bytes()
    done = command("convert", model, "-o", tmp_path / output, *options)
    assert done.code == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["model.h5"]
    assert model.read_bytes() == before


def test_unknown_options_and_missing_arguments_exit_2(model, command):
    assert command("convert", model).code == 2
    assert command("convert", model, "-o", "x", "--nonsense").code == 2
    assert command("translate").code == 2


def test_back_to_an_unknown_container_is_refused(model, tmp_path, command):
    command("convert", model, "-o", tmp_path / "m.safetensors")
    done = command("convert", tmp_path / "m.safetensors", "-o", tmp_path / "back.onnx")
    assert done.code == 2
    assert ".keras" in done.stderr


def test_shell_completion_offers_commands_and_dialects():
    assert "convert" in completions("weight-transfer con", 1)
    assert "keras-applications" in completions("weight-transfer convert x --dialect keras-a", 4)


def completions(words: str, position: int) -> str:
    variables = {"_WEIGHT_TRANSFER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    command = [str(Path(sys.executable).parent / "weight-transfer")]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60).stdout


@pytest.mark.keras
def test_verify_through_real_processes_exits_1_at_a_planted_epsilon(tmp_path, keras_side):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", **checkpoints.SMALL)
    port = tmp_path / "port.safetensors"
    assert run("convert", source, "-o", port).returncode == 0
    done = run("verify", source, port, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"]
    assert found["reference"] == "file"
    broken = tmp_path / "broken.safetensors"
    before, after = b'\\"epsilon\\":0.001', b'\\"epsilon\\":1e-05'
    assert before in port.read_bytes()
    broken.write_bytes(port.read_bytes().replace(before, after))
    done = run("verify", source, broken)
    assert done.returncode == 1
    assert "DIFFERS, first at bn_conv1" in done.stdout


@pytest.mark.parametrize("missing", ["keras", "torch", "skimage"])
def test_verify_without_a_framework_says_what_to_install(missing, model):
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)\n"
        f"sys.argv = ['weight-transfer', 'verify', {str(model)!r}]\n"
        "from weight_transfer.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "pip install 'keras-resnet-to-torch[verify]'" in done.stderr
    assert "Traceback" not in done.stderr
