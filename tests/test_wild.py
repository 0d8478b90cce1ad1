"""Real checkpoints from public repositories, against what Keras itself gave for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import SHARED
from sweeps import slow_but

from resnet_torch import ImportedModel, ResNet, load_model
from weight_transfer import ArchitectureError, Hints, convert, identify, read_checkpoint, verify

WILD = SHARED / "wild"
CATALOGUE = json.loads((WILD / "catalogue.json").read_text()) if WILD.is_dir() else []
NETWORKS = [entry["file"] for entry in CATALOGUE if entry["role"] == "real"]
WITH_MODEL = [
    name for name in NETWORKS if (WILD / f"{name}.keras.npz").exists() or (WILD / f"{name}.tf_keras.npz").exists()
]

# What a weights-only file needs to be told.
NEEDS = {
    "CS-433__ml-project-2-nuclear-fusion__resnet_weights.h5": {
        "like": WILD / "CS-433__ml-project-2-nuclear-fusion__resnet.keras"
    },
    "resnet50_notop_imagenet_stem_stage2.h5": {"dialect": "keras-2.2"},
}

pytestmark = pytest.mark.skipif(not WILD.is_dir(), reason="needs ../shared/data beside the checkout")


def hints(name: str) -> Hints:
    return Hints(**NEEDS.get(name, {}))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_residual_network_converts(name, tmp_path):
    conversion = convert(WILD / name, tmp_path / "port.safetensors", hints(name))
    with read_checkpoint(WILD / name) as checkpoint:
        assert conversion.num_arrays == len(checkpoint.arrays)
    model = load_model(conversion.output)
    assert isinstance(model, ResNet | ImportedModel)


@pytest.mark.parametrize("name", WITH_MODEL)
def test_predictions_are_those_that_keras_recorded(name):
    model = load_model(WILD / name)
    for keras in ("keras", "tf_keras"):
        path = WILD / f"{name}.{keras}.npz"
        if path.exists():
            with np.load(path) as recorded:
                x, expected = recorded["x0"], recorded["y0"]
            actual = model.predict(torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))).numpy()
            assert actual.shape == expected.shape
            assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_MODEL)
def test_every_layer_equals_keras_in_float64(name, runner):
    found = verify(WILD / name, runner=runner)
    assert found.passed, [row for row in found.rows if not row.passed]
    assert found.reference == "file"
    assert found.worst("float64").errors["float64"] <= 1e-12
    with read_checkpoint(WILD / name) as checkpoint:
        layers = len(identify(checkpoint).network.layers)
    assert len(list(found.of("inference"))) >= layers - 2  # dropouts aside, every layer is compared


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(WITH_MODEL)))
def test_weights_only_files_are_compared_with_their_familys_network_in_keras(name, runner):
    found = verify(WILD / name, hints=hints(name), runner=runner)
    assert found.passed, [row for row in found.rows if not row.passed]
    assert found.reference == "twin"


def raw(images: np.ndarray) -> np.ndarray:
    return images


def standardised(images: np.ndarray) -> np.ndarray:
    return (images - np.array([125.307, 122.95, 113.865])) / np.array([62.9932, 62.0887, 66.7048])


# Keras 3.15's own scores on these images: parity.md.
SCORES = {
    "mlcommons__tiny__pretrainedResnet.h5": (raw, 0.8800),
    "mlcommons__tiny__e2a6032_pretrainedResnet.h5": (raw, 0.8918),
    "Hyperparticle__one-pixel-attack-keras__resnet.h5": (standardised, 0.9331),
}


@pytest.mark.parametrize("name", slow_but(["mlcommons__tiny__pretrainedResnet.h5"], SCORES))
def test_accuracy_on_real_images_is_kerass(name):
    preprocess, expected = SCORES[name]
    with np.load(SHARED / "cifar10_subset.npz") as data:
        images, labels = preprocess(data["test_images"].astype(np.float64)), data["test_labels"]
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32))
    predicted = load_model(WILD / name).predict(x).argmax(1).numpy()
    assert len(labels) == 1017
    assert round(float((predicted == labels.flatten()).mean()), 4) == expected


def test_the_quantised_file_is_refused_by_layer_name(tmp_path):
    with pytest.raises(ArchitectureError) as error:
        convert(WILD / "hls4ml-finn-mlperftiny__CIFAR10__model_best.h5", tmp_path / "port.safetensors")
    assert "layer 'q_conv2d_batchnorm' (QConv2DBatchnorm): this class is not supported" in str(error.value)
    assert not (tmp_path / "port.safetensors").exists()


def test_the_catalogue_is_whole():
    assert len(CATALOGUE) == 19
    assert all(Path(WILD / entry["file"]).exists() for entry in CATALOGUE)
