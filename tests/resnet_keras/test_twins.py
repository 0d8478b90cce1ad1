"""The twins read as twins: the same files, functions and arguments, and the same beginnings."""

from __future__ import annotations

import ast
from pathlib import Path

import keras_resnets
import numpy as np
import pytest

from resnet_torch import create_resnet

ROOT = Path(__file__).resolve().parents[2]
TWIN_FILES = ("stem", "blocks", "stages", "head", "resnet")


def functions(package: str, name: str) -> dict[str, list[str]]:
    """Public functions of a file with their argument names, in order."""
    tree = ast.parse((ROOT / package / f"{name}.py").read_text())
    return {
        node.name: [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


@pytest.mark.parametrize("name", TWIN_FILES)
def test_files_hold_the_same_functions_with_the_same_arguments(name):
    ours, theirs = functions("resnet_torch", name), functions("resnet_keras", name)
    shared = [function for function in theirs if function != "resnet"]  # in torch it is the class ResNet
    assert [function for function in ours if function in theirs] == shared
    for function in shared:
        expected = ["in_channels" if argument == "x" else argument for argument in theirs[function]]
        actual = [argument for argument in ours[function] if argument != "moving_variance"]  # torch's alone
        assert actual == expected, function


@pytest.mark.parametrize("dialect", ["tutorial", "keras-applications"])
def test_weights_start_as_keras_starts_them(dialect, keras_side):
    arguments = {"in_shape": (64, 64, 3), "depth": 50, "dialect": dialect}
    theirs = keras_side(keras_resnets.initial_weights, **arguments)
    model = create_resnet(**arguments)
    ours = {f"{name.split('.')[-2]}/{name.split('.')[-1]}": value.numpy() for name, value in model.state_dict().items()}
    for path, kernel in theirs.items():
        layer, role = path.split("/")[-2:]
        if role != "kernel" or kernel.size < 20_000:
            continue
        mine = ours[f"{layer}/weight"]
        assert mine.size == kernel.size
        assert abs(mine.std() / kernel.std() - 1) < 0.02, path
        assert abs(np.abs(mine).max() / np.abs(kernel).max() - 1) < 0.05, path  # truncated alike
    assert all((value == 0).all() for path, value in theirs.items() if path.endswith(("bias", "beta")))
    assert all((value == 0).all() for name, value in ours.items() if name.endswith("bias"))
