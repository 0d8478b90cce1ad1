"""The experiment on residual learning: its networks are what it says, and it runs from images to a picture."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PAGE = EXAMPLES.parent / "docs" / "residual-learning.md"


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import residual_learning_networks

    return residual_learning_networks


@pytest.mark.parametrize("depth", [8, 20])
def test_plain_is_residual_without_its_shortcuts(networks, depth):
    torch.manual_seed(0)
    plain, residual = (networks.network(kind, depth, 4) for kind in ("plain", "residual"))
    weights = {name: value.shape for name, value in residual.state_dict().items() if ".shortcut." not in name}
    assert {name: value.shape for name, value in plain.state_dict().items()} == weights
    layers = [m for m in plain.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == depth
    assert plain(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_identity_layers_change_nothing(networks):
    torch.manual_seed(0)
    shallow = networks.network("plain", 8, 4)
    deep = networks.with_identity_layers(shallow, 20, 4)
    x = torch.randn(4, 3, 16, 16)
    assert len([m for m in deep.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]) == 20
    assert torch.equal(deep(x), shallow(x))
    assert torch.equal(deep.eval()(x), shallow.eval()(x))
    networks.scaled(deep.stage3[-1], 0.1)
    assert not torch.equal(deep(x), shallow(x))


def test_the_pages_python_prints_what_it_says(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == code.rpartition("# ")[2]


@pytest.mark.slow
def test_it_runs_from_images_to_a_picture(tmp_path):
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (96, 32, 32, 3), np.uint8), random.integers(0, 10, 96)
    np.savez(tmp_path / "images.npz", train_images=pixels, train_labels=labels)
    tiny = ["--depths", "8", "14", "--images", "64", "--size", "8", "--width", "4", "--epochs", "2"]
    command = [sys.executable, "-W", "error", str(EXAMPLES / "residual_learning.py"), "--data", "images.npz", *tiny]
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    networks = [("plain", 8), ("residual", 8), ("plain", 14), ("residual", 14)]
    assert [(run["kind"], run["depth"]) for run in found["runs"]] == networks
    for trained in found["runs"]:
        assert all(len(trained[key]) == trained["depth"] - 1 for key in ("gradients_at_start", "gradients_at_end"))
        assert min(trained["gradients_at_start"]) > 0
    assert found["identity_layers"]["max_difference"] == 0
    assert found["block_with_zero_residual"] == {"max_difference": 0, "max_gradient_difference": 0}
    behind = found["gradient_through_a_stack"]
    assert set(behind["residual"]["0.0"]) == {1.0}
    assert behind["plain"]["0.0"] == [1.0] + [0.0] * 24
    assert 0 < behind["plain"]["0.1"][-1] < 1e-20
    assert (tmp_path / "residual_learning.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "residual_learning.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], int(row["depth"]), int(row["epoch"])) for row in rows] == [
        (*network, epoch) for network in networks for epoch in (1, 2)
    ]
    assert float(rows[-1]["training_error"]) == found["runs"][-1]["errors"][-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: none.npz: does not exist"),
        (["--depths", "8", "9"], "must be two of 8, 14, 20"),
        (["--depths", "14", "8"], "must be two of 8, 14, 20"),
        (["--epochs", "0"], "must be a whole number from 1"),
    ],
)
@pytest.mark.usefixtures("networks")
def test_a_persons_mistake_is_a_message_and_exit_code_2(arguments, message, monkeypatch, capsys):
    import residual_learning

    monkeypatch.setattr(sys, "argv", ["residual_learning.py", "--data", "none.npz", *arguments])
    with pytest.raises(SystemExit, match="2"):
        residual_learning.main()
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("networks")
def test_images_of_several_sizes_are_refused(monkeypatch, capsys, tmp_path):
    import cv2
    import residual_learning

    for size in (32, 48):
        folder = tmp_path / "train" / f"class{size}"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "image.png"), np.zeros((size, size, 3), np.uint8))
    monkeypatch.setattr(sys, "argv", ["residual_learning.py", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        residual_learning.main()
    assert "images of several sizes" in capsys.readouterr().err
