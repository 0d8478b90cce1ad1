"""Layers of any names: files of real Keras predict in PyTorch as they do in Keras, by every way that a name takes."""

from __future__ import annotations

import keras_named
import numpy as np
import pytest
import torch

from resnet_torch import load_model
from resnet_torch.saving import save_converted
from resnet_torch.standalone import write_standalone
from weight_transfer import convert

PAIRS = (
    ("fc", "fc_activation"),
    ("a.b", "a_b"),
    ("train", "train_"),
    ("in", "class"),
    ("self", "x"),
    ("forward", "network"),
    ("1", "pass"),
)
QUOTED = (("a\"b'c\\d{e}%s;f", "größe - 1"), ("_modules", "c') or open('MARKER', 'w') or ('"))
SLASHES = (("b/conv/pad", "b/conv"), ("b/conv", "b/conv/pad"), ("fc/1", "fc.1"))  # Keras 3 writes none


@pytest.mark.parametrize(
    ("library", "suffix", "pairs"),
    [("keras", ".keras", PAIRS), ("keras", ".h5", PAIRS), ("tf_keras", ".h5", PAIRS + SLASHES)],
)
def test_predicts_as_keras_does(library, suffix, pairs, keras_side, tmp_path):
    predict_as_keras_does(keras_side(keras_named.named, library, tmp_path, suffix, pairs), tmp_path)


def test_names_that_no_keras_writes_and_a_file_can_have(keras_side, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    predict_as_keras_does(keras_side(keras_named.renamed, tmp_path, QUOTED), tmp_path)
    assert not (tmp_path / "MARKER").exists()


def predict_as_keras_does(files, folder):
    for number, (path, images, expected) in enumerate(files):
        x = torch.from_numpy(np.moveaxis(images, -1, 1).copy())
        port = convert(path, folder / f"{number}.safetensors").output
        saved = folder / f"{number}again.safetensors"
        save_converted(load_model(port), saved)
        for one in (path, port, saved):
            np.testing.assert_allclose(load_model(one).predict(x), expected, rtol=0, atol=1e-6, err_msg=str(path))
        write_standalone(port, folder / f"folder{number}")
