"""Curves: what is drawn of one run, of seeds, of two frameworks."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from PIL import Image

from weight_transfer.errors import TransferError
from weight_transfer.training import Recipe, RunFolder
from weight_transfer.training.curves import COLOURS, Curve, draw_curves, read_curve
from weight_transfer.training.history import EpochRow, History, write_history


def history(epochs: int = 6, seed: int = 0, drop: bool = True) -> History:
    random = np.random.default_rng(seed)
    noise = random.normal(0, 0.05, (epochs, 2)).tolist()
    rows = [
        EpochRow(
            n,
            2 / n + a,
            1 - 0.9 / n,
            2 / n + b + (60 if n == 1 else 0),
            1 - 1 / (n + 0.5),
            2e-4 if drop and n > 3 else 1e-3,
        )
        for n, (a, b) in enumerate(noise, 1)
    ]
    return History(tuple(rows))


def svg(path, curves) -> str:
    draw_curves(curves, path)
    return path.read_text()


def texts(content: str) -> str:
    return " ".join(re.findall(r"<!-- (.*?) -->", content))


def test_one_run(tmp_path):
    content = svg(tmp_path / "a.svg", [Curve("Keras", history())])
    for word in ("loss", "accuracy", "learning rate", "epoch", "validation", "training", "cut off"):
        assert word in texts(content), word
    assert COLOURS["Keras"].lower() in content
    assert COLOURS["PyTorch"].lower() not in content


def test_two_frameworks_in_two_colours_seeds_as_a_band(tmp_path):
    curves = [Curve(label, history(6 - seed, seed)) for label in ("Keras", "PyTorch") for seed in range(3)]
    content = svg(tmp_path / "a.svg", curves)
    assert "Keras, 3 seeds: mean and range" in texts(content)
    for colour in COLOURS.values():
        assert content.count(f"fill: {colour.lower()}; fill-opacity") >= 4  # training and validation, both panels
    assert "fill-opacity" not in svg(tmp_path / "b.svg", curves[:1]).replace('fill-opacity="0', "")


def test_a_constant_rate_takes_no_room(tmp_path):
    assert "learning rate" not in texts(svg(tmp_path / "a.svg", [Curve("Keras", history(drop=False))]))


def test_a_picture_has_a_light_background_and_ink(tmp_path):
    draw_curves([Curve("Keras", history())], tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    assert (pixels[0, 0] == 255).all()
    assert ((abs(pixels - [0xD5, 0x5E, 0x00]) < 12).all(axis=-1)).sum() > 200


def test_epochs_without_numbers_are_drawn_as_gaps(tmp_path):
    rows = [EpochRow(1, math.nan, 0.1, None, None, 1e-3), EpochRow(2, 1.0, 0.2, None, None, 1e-3)]
    draw_curves([Curve("Keras", History(tuple(rows)))], tmp_path / "a.png")
    draw_curves([Curve("Keras", History(tuple(rows[:1])))], tmp_path / "b.png")


def test_labels_come_from_the_run_or_from_a_person(tmp_path):
    run = RunFolder(tmp_path / "x=y")
    run.begin(Recipe(data="d", output=str(run.path)), "resnet_torch", {})
    write_history(run.history, history())
    assert read_curve(str(run.path)).label == "PyTorch"
    assert read_curve(str(run.history)).label == "PyTorch"
    assert read_curve(f"mine={run.path}").label == "mine"
    (tmp_path / "alone").mkdir()
    write_history(tmp_path / "alone" / "history.csv", history())
    assert read_curve(str(tmp_path / "alone")).label == "alone"


def test_refusals(tmp_path):
    with pytest.raises(TransferError, match=r"ends in one of .png, .svg, .pdf"):
        draw_curves([Curve("Keras", history())], tmp_path / "a.txt")
    with pytest.raises(TransferError, match="there is no epoch to draw"):
        draw_curves([Curve("Keras", History())], tmp_path / "a.png")
