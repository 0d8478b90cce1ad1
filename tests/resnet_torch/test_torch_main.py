"""``python -m resnet_torch``, as a person runs it."""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys

import pytest


@pytest.fixture(autouse=True)
def not_yet_imported(monkeypatch):
    """`runpy` warns of a module that a test of the same process has imported."""
    monkeypatch.delitem(sys.modules, "resnet_torch.__main__", raising=False)


def test_a_persons_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["resnet_torch", "compare", "--input-size", "224"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("resnet_torch", run_name="__main__")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error: --input-size must be HxW, such as 224x224. Received: '224'\n"


def test_help_needs_neither_torch_nor_lightning():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['lightning'] = None; sys.argv = ['x', 'train', '--help']; "
        "import runpy; runpy.run_module('resnet_torch', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--checkpoint-every-steps" in done.stdout


def test_a_missing_extra_is_named(monkeypatch, tmp_path, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lightning" else found(name))
    monkeypatch.setattr(sys, "argv", ["resnet_torch", "train", "--data", "x.npz", "-o", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("resnet_torch", run_name="__main__")
    assert capsys.readouterr().err == (
        "error: training needs what is not installed: lightning. "
        "Install it by: pip install 'keras-resnet-to-torch[train]'\n"
    )


def test_an_unknown_optimizer_is_found_before_anything_is_loaded(monkeypatch, tmp_path, capsys):
    arguments = ["--data", "x.npz", "-o", str(tmp_path / "run"), "--optimizer", "Adan"]
    monkeypatch.setattr(sys, "argv", ["resnet_torch", "train", *arguments])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("resnet_torch", run_name="__main__")
    assert capsys.readouterr().err.startswith("error: No optimizer 'Adan' (nearest: adam). Known:")
    assert not (tmp_path / "run").exists()
