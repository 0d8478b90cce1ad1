"""No option is ignored: each one acts in every case, or there is a case in which it is refused by name."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import checkpoints
import handmade_graphs
import numpy as np
import pytest
import rich_click as click
from commands import commands
from PIL import Image
from sides import no_work

from resnet_keras.__main__ import app as keras_app
from resnet_torch.__main__ import app as torch_app
from weight_transfer import Hints, OptionError, TransferError, convert, identify, read_checkpoint
from weight_transfer.cli import options
from weight_transfer.cli.app import app
from weight_transfer.cli.running import run
from weight_transfer.conversion.hint_checks import check_heeded
from weight_transfer.preprocessing import PRESETS
from weight_transfer.training import RunFolder
from weight_transfer.training.recipe import Recipe

ACTS = "acts whatever the case"
HINT = "is about a file that does not show it: `identify` refuses it where the file does"

# A converted file's own facts.
OF_CONVERTED = {
    "--as": "graph", "--dialect": "tutorial", "--depth": "50", "--input-size": "64x64", "--pooling": "avg",
    "--family": "cifar-v1", "--config": "m.json", "--like": "m.keras", "--pair-by": "order", "--epsilon": "0.1",
    "--stride-in": "1x1", "--stem-padding": "same", "--pool-padding": "same", "--preprocessing": "tf",
    "--scale": "1/255", "--mean": "0.5", "--std": "0.5", "--channel-order": "RGB", "--image-loading": "keras",
    "--crop": "aspect",
}  # fmt: skip
IMAGES = ("--preprocessing", "--scale", "--mean", "--std", "--channel-order", "--image-loading", "--crop")
CONVERTED = "does not apply: m.safetensors is a converted file, which says itself"
RECORDED = "does not apply: the recording r.safetensors holds the images"
PLATEAU = [f"--reduce-lr-{name}" for name in ("factor", "patience", "min-delta", "cooldown", "min")]
HINTS = dict.fromkeys(OF_CONVERTED, HINT)
SPLIT = ("--split-seed", "--validation-share")
TRAIN = ["train", "--data", "d", "-o", "run"]
VERIFY = ["verify", "m.keras", "--reference", "r.safetensors"]
RESUME = ["train", "--resume", "begun"]
OF_PYTORCH = "it is an option of PyTorch, and Keras computes"

Case = tuple[list[str], str]
TABLE: dict[str, dict[str, str | Case]] = {
    "inspect": {
        "--arrays": ACTS,
        "--json": ACTS,
        "--optimizer": (["inspect", "m.keras", "--optimizer", "Adam"], "m.keras holds no state of an optimizer"),
        **{flag: (["inspect", "m.safetensors", flag, value], CONVERTED) for flag, value in OF_CONVERTED.items()},
    },
    "convert": {
        "--output": ACTS,
        "--to-folder": ACTS,
        "--json": ACTS,
        "--with-optimizer": (["convert", "m.keras", "--to-folder", "f", "--with-optimizer"], "writes a file beside"),
        "--optimizer": (["convert", "m.keras", "-o", "o.safetensors", "--optimizer", "Adam"], "with --with-optimizer"),
        "--weights-only": (["convert", "m.keras", "-o", "o.safetensors", "--weights-only"], "the way back to Keras"),
        "--schema": (["convert", "m.keras", "-o", "o.safetensors", "--schema", "keras2"], "the way back to Keras"),
        "--unfreeze": (["convert", "m.safetensors", "--to-folder", "f", "--unfreeze"], "it is about what -o names"),
        **{
            flag: (["convert", "m.safetensors", "-o", "o.keras", flag, value], CONVERTED)
            for flag, value in OF_CONVERTED.items()
        },
    },
    "predict": {
        **dict.fromkeys(("--top", "--classes", "--device", "--json", "--input-size", *IMAGES), ACTS),
        **{
            flag: (["predict", "m.safetensors", "i.png", flag, value], CONVERTED)
            for flag, value in OF_CONVERTED.items()
            if flag not in (*IMAGES, "--input-size")
        },
    },
    "verify": {
        **dict.fromkeys(("--reference", "--report", "--certificate", "--junit", "--inference-only"), ACTS),
        **dict.fromkeys(("--sensitivity", "--layers", "--device", "--quick", "--json"), ACTS),
        **{flag: value for flag, value in HINTS.items() if flag != "--crop"},
        "--photographs": ([*VERIFY, "--photographs", "1"], RECORDED),
        "--image-loading": ([*VERIFY, "--image-loading", "keras"], RECORDED),
    },
    "verify-training": {
        **dict.fromkeys(("--optimizer", "--learning-rate", "--schedule", "--steps", "--batch-size", "--data"), ACTS),
        **dict.fromkeys(("--port-optimizer", "--moving-variance", "--curves", "--json"), ACTS),
        **{flag: value for flag, value in HINTS.items() if flag not in ("--crop", "--image-loading")},
    },
    "record": {
        **dict.fromkeys(("--output", "--whole", "--photographs", "--quick", "--json"), ACTS),
        **{flag: value for flag, value in HINTS.items() if flag != "--crop"},
    },
    "sensitivity": {
        **dict.fromkeys(("--reference", "--json"), ACTS),
        **{flag: value for flag, value in HINTS.items() if flag != "--crop"},
        "--image-loading": (
            ["sensitivity", "m.keras", "--reference", "r.safetensors", "--image-loading", "keras"], RECORDED,
        ),
    },
    "check": dict.fromkeys(("--model", "--require", "--json"), ACTS),
    "demo": dict.fromkeys(("--folder", "--depth", "--seed", "--json"), ACTS),
    "summary": {
        **dict.fromkeys(("--depth", "--input-size", "--classes", "--json"), ACTS),
        "--stride-in": (["summary", "--depth", "18", "--stride-in", "3x3"], "it is about bottlenecks"),
    },
    "curves": {"--output": ACTS},
    "evaluate": {
        **dict.fromkeys(("--data", "--size", "--images", "--batch-size", "--dtype", "--part", "--json", *IMAGES), ACTS),
        **dict.fromkeys(("--framework", "--workers"), ACTS),
        "--accelerator": (
            ["evaluate", "m.keras", "--data", "d", "--framework", "keras", "--accelerator", "cpu"], OF_PYTORCH,
        ),
        "--classes": (["evaluate", "m.keras", "--data", "d.npz", "--classes", "3"], "d.npz says itself which classes"),
        **{
            flag: (["evaluate", "m.keras", "--data", "d", "--part", "test", flag, "0.5"], "test images are not split")
            for flag in SPLIT[1:]
        },
        "--split-seed": (["evaluate", "begun", "--split-seed", "5"], "the run keeps its split in begun"),
    },
    "train": {
        **dict.fromkeys(("--data", "--size", "--images", *IMAGES, "--augment", "--order", "--write-order"), ACTS),
        **dict.fromkeys(("--freeze", "--epochs", "--batch-size", "--label-smoothing", "--seed", "--steps"), ACTS),
        **dict.fromkeys(("--dtype", "--monitor", "--no-reduce-lr", "--no-early-stopping", "--log-steps"), ACTS),
        **dict.fromkeys(("--resume", "--json", "--workers", "--deterministic"), ACTS),
        "--framework": ([*RESUME, "--framework", "keras"], "begun is a run of resnet_torch"),
        **{
            flag: ([*TRAIN, "--framework", "keras", flag, *values], OF_PYTORCH)
            for flag, *values in (
                ("--precision", "bf16"), ("--accumulate", "2"), ("--compile",), ("--channels-last",),
                ("--devices", "2"), ("--nodes", "2"), ("--accelerator", "cpu"), ("--sync-batch-norm",),
                ("--checkpoint-every-steps", "5"),
            )
        },
        "--dropout": ACTS,  # `starting_point` refuses it of a head that is the file's own
        "--depth": ([*TRAIN, "--initial-weights", "m.keras", "--depth", "18"], "the network is that of m.keras"),
        "--classes": (["train", "--data", "d.npz", "-o", "run", "--classes", "3"], "d.npz says itself which classes"),
        "--split-seed": (["train", "--data", "d.npz", "-o", "run", "--split-seed", "1"], "a validation part"),
        "--validation-share": ([*RESUME, "--validation-share", "0.5"], "the run keeps its split in begun"),
        "--output": ([*RESUME, "-o", "other"], "--resume goes on in begun"),
        "--checkpoint": ([*RESUME, "--checkpoint", "m.keras"], "--resume goes on with the network of begun"),
        "--initial-weights": ([*RESUME, "--initial-weights", "m.keras"], "--resume goes on with the network of begun"),
        "--new-head": ([*TRAIN, "--new-head"], "new_head needs a checkpoint"),
        "--unfreeze": ([*TRAIN, "--unfreeze"], "unfreeze needs a checkpoint"),
        "--unfreeze-at": ([*TRAIN, "--unfreeze-at", "2"], "unfreeze_at needs something frozen"),
        "--unfreeze-learning-rate": ([*TRAIN, "--unfreeze-learning-rate", "0.1"], "nothing is unfrozen on the way"),
        "--optimizer": ([*RESUME, "--optimizer", "SGD"], "--resume goes on with the optimizer of begun"),
        "--learning-rate": ([*RESUME, "--learning-rate", "0.1"], "--resume goes on with the optimizer of begun"),
        "--schedule": ([*RESUME, "--schedule", "CosineDecay(decay_steps=9)"], "goes on with the optimizer of begun"),
        **{flag: ([*TRAIN, "--no-reduce-lr", flag, "1"], "leaves ReduceLROnPlateau out") for flag in PLATEAU},
        "--reduce-lr-factor": (
            [*TRAIN, "--schedule", "CosineDecay(decay_steps=9)", "--reduce-lr-factor", "0.5"],
            "--reduce-lr-factor does not apply: the schedule CosineDecay(decay_steps=9) sets the learning rate",
        ),
        "--early-stopping-patience": (
            [*TRAIN, "--no-early-stopping", "--early-stopping-patience", "3"], "leaves EarlyStopping out",
        ),
        "--restore-best-weights": ([*TRAIN, "--no-early-stopping", "--restore-best-weights"], "EarlyStopping out"),
    },
}  # fmt: skip


COMMANDS = commands(app)


def flags(command: click.Command) -> set[str]:
    return {max(one.opts, key=len) for one in command.params if isinstance(one, click.Option)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that the cases name, made without Keras."""
    found = tmp_path_factory.mktemp("applicability")
    checkpoints.checkpoint(found / "m.keras", checkpoints.small())
    convert(found / "m.keras", found / "m.safetensors")
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    parts = {f"{kind}_{part}": a for part in ("train", "val", "test") for kind, a in (("x", images), ("y", labels))}
    np.savez(found / "d.npz", **parts)
    return found


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """``refused(app, [...])``: what a command line is told that ends with 2 before any work."""
    monkeypatch.chdir(folder)

    def call(group, arguments):
        monkeypatch.setattr(sys, "argv", ["x", *arguments])
        with pytest.raises(SystemExit) as ended:
            run(group, "x", no_work)
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        return " ".join(said.split())

    return call


@pytest.fixture
def begun(folder):
    """A run folder with a last checkpoint and a split."""
    run_folder = RunFolder(folder / "begun")
    if not run_folder.path.exists():
        run_folder.begin(Recipe("d", str(run_folder.path)), "resnet_torch", {})
        for file in (run_folder.last("resnet_torch"), run_folder.split, run_folder.path / "best.safetensors"):
            file.write_bytes(b"")


def test_the_table_has_every_option_of_every_command():
    assert set(TABLE) == set(COMMANDS)
    for name, command in COMMANDS.items():
        assert set(TABLE[name]) == flags(command), name
    for of_a_framework in (torch_app, keras_app):
        for name, command in commands(of_a_framework).items():
            assert flags(command) <= set(TABLE["summary" if name == "compare" else name])
    assert set(OF_CONVERTED) == flags(click.command("x")(options.about_the_file(lambda **said: None)))


CASES = [
    pytest.param(name, flag, *case, id=f"{name} {flag}")
    for name, found in TABLE.items()
    for flag, case in found.items()
    if not isinstance(case, str)
]


@pytest.mark.parametrize(("name", "flag", "arguments", "message"), CASES)
def test_an_option_that_says_nothing_is_refused_by_name(name, flag, arguments, message, refused, begun, folder):
    before = sorted(folder.rglob("*"))
    said = refused(app, arguments)
    assert message in said
    assert flag in said or flag.removeprefix("--").replace("-", "_") in said
    assert sorted(folder.rglob("*")) == before


GRAPH, WHOLE = {"import_as": "graph"}, {}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"dialect": "tutorial", **GRAPH}, "--dialect tutorial: the network is its own graph"),
        ({"depth": 50, **GRAPH}, "--depth 50: the network is its own graph"),
        ({"in_shape": (64, 64), **GRAPH}, "--input-size 64x64: the network is its own graph"),
        ({"in_shape": (64, 64), **WHOLE}, "--input-size 64x64: its model has 33x33"),
        ({"pooling": "max", **GRAPH}, "--pooling max: its model has a head of its own, or none"),
        ({"pooling": "max", **WHOLE}, "--pooling max: its model has avg"),
        ({"conventions": {"epsilon": 0.1}, **GRAPH}, "--epsilon 0.1: the network is its own graph"),
        ({"conventions": {"epsilon": 0.1}, **WHOLE}, "--epsilon 0.1: its model has "),
        ({"conventions": {"stride_in": "3x3"}, **WHOLE}, "--stride-in 3x3: its model has 1x1"),
        ({"conventions": {"stem_padding": "same"}, **WHOLE}, "--stem-padding same: its model has zeros"),
        ({"conventions": {"pool_padding": "none"}, **WHOLE}, "--pool-padding none: its model has zeros"),
        ({"family": "cifar-v1", **WHOLE}, "--family cifar-v1: the model's description says what it is"),
        ({"like": "m.keras", **WHOLE}, "--like m.keras: the file carries the description of its model itself"),
        ({"config": "m.json", **WHOLE}, "--config m.json: the file carries the description of its model itself"),
        ({"pair_by": "order", **WHOLE}, "--pair-by is about a model beside the weights"),
    ],
)
def test_what_a_person_says_of_a_file_that_shows_otherwise_is_refused(said, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with read_checkpoint("m.keras") as opened:
        Path("m.json").write_text(json.dumps(opened.config))
        with pytest.raises(TransferError, match=re.escape(message)):
            identify(opened, Hints(**said))


@pytest.mark.parametrize(
    "said", [{"preprocessing": PRESETS["tf"]}, {"image_loading": "keras"}, {"crop": "aspect"}], ids=str
)
def test_what_a_person_says_of_images_of_a_network_that_takes_none(said):
    rows = handmade_graphs.network(handmade_graphs.dense("d", "image", 2), outputs=[["d", 0, 0]], shape=(3,))
    with pytest.raises(OptionError, match="the network does not take one image"):
        check_heeded("rows.keras", Hints(**said), rows, has_own_model=True, has_model=True)


def test_what_a_file_shows_too_may_be_said(folder):
    with read_checkpoint(folder / "m.keras") as opened:
        found = identify(opened).network
        agreeing = Hints(
            dialect="tutorial",
            in_shape=(33, 33),
            pooling="avg",
            conventions={"epsilon": found.resnet.conventions.epsilon},
        )
        assert identify(opened, agreeing).network == found


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "m.keras"], ["convert", "m.keras", "-o", "o.safetensors"], ["verify", "m.keras"],
        ["record", "m.keras", "-o", "o.safetensors"], ["sensitivity", "m.keras"], ["verify-training", "m.keras"],
        ["predict", "m.keras", "i.png"],
    ],
)  # fmt: skip
def test_every_command_refuses_a_hint_that_its_file_contradicts(arguments, refused, folder):
    Image.new("RGB", (8, 8)).save(folder / "i.png")
    assert "m.keras: options that do not apply to it: --epsilon 0.1: its model has" in refused(
        app, [*arguments, "--epsilon", "0.1"]
    )
