"""The twins' names are there as if they had been imported, and no framework is loaded before one is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_torch

ROOT = Path(__file__).resolve().parents[2]


PACKAGES = ("weight_transfer", "resnet_torch", "resnet_keras")


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_and_python_are_told_the_same(package):
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        node.module.partition(".")[2]: tuple(alias.name for alias in node.names)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
    }
    call = branch.orelse[0].value
    assert ast.literal_eval(call.args[1]) == told
    listed = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(name for names in told.values() for name in names)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_that_of_a_submodule(package):
    # Importing the submodule would put the module where the name is expected.
    submodules = {path.stem for path in (ROOT / package).iterdir()}
    assert not submodules & set(importlib.import_module(package).__all__)


def test_names_can_be_replaced_and_are_listed(monkeypatch):
    monkeypatch.setattr(resnet_torch, "load_model", "another")
    assert resnet_torch.load_model == "another"
    monkeypatch.undo()
    assert resnet_torch.load_model.__module__ == "resnet_torch.loading"
    assert "ResNet" in dir(resnet_torch)
    with pytest.raises(AttributeError, match="no_such_name"):
        resnet_torch.no_such_name  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_no_framework_before_a_name_is_used(package):
    code = f"import sys, {package}; print([n for n in ('torch', 'keras', 'tensorflow') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
