"""Every layer passes the same gradients back however its images, and what comes back to it, lie in memory."""

from __future__ import annotations

import itertools

import pytest
import torch

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.layers import LAYER_MODULES
from resnet_torch.layers.activations import activation_module
from weight_transfer.layer_types import LAYER_TYPES, Options
from weight_transfer.layer_types.activations import ACTIVATIONS

SHAPES = [(3, 5, 4), (1, 5, 4), (3, 5, 1), (3, 1, 4), (1, 1, 4), (2, 1, 1)]  # batch, height and width
CONV = {"filters": 4, "kernel_size": 3, "padding": "same"}
LAYERS = [
    *(("BatchNormalization", {"axis": axis}) for axis in (-1, 1, 2)),
    ("BatchNormalization", {"scale": False, "center": False}),
    *(("GroupNormalization", {"groups": groups}) for groups in (1, 2, 4)),
    *(("LayerNormalization", {"axis": axis}) for axis in (-1, [1, 2, 3])),
    ("Normalization", {}),
    ("Scale", {"axis": 3, "momentum": 0.9}),
    ("Conv2D", CONV),
    ("Conv2D", CONV | {"strides": 2, "groups": 2}),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "depth_multiplier": 1}),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "strides": 2, "depth_multiplier": 2}),
    ("SeparableConv2D", CONV | {"depth_multiplier": 1}),
    ("Conv2DTranspose", CONV | {"strides": 2}),
    ("Dense", {"units": 3}),
    ("PReLU", {}),
    ("PReLU", {"shared_axes": [1, 2]}),
    *((f"{kind}Pooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}) for kind in ("Max", "Average")),
    *((f"Global{kind}Pooling2D", {"keepdims": keepdims}) for kind in ("Max", "Average") for keepdims in (True, False)),
    *(("UpSampling2D", {"size": 2, "interpolation": name}) for name in ("nearest", "bilinear")),
    *(("Resizing", {"height": 3, "width": 7, "interpolation": name}) for name in ("nearest", "bilinear")),
    ("ZeroPadding2D", {"padding": [[1, 0], [2, 3]]}),
    ("Flatten", {}),
    ("Reshape", {"target_shape": [-1, 2]}),
    ("Permute", {"dims": [3, 1, 2]}),
    ("Rescaling", {"scale": 2.0}),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.1}),
    ("SpatialDropout2D", {"rate": 0.0}),
]


def built(class_name, config, in_shape):
    options = Options("layer", class_name, config, [in_shape], "channels_last")
    row = LAYER_TYPES[class_name]
    settings = row.settings(options)
    weights = {one.torch: one for one in row.weights(settings, [in_shape]).values()}
    axes = {name: one.axes or range(len(one.shape)) for name, one in weights.items()}
    shapes = {name: one.torch_shape or tuple(one.shape[axis] for axis in axes[name]) for name, one in weights.items()}
    torch.manual_seed(0)
    module = LAYER_MODULES[class_name].build(settings, shapes, [in_shape]).double()
    for tensor in module.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return module


def formats(x):
    """The same numbers as they may lie in memory: both formats, slices of larger images, and odd strides of size 1."""
    first = torch.empty(x.shape, dtype=x.dtype).copy_(x)
    yield first
    if x.dim() == 4:
        last = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last).copy_(x)
        yield last
        yield torch.cat([last, last]).contiguous(memory_format=torch.channels_last)[: len(x)]
        yield x.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)  # height before the batch
        if x.shape[0] == 1:
            yield x[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)[None]  # one photo as an image library has it
    yield torch.cat([x, x], -1)[..., : x.shape[-1]]


def gradients(module, x, back):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(module(x), [x, *module.parameters()], back)


def check(module, x):
    back = torch.randn(module(x).shape, dtype=torch.float64)
    expected = None
    for lying, back_lying in itertools.product(formats(x), formats(back)):
        actual = gradients(module, lying, back_lying)
        expected = expected or actual
        where = f"{x.shape}, as {lying.stride()}, its gradient as {back_lying.stride()}: {module}"
        for one, other in zip(actual, expected, strict=True):
            assert float((one - other).abs().max()) <= 1e-12 * (1 + float(other.abs().max())), where


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_do_not_depend_on_the_memory_format(shape):
    batch, *sizes = shape
    x = torch.randn(batch, 4, *sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for class_name, config in LAYERS:
        check(built(class_name, config, (*sizes, 4)), x)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nor_those_of_a_batch_norm_at_inference(shape):
    batch, *sizes = shape
    x = torch.randn(batch, 4, *sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    check(built("BatchNormalization", {}, (*sizes, 4)).eval(), x)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "linear"])
def test_nor_those_of_activations(name):
    settings = {**ACTIVATIONS[name], "name": name}
    module = activation_module(settings | ({"axis": 1} if "axis" in settings else {}))
    check(module, torch.randn(2, 4, 3, 5, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 6), (1, 4, 6), (3, 4, 1), (2, 4, 3, 1, 1), (1, 4, 3, 2, 2)], ids=str)
def test_nor_those_of_batch_norms_of_other_ranks(shape):
    in_shape = (*shape[2:], shape[1])
    check(built("BatchNormalization", {}, in_shape), torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("frozen", [True, False])
def test_nor_those_of_a_native_network(shape, frozen):
    norm = BatchNorm2d(4).double()
    norm.frozen = frozen
    check(norm.train(), torch.randn(shape[0], 4, *shape[1:], dtype=torch.float64))
