"""Random augmentation acts in training as in Keras: the same arithmetic, and draws of the same distribution."""

from __future__ import annotations

import keras_augmentations
import numpy as np
import pytest
import torch
from keras_layers import LIBRARIES

from resnet_torch.layers import LAYER_MODULES
from resnet_torch.layers.augmentations import Augmentation, warped
from weight_transfer.layer_types import LAYER_TYPES, Options

IMAGES = np.random.default_rng(0).uniform(0, 255, (100, 7, 6, 2)).astype(np.float32)
IMAGES[:] = IMAGES[0]  # one image a hundred times: what differs is what was drawn
CALLS = 15
CASES = [
    ("RandomFlip", {"mode": "horizontal"}),
    ("RandomFlip", {"mode": "vertical"}),
    ("RandomFlip", {}),
    ("RandomRotation", {"factor": 0.2}),
    ("RandomRotation", {"factor": (0.1, 0.3), "fill_mode": "constant", "fill_value": 9.0, "interpolation": "nearest"}),
    ("RandomZoom", {"height_factor": 0.3}),
    ("RandomZoom", {"height_factor": (-0.2, 0.4), "width_factor": (0.1, 0.5), "fill_mode": "nearest"}),
    ("RandomTranslation", {"height_factor": 0.2, "width_factor": (0.1, 0.4)}),
    ("RandomTranslation", {"height_factor": (-0.5, 0.1), "width_factor": 0.3, "fill_mode": "wrap"}),
    ("RandomContrast", {"factor": 0.4}),
    ("RandomContrast", {"factor": (0.6, 0.3)}),
    ("RandomBrightness", {"factor": 0.2}),
    ("RandomBrightness", {"factor": (0.1, 0.5), "value_range": (0.0, 200.0)}),
    ("RandomCrop", {"height": 5, "width": 4}),
]
CROPS = [
    ("RandomCrop", {"height": height, "width": width}) for height, width in ((7, 6), (9, 4), (10, 8), (7, 4), (3, 6))
]


def built(class_name, config, library):
    version = {"keras": "3.15.1", "tf_keras": "2.21.0"}[library]
    options = Options("layer", class_name, {**config, "keras_version": version}, [(7, 6, 2)], "channels_last")
    settings = LAYER_TYPES[class_name].settings(options)
    options.finish()
    return LAYER_MODULES[class_name].build(settings, {}, [(7, 6, 2)])


def first(images):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def last(tensor):
    return tensor.movedim(1, -1).numpy()


@pytest.fixture(scope="module")
def theirs(keras_side):
    return {
        library: keras_side(keras_augmentations.trained, library, CASES + CROPS, IMAGES, CALLS) for library in LIBRARIES
    }


def ours(layer):
    torch.manual_seed(0)
    return np.stack([last(layer.train()(first(IMAGES))) for _ in range(CALLS)])


def most_apart(one, other):
    """The Kolmogorov-Smirnov distance of two samples."""
    every = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(sample), every, side="right") / len(sample) for sample in (one, other)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: str(CASES[number]))
def test_draws_have_the_distribution_of_keras(theirs, number, library):
    answer = theirs[library][number]
    actual = ours(built(CASES[number][0], answer["config"], library))
    expected = answer["outputs"]
    assert actual.shape == expected.shape
    # Whether a batch shares a draw: how many different images there are in one.
    kinds = [np.mean([len(np.unique(call.round(3), axis=0)) for call in outputs]) for outputs in (actual, expected)]
    assert kinds[0] == pytest.approx(kinds[1], rel=0.1)
    samples = [
        outputs[:, 0] if kinds[1] == 1 else outputs.reshape(-1, *outputs.shape[2:]) for outputs in (actual, expected)
    ]
    # Of several sums of an image's pixels, whose weights differ, the whole distribution: 1 in 1000 is farther apart.
    most = 1.95 * np.sqrt(2 / len(samples[0]))
    for seed in range(5):
        weights = np.random.default_rng(seed).normal(size=actual.shape[2:])
        sums = [(sample * weights).sum((1, 2, 3)).round(1) for sample in samples]
        assert most_apart(*sums) < most, seed


def test_another_distribution_is_seen(theirs):
    answer = theirs["keras"][CASES.index(("RandomRotation", {"factor": 0.2}))]
    actual = ours(built("RandomRotation", answer["config"] | {"factor": 0.25}, "keras"))
    weights = np.random.default_rng(0).normal(size=actual.shape[2:])
    sums = [(one * weights).sum((2, 3, 4)).ravel() for one in (actual, answer["outputs"])]
    assert most_apart(*sums) > 1.95 * np.sqrt(2 / sums[0].size)


FILLS = [
    (mode, value, interpolation)
    for mode, value in (("reflect", 0.0), ("wrap", 0.0), ("nearest", 0.0), ("constant", 0.0), ("constant", 7.5))
    for interpolation in ("bilinear", "nearest")
]


def test_warps_are_those_of_tensorflow(keras_side):
    generator = np.random.default_rng(1)
    images = generator.normal(size=(40, 7, 6, 2)).astype(np.float32)
    matrices = np.tile(np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32), (40, 1))
    matrices[1:20, :6] += generator.normal(0, 0.6, (19, 6)).astype(np.float32)
    matrices[20:, [2, 5]] += np.float32(0.25) * generator.integers(-80, 81, (20, 2))  # halves, and far outside
    expected = keras_side(keras_augmentations.warped, matrices, images, FILLS)
    for fill, theirs in zip(FILLS, expected, strict=True):
        actual = last(warped(first(images), torch.from_numpy(matrices[:, :6].reshape(-1, 2, 3)), *fill))
        wrong = np.abs(actual - theirs) > 2e-5
        # A place right between two pixels may fall to either side in float32.
        assert wrong.mean() < (0.002 if fill[2] == "nearest" else 1e-9), fill


ANGLES = np.linspace(-3, 3, 100).astype(np.float32)
SHARES = np.linspace(0.6, 1.4, 100).astype(np.float32)
FIXED = [
    ("RandomRotation", {"factor": 0.2}, {"angle": ANGLES}, (ANGLES,)),
    (
        "RandomZoom",
        {"height_factor": 0.3, "width_factor": 0.3},
        {"height_zoom": SHARES[:, None], "width_zoom": SHARES[::-1, None]},
        (SHARES, SHARES[::-1]),
    ),
    (
        "RandomTranslation",
        {"height_factor": 0.3, "width_factor": 0.3},
        {"translations": np.stack([ANGLES, SHARES], 1)},
        (SHARES, ANGLES),
    ),
    ("RandomContrast", {"factor": 0.3}, {"contrast_factor": SHARES[:, None, None, None]}, (SHARES,)),
    ("RandomBrightness", {"factor": 0.3}, {"rgb_delta": ANGLES[:, None, None, None] * 40}, (ANGLES * 40,)),
]


@pytest.mark.parametrize(("class_name", "arguments", "theirs", "drawn"), FIXED, ids=[case[0] for case in FIXED])
def test_what_is_drawn_does_what_it_does_in_keras(keras_side, class_name, arguments, theirs, drawn):
    expected = keras_side(keras_augmentations.transformed, (class_name, arguments), theirs, IMAGES)
    layer = built(class_name, arguments, "keras")
    actual = last(layer.transformed(first(IMAGES), *(torch.from_numpy(one.copy()) for one in drawn)))
    assert np.abs(actual - expected).max() < 1e-2  # of 255: float32 places, a few 1e-5 of a pixel off
    assert np.abs(actual - IMAGES).max() > 10


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("number", range(len(CASES + CROPS)), ids=lambda number: str((CASES + CROPS)[number]))
def test_inference_is_that_of_keras(theirs, number, library):
    answer = theirs[library][number]
    actual = last(built((CASES + CROPS)[number][0], answer["config"], library).eval()(first(IMAGES)))
    assert actual.shape == answer["at_inference"].shape
    assert np.abs(actual - answer["at_inference"]).max() < 1e-3


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("number", range(len(CROPS)), ids=lambda number: str(CROPS[number]))
def test_windows_that_are_not_smaller_are_filled_as_in_keras(theirs, number, library):
    answer = theirs[library][len(CASES) + number]
    actual = ours(built("RandomCrop", answer["config"], library))
    assert actual.shape == answer["outputs"].shape
    if np.ptp(answer["outputs"], axis=0).max() == 0:  # nothing is drawn
        assert np.abs(actual - answer["outputs"]).max() < 1e-3
    else:
        assert {call.round(2).tobytes() for call in actual} <= {call.round(2).tobytes() for call in answer["outputs"]}


def test_a_file_of_version_0_1_0_does_not_say_what_is_drawn():
    layer = LAYER_MODULES["RandomFlip"].build({}, {}, [(7, 6, 2)]).train()
    assert type(layer) is Augmentation
    assert torch.equal(layer(first(IMAGES)), first(IMAGES))


def test_layers_show_what_they_draw():
    for class_name, arguments in CASES:
        assert any(character.isdigit() or character == "=" for character in repr(built(class_name, arguments, "keras")))


@pytest.mark.parametrize("class_name", sorted({name for name, _ in CASES}))
def test_keeps_the_precision_and_passes_gradients(class_name):
    arguments = next(arguments for name, arguments in CASES if name == class_name)
    x = first(IMAGES[:3]).double().requires_grad_()
    y = built(class_name, arguments, "keras").train()(x)
    assert y.dtype == torch.float64
    assert torch.autograd.grad(y.sum(), x)[0].abs().sum() > 0
