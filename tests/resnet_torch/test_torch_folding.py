"""A network with its preprocessing folded in computes the same of plain RGB, borders included."""

from __future__ import annotations

from dataclasses import replace

import checkpoints
import numpy as np
import pytest
import torch

from resnet_torch import load_model
from resnet_torch.folded_preprocessing import ColorPad2d, fold_preprocessing
from resnet_torch.inference import inference
from resnet_torch.resnet import ResNet
from resnet_torch.wrappers import description_of_module, with_description
from weight_transfer import ArchitectureError, Hints
from weight_transfer.preprocessing import PRESETS, Preprocessing, preprocess, preset

# In float64, where `preprocess` rounds to float32 as Keras does.
EXACT = {
    "caffe": lambda x: x[..., ::-1] - np.array(PRESETS["caffe"].mean),
    "tf": lambda x: x / 127.5 - 1,
    "torch": lambda x: (x / 255 - np.array(PRESETS["torch"].mean)) / np.array(PRESETS["torch"].std),
    "none": lambda x: x,
}
DESIGNS = [
    {},
    {"stem_padding": "same"},
    {"conv_bias": False},
    {"dialect": "keras-resnet"},  # both, and another epsilon
    {"dialect": "keras-2.1"},
]


def fed(model: ResNet, how: str | Preprocessing) -> ResNet:
    """The model, of which a person says how its images are preprocessed."""
    said = preset(how) if isinstance(how, str) else how
    return with_description(model, replace(description_of_module(model), said_preprocessing=said))


def images(height=61, width=67, channels=3) -> np.ndarray:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (2, height, width, channels), np.uint8)
    noise[1] = 0  # black up to the border: what zero padding would take for grey
    return noise


def channels_first(x: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).to(dtype)


def assert_equal(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("mode", EXACT)
@pytest.mark.parametrize("design", DESIGNS, ids=str)
@pytest.mark.parametrize("size", [(61, 67), (64, 66)])  # padding 'same' depends on it
def test_folded_is_equal_in_float64_to_1e_12(size, design, mode, small):
    model = fed(small(**design), mode).double().eval()
    folded = fold_preprocessing(model)
    assert description_of_module(folded).preprocessing.certainty == "inside the network"
    assert description_of_module(folded).preprocessing == preset("none")
    assert description_of_module(model).preprocessing == preset(mode)
    raw = images(*size)
    x, rgb = channels_first(EXACT[mode](raw.astype(np.float64)), torch.float64), channels_first(raw, torch.float64)
    with inference(model), inference(folded):
        conv = model.architecture.names.stem_norm  # each number of it, those of the corners too
        assert_equal(before(folded, conv, rgb), before(model, conv, x), 1e-12)
        assert_equal(folded.stem(rgb), model.stem(x), 1e-12)
        assert_equal(folded(rgb), model(x), 1e-12)
    assert_equal(folded.predict(rgb), model.predict(x), 1e-12)


def before(model: torch.nn.Module, after: str, x: torch.Tensor) -> torch.Tensor:
    """What comes out of the stem's batch norm: where the bias was folded is of no matter."""
    for name, module in model.stem.named_children():
        x = module(x)
        if name == after:
            return x
    raise KeyError(after)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_folded_is_equal_in_float32_to_rounding(mode, small):
    model = fed(small(), mode).eval()
    raw = images()
    expected = model.predict(channels_first(preprocess(raw, mode), torch.float32))
    actual = fold_preprocessing(model).predict(channels_first(raw, torch.float32))
    assert_equal(actual, expected, 1e-5)


def test_zero_padding_would_be_wrong_at_the_border(small):
    """The mistake that folding weights alone makes, and that a test of the middle does not see."""
    model = fed(small(), "caffe").double().eval()
    folded = fold_preprocessing(model)
    folded.stem.conv1_pad = torch.nn.ZeroPad2d(3)
    raw = images()
    x, rgb = channels_first(EXACT["caffe"](raw.astype(np.float64)), torch.float64), channels_first(raw, torch.float64)
    difference = (before(folded, "bn_conv1", rgb) - before(model, "bn_conv1", x)).abs()
    assert difference[:, :, 2:-2, 2:-2].max() < 1e-10
    assert difference.max() > 1


def test_colour_modes_leave_grey_images_alone_and_tf_scales_them(small):
    grey = images(channels=1)
    for mode in ("caffe", "torch", "tf"):
        model = fed(small((64, 64, 1)), mode).double().eval()
        x = channels_first(EXACT["tf"](grey.astype(np.float64)) if mode == "tf" else grey, torch.float64)
        assert_equal(fold_preprocessing(model)(channels_first(grey, torch.float64)), model(x), 1e-12)


def test_the_model_stays_as_it_is_and_a_plain_resnet_refuses_folded_weights(small):
    model = fed(small(), "caffe").eval()
    before_folding = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_preprocessing(model)
    assert all(torch.equal(tensor, before_folding[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"stem.conv1_pad.color\""):
        model.load_state_dict(folded.state_dict())
    assert "ColorPad2d(color=[123.68, 116.779, 103.939], window=3)" in str(folded)


def test_folded_networks_train_and_export(small):
    folded = fold_preprocessing(fed(small(conv_bias=False), "caffe"))
    rgb = channels_first(images(64, 64), torch.float32)
    folded.train()(rgb).sum().backward()
    assert folded.stem.conv.weight.grad.abs().max() > 0
    folded.eval()
    exported = torch.export.export(folded, (rgb,)).module()
    assert_equal(exported(rgb), folded(rgb), 1e-6)


def test_the_pad_is_one_colour():
    pad = ColorPad2d(torch.tensor([1.0, 2.0, 3.0]), 2)
    padded = pad(torch.zeros(1, 3, 4, 4))
    assert padded.shape == (1, 3, 8, 8)
    assert padded[0, :, 0, 0].tolist() == [1.0, 2.0, 3.0]
    assert padded[0, :, 2:6, 2:6].abs().max() == 0


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [("conv", torch.nn.Identity(), "Conv2d"), ("conv1_pad", torch.nn.ReflectionPad2d(3), "ZeroPad2d")],
)
def test_a_stem_with_other_modules_is_not_folded(name, other, expected, tmp_path):
    model = fed(load_model(checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())), "caffe")
    setattr(model.stem, name, other)
    message = rf"stem\.{name} must be a {expected} for .* Received: {type(other).__name__}\. Fold .* before replacing"
    with pytest.raises(ArchitectureError, match=message):
        fold_preprocessing(model)


def test_only_a_resnet_is_folded(tmp_path):
    path = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    graph = load_model(path, Hints(import_as="graph"))
    with pytest.raises(ArchitectureError, match=r"only a ResNet's preprocessing .* Received: ImportedModel"):
        fold_preprocessing(graph)
    assert isinstance(fold_preprocessing(load_model(path)).stem.conv1_pad, ColorPad2d)


@pytest.mark.parametrize(
    "own",
    [
        Preprocessing(divisor=255.0),
        Preprocessing("BGR", 255.0, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)),
        Preprocessing(mean=(120.0,), std=(60.0,)),
    ],
)
def test_any_scale_mean_deviation_and_order_is_folded(own, small):
    model = fed(small().double().eval(), own)
    raw = images().astype(np.float64)
    expected = model(channels_first(preprocess(raw, own), torch.float64))
    assert_equal(fold_preprocessing(model)(channels_first(raw, torch.float64)), expected, 1e-12)
