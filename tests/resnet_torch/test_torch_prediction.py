"""What a network says of image files is what Keras says of them."""

from __future__ import annotations

import dataclasses

import checkpoints
import image_files
import keras_images
import keras_resnets
import numpy as np
import pytest
import torch

from resnet_torch import load_model
from resnet_torch.prediction import imagenet_names, predict, predict_images
from weight_transfer import TransferError, convert
from weight_transfer.parity.protocol import PredictionRequest
from weight_transfer.preprocessing import preset


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return image_files.write_image_files(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("loading", ["keras", "opencv", "resizing"])
def test_from_the_file_to_the_probabilities_as_in_keras(loading, files, tmp_path, keras_side):
    path = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", **checkpoints.SMALL)
    photos = [file for file in files if file.suffix == ".jpg"]
    expected = keras_side(keras_images.predicted, path, photos, (33, 33), loading, "caffe")
    found = list(predict_images(load_model(path), photos, loading=loading, top=10))
    assert [prediction.path for prediction in found] == photos
    for prediction, outputs in zip(found, expected, strict=True):
        assert prediction.size == (33, 33)
        assert prediction.total == pytest.approx(1, abs=1e-6)
        actual = np.zeros(10)
        for guess in prediction.top:
            actual[guess.number] = guess.output
        np.testing.assert_allclose(actual, outputs, rtol=0, atol=1e-5)
        assert [guess.output for guess in prediction.top] == sorted(actual, reverse=True)


def test_what_is_said_overrides_what_is_known(files, small):
    model = small(in_shape=(64, 64, 3)).eval()
    by_name = {file.name: file for file in files}

    def outputs(**said):
        (prediction,) = predict_images(model, [by_name["rgb.png"]], loading="keras", top=5, **said)
        return prediction.size, {guess.number: guess.output for guess in prediction.top}

    assert outputs()[0] == (64, 64)
    assert outputs(size=(96, 80))[0] == (96, 80)
    assert outputs() == outputs(preprocessing=preset("caffe")) != outputs(preprocessing=preset("tf"))


def test_a_free_size_takes_images_at_their_own(files, small):
    model = small(in_shape=(None, None, 3)).eval()
    photos = [file for file in files if file.name in ("rgb.png", "exif6.jpg")]
    sizes = [prediction.size for prediction in predict_images(model, photos, loading="opencv")]
    assert sizes == [(255, 127), (257, 333)]


def test_equal_outputs_are_named_in_the_order_of_the_classes(files, small):
    model = small().eval()
    for parameter in model.head.parameters():
        torch.nn.init.zeros_(parameter)
    (prediction,) = predict_images(model, files[:1], loading="keras", top=3)
    assert [guess.number for guess in prediction.top] == [0, 1, 2]


def test_refusals_are_in_words(files, small):
    model = small().eval()
    model.head.fc_final.bias.data[0] = torch.nan
    with pytest.raises(TransferError, match=r"photo0_100.jpg: the network's outputs are not finite"):
        next(predict_images(model, files, loading="keras"))
    with pytest.raises(TransferError, match=r"ResNet-\d+ names no classes"):
        next(predict_images(small(n_classes=None), files, loading="keras"))
    too_small = small(in_shape=(None, None, 3)).eval()
    too_small.stem.conv1_pad = torch.nn.Identity()
    one_pixel = next(file for file in files if file.name == "one_pixel.png")
    with pytest.raises(TransferError, match=r"one_pixel.png: the network cannot take it at 1x1 \(.*\). Name the size"):
        next(predict_images(too_small, [one_pixel], loading="keras"))


def test_a_request_is_answered(files, tmp_path, monkeypatch):
    source = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    convert(source, tmp_path / "m.safetensors")
    request = PredictionRequest(
        converted=tmp_path / "m.safetensors",
        images=tuple(files[:2]),
        image_loading="keras",
        size=None,
        preprocessing=preset("caffe"),
        crop=None,
        top=1,
        device="cpu",
        imagenet=True,
    )
    shares: list[float] = []
    answer = predict(request, shares.append)
    expected = predict_images(load_model(source), files[:2], loading="keras", top=1)
    assert answer.predictions == tuple(expected)
    assert len(answer.names) == 1000
    assert shares == [0.5, 1.0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TransferError, match=r"there is no device cuda that this torch can use. Take --device cpu"):
        predict(dataclasses.replace(request, device="cuda"), shares.append)


def test_imagenets_names_are_torchvisions(monkeypatch):
    names = imagenet_names()
    assert names is not None
    assert (names[0], names[207], names[999]) == ("tench", "golden retriever", "toilet tissue")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert imagenet_names() is None
