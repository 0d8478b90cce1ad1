"""The shared command line, with a side that only notes what it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import types

import numpy as np
import pytest

from weight_transfer.cli.app import main
from weight_transfer.cli.training_options import PACKAGES
from weight_transfer.cli.training_reporter import TerminalReporter
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.errors import TransferError
from weight_transfer.resnet.dialects import design
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.training import (
    EpochRow,
    Evaluation,
    History,
    RunFolder,
    write_history,
)
from weight_transfer.training.reporter import SILENT

ASKED: dict = {}


def train(recipe, *, resume, reporter, **own) -> History:
    ASKED.update(recipe=recipe, resume=resume, reporter=reporter, own=own)
    return History((EpochRow(1, 1.0, 0.5, 2.0, 0.25, 1e-3),))


def evaluate(recipe, checkpoint, *, part, on_progress, **own) -> Evaluation:
    on_progress(1.0)
    ASKED.update(recipe=recipe, checkpoint=checkpoint, part=part, own=own)
    known = Description(resnet_graph(design(18)), MADE_HERE)
    return Evaluation(1.25, np.array([[3, 1], [0, 4]]), ("cat", "dog"), "the test images", known)


@pytest.fixture
def call(monkeypatch, capsys):
    """``call("train", ...)``: exit code, stdout, stderr; `ASKED` says what the side was asked for."""
    for package in PACKAGES.values():
        monkeypatch.setitem(sys.modules, f"{package}.training", sys.modules[__name__])

    def call(*arguments):
        ASKED.clear()
        monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_options_reach_the_side_and_the_run_folder(call, tmp_path):
    code, _, _ = call(
        "train", "--data", "d.npz", "-o", tmp_path / "run", "--size", "97x225", "--depth", "18",
        "--freeze", "stem,stage2", "--optimizer", "SGD(momentum=0.9)", "--no-early-stopping", "--no-reduce-lr",
        "--augment", "--workers", "5", "--framework", "keras",
    )  # fmt: skip
    assert code == 0
    recipe = ASKED["recipe"]
    assert (recipe.size, recipe.depth, recipe.freeze, recipe.augment) == ((97, 225), 18, ("stem", "stage2"), True)
    assert recipe.early_stopping is None
    assert recipe.reduce_lr is None
    own = {"workers": 5, "deterministic": False}
    assert (ASKED["resume"], type(ASKED["reporter"]), ASKED["own"]) == (False, TerminalReporter, own)
    assert RunFolder(tmp_path / "run").read() == (recipe, "resnet_keras", own)


def test_resume_keeps_the_recipe_but_for_what_is_said(call, tmp_path):
    call("train", "--data", "d.npz", "-o", tmp_path / "run", "--epochs", "7", "--seed", "3", "--workers", "5")
    before = ASKED["recipe"]
    code, _, _ = call("train", "--resume", tmp_path / "run", "--epochs", "9")
    assert code == 0
    assert ASKED["resume"]
    assert ASKED["recipe"].to_dict() == {**before.to_dict(), "epochs": 9}
    assert ASKED["own"]["workers"] == 5
    assert RunFolder(tmp_path / "run").read()[0].epochs == 9


def test_json_is_one_object(call, tmp_path):
    code, out, _ = call("train", "--data", "d", "-o", tmp_path / "run", "--json")
    assert (code, ASKED["reporter"]) == (0, SILENT)
    found = json.loads(out)
    assert (found["epochs"], found["stopped_early"], found["best"]["val_loss"]) == (1, True, 2.0)
    _, out, _ = call("evaluate", tmp_path / "a.keras", "--data", "d", "--json")
    assert json.loads(out)["accuracy"] == 7 / 8


def test_evaluate_takes_a_run_or_a_file(call, tmp_path):
    call("train", "--data", "d", "-o", tmp_path / "run", "--size", "64")
    code, _, err = call("evaluate", tmp_path / "run")
    assert (code, "no best checkpoint. Expected best.keras or best.safetensors" in err) == (2, True)
    (tmp_path / "run" / "best.keras").write_bytes(b"")
    code, out, _ = call("evaluate", tmp_path / "run", "--part", "validation", "--workers", "3")
    assert code == 0
    assert (ASKED["checkpoint"], ASKED["part"]) == (tmp_path / "run" / "best.keras", "validation")
    assert (ASKED["recipe"].size, ASKED["own"]) == ((64, 64), {"workers": 3, "accelerator": "auto"})
    for word in ("cat", "0.750", "dog", "loss 1.2500, accuracy 0.8750", "8 images"):
        assert word in out
    call("evaluate", tmp_path / "some.h5", "--data", "other", "--size", "96")
    assert (ASKED["recipe"].data, ASKED["recipe"].size, ASKED["checkpoint"].name) == ("other", (96, 96), "some.h5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "d"], "--output must be given"),
        ([], "--data and --output must be given"),
        (["--data", "d", "-o", "RUN", "--optimizer", "adamm"], "No optimizer 'adamm'"),
        (["--data", "d", "-o", "RUN", "--epochs", "0"], "epochs must be at least 1"),
        (["--resume", "RUN"], "not a run's recipe"),
    ],
)
def test_a_persons_mistake_is_a_message_before_any_work(call, tmp_path, arguments, message):
    code, _, err = call("train", *(str(tmp_path / "run") if word == "RUN" else word for word in arguments))
    assert code == 2
    assert message in err
    assert not ASKED
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten_and_not_gone_on_with_by_the_other_side(call, tmp_path):
    call("train", "--data", "d", "-o", tmp_path / "run")
    assert call("train", "--data", "e", "-o", tmp_path / "run")[0] == 0  # nothing was done in it yet
    write_history(RunFolder(tmp_path / "run").history, History((EpochRow(1, 1.0, 0.5, 2.0, 0.25, 1e-3),)))
    code, _, err = call("train", "--data", "d", "-o", tmp_path / "run")
    assert (code, "already holds a run. Go on with it by --resume" in err) == (2, True)
    recipe, _, _ = RunFolder(tmp_path / "run").read()
    RunFolder(tmp_path / "run").write(recipe, "resnet_keras", {"workers": 4})
    code, _, err = call("train", "--resume", tmp_path / "run", "--framework", "torch")
    assert (code, "is a run of resnet_keras" in err) == (2, True)
    assert call("train", "--resume", tmp_path / "run")[0] == 0
    assert RunFolder(tmp_path / "run").read()[1:] == ("resnet_keras", {"workers": 4, "deterministic": False})


def test_what_one_framework_alone_has_is_refused_of_the_other(call, tmp_path):
    arguments = ["train", "--data", "d", "-o", tmp_path / "run", "--precision", "bf16"]
    code, _, err = call(*arguments, "--framework", "keras")
    assert (code, "--precision does not apply: it is an option of PyTorch, and Keras computes" in err) == (2, True)
    assert not (tmp_path / "run").exists()
    assert call(*arguments)[0] == 0
    assert ASKED["own"]["precision"] == "bf16"
    assert RunFolder(tmp_path / "run").read()[1] == "resnet_torch"


@pytest.mark.parametrize("before", [False, True])
def test_a_refused_training_leaves_no_folder_that_it_made(call, tmp_path, monkeypatch, before):
    folder = RunFolder(tmp_path / "run")

    def refuse(recipe, **_):
        folder.summary.write_text("layers")
        if "begun" in recipe.data:
            write_history(folder.history, History())
        raise TransferError("of other classes")

    if before:
        folder.path.mkdir()
    monkeypatch.setitem(sys.modules, "resnet_torch.training", types.SimpleNamespace(train=refuse))
    code, _, err = call("train", "--data", "d", "-o", folder.path)
    assert (code, "of other classes" in err, folder.path.exists()) == (2, True, before)
    assert call("train", "--data", "begun", "-o", folder.path)[0] == 2
    assert {path.name for path in folder.path.iterdir()} == {"recipe.json", "summary.txt", "history.csv"}


def test_other_processes_of_a_run_leave_the_folder_alone(call, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    code, out, _ = call("train", "--data", "d", "-o", tmp_path / "run")
    assert (code, out) == (0, "")
    assert ASKED["recipe"].data == "d"
    assert not (tmp_path / "run").exists()


def test_curves_of_runs(call, tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n1,1,1,1,1,1\n2,1,1,1,1,1\n")
    code, out, _ = call("curves", f"mine={path}", path, "-o", tmp_path / "a.png")
    assert (code, out) == (0, f"wrote {tmp_path / 'a.png'}\n")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_help_loads_no_framework():
    code = (
        "import sys, runpy; sys.argv = ['x', 'train', '--help']\n"
        "try: runpy.run_module('resnet_keras', run_name='__main__')\n"
        "except SystemExit: print([name for name in ('keras', 'tensorflow', 'torch', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().endswith("[]"), done.stderr
    assert "--early-stopping-patien" in done.stdout
