"""Every layer without weights against real Keras 3 and real tf_keras, in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from keras_unweighted_layers import OPERATIONS, Case, answer

from resnet_torch.layers import LAYER_MODULES
from weight_transfer.graph import read_graph
from weight_transfer.layer_types import LAYER_TYPES, Options
from weight_transfer.parity.tolerances import TOLERANCES

PACKAGES = ("keras", "tf_keras")
IN_FLOAT32 = TOLERANCES["inference"]["float32"].error  # TensorFlow resizes in float32 whatever it is given
SIZES = {1: [(9,), (8,)], 2: [(7, 10), (8, 5)], 3: [(5, 6, 7)]}
KERAS_3_ACTIVATIONS = (
    "celu", "log_softmax", "sparsemax", "sparse_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "log_sigmoid",
    "tanh_shrink", "soft_shrink", "hard_shrink", "squareplus", "sparse_plus",
)  # fmt: skip
ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "swish", "mish", "softmax", "softplus",
    "softsign", "sigmoid", "hard_sigmoid", "tanh", "exponential",
)  # fmt: skip
RELUS = [
    {},
    {"max_value": 6.0},
    {"max_value": 2.5},
    {"negative_slope": 0.1},
    {"threshold": 1.0},
    {"max_value": 4.0, "negative_slope": 0.2, "threshold": 0.5},
    {"max_value": 6.0, "negative_slope": 0.2},
]


def _activations():
    for name in ACTIVATIONS:
        yield Case("Activation", [(5, 4)], {"activation": name})
    for name in KERAS_3_ACTIVATIONS:
        yield Case("Activation", [(5, 4)], {"activation": name}, only="keras")
    for name in ("softmax", "relu"):
        yield Case("Activation", [(6,)], {"activation": name})
    yield Case("Activation", [(3, 5, 4)], {"activation": "softmax"})
    yield Case("Activation", [(5, 4)], {"activation": {"ReLU": {"max_value": 2.0}}})
    yield Case("Activation", [(5, 4)], {"activation": {"LeakyReLU": {"negative_slope": 0.15}}}, only="keras")
    yield Case("Activation", [(5, 4)], {"activation": {"LeakyReLU": {"alpha": 0.15}}}, only="tf_keras")
    for arguments in RELUS:
        yield Case("ReLU", [(5, 4, 3)], arguments)
    yield Case("LeakyReLU", [(5, 4)])
    yield Case("LeakyReLU", [(5, 4)], {"negative_slope": 0.2}, only="keras")
    yield Case("LeakyReLU", [(5, 4)], {"alpha": 0.2}, only="tf_keras")
    yield from (Case("ELU", [(5, 4)], {"alpha": alpha}) for alpha in (1.0, 0.5))
    yield from (Case("ThresholdedReLU", [(5, 4)], {"theta": theta}, only="tf_keras") for theta in (1.0, 0.5))
    yield from (Case("Softmax", [(5, 4, 3)], {"axis": axis}) for axis in (-1, 1, 2, [-1]))
    yield Case("Softmax", [(5,)])


def _merges():
    names = ("Add", "Multiply", "Average", "Maximum", "Minimum")
    for name in names:
        yield Case(name, [(5, 4, 3)] * 3)
        yield Case(name, [(5, 4, 3), (1, 1, 3)])
        yield Case(name, [(5, 4, 3), (5, 4, 1)])
        yield Case(name, [(3,), (5, 4, 3)])
        yield Case(name, [(6,), (6,)])
    yield from (Case("Subtract", shapes) for shapes in ([(5, 4, 3)] * 2, [(5, 4, 3), (4, 3)], [(4, 3), (3,)]))
    yield from (Case("Concatenate", [(5, 4, 3)] * 3, {"axis": axis}) for axis in (-1, 1, 2, 3))
    yield Case("Concatenate", [(5, 4, 3), (5, 4, 2)])
    yield Case("Concatenate", [(5, 2), (5, 3)])
    yield Case("Concatenate", [(5,), (3,)])


def _poolings():
    windows = [(2, 2), (3, 2), (3, 1), (2, 3), (1, 2), (4, 3)]
    for kind, rank, padding in itertools.product(("Max", "Average"), (1, 2, 3), ("valid", "same")):
        for sizes, (pool_size, strides) in itertools.product(SIZES[rank], windows if rank == 2 else windows[1:4]):
            arguments = {"pool_size": pool_size, "strides": strides, "padding": padding}
            yield Case(f"{kind}Pooling{rank}D", [(*sizes, 3)], arguments)
        yield Case(
            f"{kind}Pooling{rank}D", [(3, *SIZES[rank][0])], {"pool_size": 2, "padding": padding}, "channels_first"
        )
    yield Case("MaxPooling2D", [(9, 8, 2)], {"pool_size": (3, 2), "strides": (2, 3), "padding": "same"})
    yield Case("AveragePooling2D", [(9, 8, 2)], {"pool_size": (3, 2), "strides": (2, 3), "padding": "same"})
    for kind, rank, keepdims in itertools.product(("Max", "Average"), (1, 2, 3), (False, True)):
        sizes = SIZES[rank][0]
        yield Case(f"Global{kind}Pooling{rank}D", [(*sizes, 3)], {"keepdims": keepdims})
        yield Case(f"Global{kind}Pooling{rank}D", [(3, *sizes)], {"keepdims": keepdims}, "channels_first")


def _shapes():
    margins = {1: (2, (1, 2)), 2: (1, (1, 2), ((0, 2), (1, 0))), 3: (1, ((1, 0), (0, 2), (1, 1)))}
    for rank in (1, 2, 3):
        for argument in margins[rank]:
            yield Case(f"ZeroPadding{rank}D", [(*SIZES[rank][0], 3)], {"padding": argument})
            yield Case(f"Cropping{rank}D", [(*SIZES[rank][0], 3)], {"cropping": argument})
        if rank > 1:
            yield Case(f"ZeroPadding{rank}D", [(3, *SIZES[rank][0])], {"padding": margins[rank][-1]}, "channels_first")
            yield Case(f"Cropping{rank}D", [(3, *SIZES[rank][0])], {"cropping": margins[rank][-1]}, "channels_first")
            yield Case(f"UpSampling{rank}D", [(3, *SIZES[rank][0])], {"size": 2}, "channels_first")
        for factor in (2, 3, 49) if rank < 3 else (2,):
            yield Case(f"UpSampling{rank}D", [(*SIZES[rank][0], 3)], {"size": factor})
    yield Case("ZeroPadding1D", [(3, 9)], {"padding": 2}, "channels_first", only="keras")
    yield Case("UpSampling2D", [(5, 4, 3)], {"size": (2, 3)})
    yield from (
        Case("UpSampling2D", [(5, 4, 3)], {"size": s, "interpolation": "bilinear"}) for s in (2, (2, 3), (1, 5))
    )
    for shape in ((6,), (5, 3), (5, 4, 3), (2, 3, 4, 5)):
        yield Case("Flatten", [shape])
        yield Case("Flatten", [shape[::-1]], {}, "channels_first")
    targets = [((12,), (3, 4)), ((5, 4, 3), (60,)), ((5, 4, 3), (-1, 3)), ((5, 4, 3), (2, -1, 5)), ((6, 2), (2, 3, 2))]
    yield from (Case("Reshape", [shape], {"target_shape": target}) for shape, target in targets)
    yield Case("Reshape", [(7,)], {"target_shape": (1, 1, 7)})
    for dims in itertools.permutations((1, 2, 3)):
        yield Case("Permute", [(5, 4, 3)], {"dims": dims})
    yield Case("Permute", [(5, 4)], {"dims": (2, 1)})
    yield Case("RepeatVector", [(5,)], {"n": 4})


def _at_inference():
    for name in ("Dropout", "GaussianDropout", "AlphaDropout"):
        yield Case(name, [(5, 4, 3)], {"rate": 0.4})
    for rank in (1, 2, 3):
        yield Case(f"SpatialDropout{rank}D", [(*SIZES[rank][0], 3)], {"rate": 0.4})
    yield Case("GaussianNoise", [(5, 4)], {"stddev": 0.4})
    yield Case("ActivityRegularization", [(5, 4)], {"l1": 0.1, "l2": 0.2})
    image = [(6, 5, 3)]
    for scale, offset in ((1 / 127.5, -1.0), ([0.5, 0.25, 0.125], [1.1, 2.2, 3.3]), (2.0, [0.1, 0.2, 0.3])):
        yield Case("Rescaling", image, {"scale": scale, "offset": offset})
    for interpolation, size in itertools.product(("bilinear", "nearest"), ((4, 9), (12, 5), (3, 3), (17, 23))):
        arguments = {"height": size[0], "width": size[1], "interpolation": interpolation}
        yield Case("Resizing", [(13, 11, 3)], arguments)
    for name in ("RandomRotation", "RandomZoom", "RandomContrast", "RandomBrightness"):
        yield Case(name, image, {"factor" if name != "RandomZoom" else "height_factor": 0.2})
    yield Case("RandomTranslation", image, {"height_factor": 0.2, "width_factor": 0.2})
    yield Case("RandomFlip", image)
    yield Case("RandomCrop", image, {"height": 6, "width": 5})


def _operations():
    image = (5, 4, 3)
    for name, function in OPERATIONS.items():
        only = {"tf_": "tf_keras", "ops_": "keras"}.get(name[: name.find("_") + 1])
        yield Case(name, [image] * (function.__code__.co_argcount - 1), only=only)
    for module in ("resnet", "resnet_v2", "densenet", "mobilenet", "vgg16"):  # caffe, tf, torch, tf, caffe
        yield Case(f"{module}.preprocess_input", [image])
        yield Case(f"{module}.preprocess_input", [(3, 5, 4)], {}, "channels_first")
    yield Case("tensors_minus", [(6,), (6,)])


CASES = [*_activations(), *_merges(), *_poolings(), *_shapes(), *_at_inference(), *_operations()]
RUNS = [(case, package) for case in CASES for package in PACKAGES if case.only in (None, package)]


@pytest.fixture(scope="module")
def answers(keras_side):
    found = {}
    for package in PACKAGES:
        cases = [case for case in CASES if case.only in (None, package)]
        found |= {
            (package, str(case)): row for case, row in zip(cases, keras_side(answer, package, cases), strict=True)
        }
    return found


def stored(x, data_format="channels_last"):
    """A Keras array as PyTorch holds it."""
    tensor = torch.from_numpy(np.ascontiguousarray(x))
    return tensor.movedim(-1, 1).contiguous() if data_format == "channels_last" and tensor.dim() > 2 else tensor


def run(config, inputs, data_format):
    """Runs a whole model layer by layer: the shape and the value of its output."""
    graph = read_graph(config)
    values = dict(zip(graph.inputs, ((x.shape[1:], stored(x, data_format)) for x in inputs), strict=True))
    for call in graph.calls:
        if call.value in values:
            continue
        layer = graph.layers[call.layer]
        shapes = [values[name][0] for name in call.inputs]
        config = {**layer.config, "arguments": call.arguments} if call.arguments else layer.config
        options = Options(layer.path, layer.class_name, config, shapes, data_format)
        row = LAYER_TYPES[layer.class_name]
        settings = row.settings(options)
        options.finish()
        module = LAYER_MODULES[layer.class_name].build(settings, {}, shapes).eval()
        assert "tuple" not in repr(type_names(settings))
        values[call.value] = row.out_shape(settings, shapes), module(*(values[name][1] for name in call.inputs))
    return values[graph.outputs[0]]


def type_names(value):
    if isinstance(value, dict):
        return [type_names(item) for item in value.values()]
    return [type(value).__name__, *([type_names(item) for item in value] if isinstance(value, (list, tuple)) else [])]


@pytest.mark.parametrize(("case", "package"), RUNS, ids=str)
def test_computes_what_keras_does(answers, case, package):
    row = answers[package, str(case)]
    data_format = case.data_format or "channels_last"
    shape, actual = run(row["config"], row["inputs"], data_format)
    expected = stored(row["output"], data_format).double()
    assert shape == row["shape"]
    assert actual.shape == expected.shape
    assert actual.dtype == getattr(torch, case.dtype)
    in_float32 = (
        case.dtype == "float32" or case.arguments.get("interpolation") == "bilinear" or case.name == "RandomCrop"
    )
    tolerance = IN_FLOAT32 if in_float32 else 1e-12
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()
