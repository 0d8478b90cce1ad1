"""Trainings of a second: a ResNet a few channels wide, a few images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import image_data
import pytest
import torch

from resnet_torch import create_resnet, save_converted
from resnet_torch.training import train
from resnet_torch.wrappers import with_description
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.training import History, Recipe, RunFolder


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """41 images of three classes: the 32 to learn from are batches of 8, 8, 8 and 8, or of 10, 10, 10 and 2."""
    return image_data.write_npz(tmp_path_factory.mktemp("images") / "images.npz", train=41, size=32)


@pytest.fixture(scope="session")
def narrow(tmp_path_factory) -> Path:
    """A converted file of a ResNet with every kind of layer, dropout in its head, and regularizers."""
    torch.manual_seed(2021)
    sizes = {"stem_filters": 3, "filters": ((3, 3), (4, 4)), "block_counts": (1, 2)}
    path = tmp_path_factory.mktemp("narrow") / "narrow.safetensors"
    l2 = {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.01}}}
    model = create_resnet((32, 32, 3), 3, depth=18, **sizes)
    description = Description(model.network, MADE_HERE, regularizers={"res3a_branch2a": l2, "fc_01": l2})
    save_converted(with_description(model, description), path)
    return path


@pytest.fixture
def recipe(images, narrow, tmp_path) -> Callable[..., Recipe]:
    """``recipe("run", epochs=3)``, of a run folder that there is."""

    def make(name: str = "run", **fields: Any) -> Recipe:
        common = {"data": str(images), "output": str(tmp_path / name), "epochs": 2, "batch_size": 10}
        if not fields.keys() & {"checkpoint", "depth"}:
            common["initial_weights"] = str(narrow)
        made = Recipe(**{**common, **fields})
        RunFolder(Path(made.output)).begin(made, "resnet_torch", {})
        return made

    return make


@pytest.fixture
def trained(recipe) -> Callable[..., tuple[History, Path]]:
    """``trained("run", {"accumulate": 2}, epochs=3)``: the history and the run folder."""

    def run(name: str = "run", settings: Mapping[str, Any] | None = None, **fields: Any) -> tuple[History, Path]:
        made = recipe(name, **fields)
        return train(made, resume=False, **(settings or {})), Path(made.output)

    return run
