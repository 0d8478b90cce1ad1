"""What a live module computes, read off it: as it was built, and with every field of it changed."""

from __future__ import annotations

import copy

import pytest
import torch
from layer_variants import LAYER, variants
from torch import nn

from resnet_torch import create_resnet
from resnet_torch.changed_fields import NO_FIELDS, changed_fields, settings_of_modules
from resnet_torch.constraints import KerasProjection, constrain
from resnet_torch.imported import import_graph
from resnet_torch.layers import LAYER_MODULES, Inputs
from weight_transfer import DIALECTS, design
from weight_transfer.conversion.constraints import Constraint
from weight_transfer.layer_types import LAYER_TYPES
from weight_transfer.weight_mapping import Row

CLASSES = list(LAYER_TYPES)
SMALL = {"depth": 18, "block_counts": (1, 1), "filters": ((3, 3), (4, 4)), "stem_filters": 3}

# Settings that several values of make the same module: why, and of which classes.
SEVERAL = {
    "padding": "a window of one place has nothing to pad; 'same' and 'valid' differ by what output_padding says",
    "output_padding": "'same' and 'valid' differ by what it says",
    "axis": "the order of axes is the order of the arrays' axes in Keras; along one place nothing is shared",
    "shared_axes": "along an axis of one place there is one slope, shared or not",
}
OF_SEVERAL = {
    **{name: {"padding", "output_padding"} for name in CLASSES if "Conv" in name},
    "LayerNormalization": {"axis"},
    "Normalization": {"axis"},
    "PReLU": {"shared_axes"},
}


def built(variant):
    with torch.device("meta"):
        return import_graph(variant.graph())


def own(module):
    """What a module is, without its weights."""
    parts = {name: (type(part), fields(part)) for name, part in module.named_modules()}
    return parts, {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def fields(module):
    return {key: value for key, value in vars(module).items() if not key.startswith("_") and key not in NO_FIELDS}


def test_every_row_is_read_and_tested():
    assert set(LAYER_MODULES) == set(LAYER_TYPES)
    assert set(variants()) == set(LAYER_TYPES)
    assert all(row.read for row in LAYER_MODULES.values())


@pytest.mark.parametrize("class_name", CLASSES)
def test_the_settings_are_read_as_they_were_built(class_name):
    row = LAYER_MODULES[class_name]
    for variant in variants()[class_name]:
        graph = variant.graph()
        layer = graph.layers[LAYER]
        model = import_graph(graph)
        assert changed_fields(model) == (), variant
        module = model.get_submodule(graph.modules[LAYER][0])
        read = row.read[type(module)](module, Inputs(layer.in_shapes, variant.data_format))
        fused = {"activation"} if layer.fused_activation or class_name != "Activation" else set()
        expected = {key: value for key, value in layer.settings.items() if key not in {"data_format", *fused}}
        assert set(read) == set(expected) - set(row.without_trace), variant
        differing = {key for key in read if read[key] != expected[key]}
        if differing == {"momentum"}:  # PyTorch has 1 less it
            assert abs(read["momentum"] - expected["momentum"]) < 1e-15
            differing = set()
        assert differing <= OF_SEVERAL.get(class_name, set()) & set(SEVERAL), (str(variant), read, expected)
        shapes = {one.torch: Row(role, one.torch, one).torch_shape for role, one in layer.weights.items()}
        again = row.build({**layer.settings, **read}, shapes, layer.in_shapes)
        assert repr(own(again)) == repr(own(module)), variant
    assert settings_of_modules(model) == {LAYER: layer.settings}  # of the last one


def several(class_name, most):
    """So many variants of a class that are built in different ways, the most different first."""
    kinds = {}
    for variant in variants()[class_name]:
        model = built(variant)
        kind = str([(type(part), sorted(fields(part))) for part in model.modules()])
        kinds.setdefault(kind, []).append((variant, model))
    rounds = [group[place] for place in range(most) for group in kinds.values() if place < len(group)]
    return rounds[:most]


def altered(value):
    """Another value of the same kind; None where there is none."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 7
    if isinstance(value, str):
        return f"{value} too"
    if isinstance(value, (list, tuple)) and value:
        *others, last = value
        return type(value)([*others, altered(last)])
    if isinstance(value, dict) and value:
        return {key: altered(one) for key, one in value.items()}
    if isinstance(value, slice):
        return slice(value.start, value.stop, 7)
    return 1 if value is None else None


@pytest.mark.parametrize("class_name", CLASSES)
def test_every_field_that_is_changed_is_named(class_name):
    for variant, model in several(class_name, 2):
        assert changed_fields(model) == ()
        for path, module in model.named_modules():
            for key, value in fields(module).items() if path else ():
                if altered(value) is None:
                    continue
                setattr(module, key, altered(value))
                changed = changed_fields(model)
                assert changed, (str(variant), path, key)
                assert all(change.layer.split(".")[0] == LAYER for change in changed)
                setattr(module, key, value)
        assert changed_fields(model) == ()


@pytest.mark.parametrize("class_name", CLASSES)
def test_no_layer_passes_for_another_of_its_class(class_name):
    models = several(class_name, 3)
    for variant, model in models:
        for other, donor in models:
            mixed = copy.deepcopy(model)
            for name in model._modules:
                mixed._modules[name] = donor._modules.get(name)
            same = own(model) == own(mixed)
            assert (changed_fields(mixed) == ()) == same, f"{other} passes for {variant}"


def one(class_name, **config):
    for variant in variants()[class_name]:
        if config.items() <= dict(variant.config).items():
            return import_graph(variant.graph())
    raise LookupError(class_name)


CONV, NORM = ("Conv2D", {"groups": 2, "kernel_size": 3}), ("BatchNormalization", {"epsilon": 1e-5})
AVERAGE, TURN = ("AveragePooling2D", {"padding": "valid"}), ("Conv2DTranspose", {"kernel_size": 3, "padding": "valid"})
# Class and config of a variant; an attribute of the module, its new value; the field, what is said and what is found.
CHANGED = [
    (*CONV, "stride", (2, 2), "strides", [1, 1], [2, 2]),
    (*CONV, "dilation", (2, 2), "dilation_rate", [1, 1], [2, 2]),
    (*CONV, "padding", (1, 1), "padding", "valid", "same"),
    (*CONV, "padding", (2, 1), "padding", "valid", [2, 1]),
    (*CONV, "groups", 1, "groups", 2, 1),
    (*CONV, "padding_mode", "reflect", "padding_mode", "zeros", "reflect"),
    (*TURN, "padding", (1, 1), "padding", "valid", "same"),
    (*NORM, "eps", 1e-3, "epsilon", 1e-5, 1e-3),
    (*NORM, "momentum", 0.1, "momentum", 0.99, 0.9),
    (*NORM, "momentum", None, "momentum", 0.99, None),
    ("BatchNormalization", {"axis": 1}, "axis", 1, "axis", 2, 1),
    ("LayerNormalization", {"axis": [1, 2, 3]}, "axes", (1, 2), "axis", [1, 2, 3], [1, 2]),
    ("GroupNormalization", {"groups": 2}, "num_groups", 1, "groups", 2, 1),
    ("Normalization", {"mean": 0.125}, "invert", True, "invert", False, True),
    ("Dropout", {"rate": 0.4}, "p", 0.1, "rate", 0.4, 0.1),
    ("GaussianNoise", {"stddev": 0.4}, "stddev", 1, "stddev", 0.4, 1),
    ("ELU", {"alpha": 0.5}, "alpha", 1.0, "alpha", 0.5, 1.0),
    ("ReLU", {"threshold": 1.0}, "name", "selu", "name", "clipped_relu", "selu"),
    ("Softmax", {"axis": 1}, "dim", 1, "axis", 2, 1),
    ("MaxPooling2D", {"padding": "same"}, "kind", "Average", "kind", "Max", "Average"),
    (*AVERAGE, "ceil_mode", True, "ceil_mode", False, True),
    (*AVERAGE, "padding", 1, "padding", "valid", [1, 1]),
    ("GlobalMaxPooling2D", {"keepdims": True}, "keepdims", False, "keepdims", True, False),
    ("ZeroPadding2D", {"padding": (1, 2)}, "padding", (1, 1, 1, 1), "margins", [[1, 1], [2, 2]], [[1, 1], [1, 1]]),
    ("UpSampling2D", {"interpolation": "bilinear"}, "mode", "nearest-exact", "interpolation", "bilinear", "nearest"),
    ("Permute", {"dims": (3, 1, 2)}, "axes", (0, 1, 2, 3), "dims", [3, 1, 2], [1, 2, 3]),
    ("Multiply", {"trainable": True}, "operation", "add", "operation", "multiply", "add"),
    ("Multiply", {"arguments": {"1": 2.0}}, "constant", 3.0, "constant", 2.0, 3.0),
    ("Rescaling", {"offset": -1.0}, "offset", 0.0, "offset", -1.0, 0.0),
    ("Resizing", {"interpolation": "bilinear"}, "interpolation", "nearest", "interpolation", "bilinear", "nearest"),
    ("RandomRotation", {"factor": 0.2}, "factor", (0.0, 0.2), "factor", [-0.2, 0.2], [0.0, 0.2]),
    ("RandomFlip", {"mode": "vertical"}, "together", True, "together", False, True),
]


@pytest.mark.parametrize(("class_name", "config", "attribute", "value", "field", "described", "actual"), CHANGED)
def test_a_changed_field_is_named_in_the_words_of_the_table(
    class_name, config, attribute, value, field, described, actual
):
    model = one(class_name, **config)
    setattr(model.get_submodule(LAYER), attribute, value)
    found = {change.field: change for change in changed_fields(model)}
    assert found[field] == (LAYER, field, described, actual)
    assert settings_of_modules(model)[LAYER].get(field, actual) == actual


def test_numbers_that_mean_the_same_are_no_change():
    model = one("Conv2D", kernel_size=3, groups=2)
    model.layer.stride, model.layer.padding = 1, 0
    assert changed_fields(model) == ()
    model = one("LeakyReLU", alpha=0.2)
    model.layer.negative_slope, model.layer.inplace = 0.2, True  # Keras rounds it to float32
    assert changed_fields(model) == ()


def test_a_given_statistic_may_have_been_cast_but_not_changed():
    model = one("Normalization", mean=[0.125, 0.25, 0.375])
    assert changed_fields(model.half().float()) == ()
    model.layer.mean.add_(1)
    (change,) = changed_fields(model)
    assert (change.field, change.actual) == ("mean", [1.125, 1.25, 1.375])


def test_a_fused_activation_is_read_off_its_own_module():
    for variant in variants()["Dense"]:
        model = import_graph(variant.graph())
        activation = model.network.layers[LAYER].settings["activation"]
        if activation is not None:
            assert settings_of_modules(model)[LAYER]["activation"] == activation
            name = model.network.modules[LAYER][1]
            for other in (nn.Tanh(), nn.ReLU(), nn.Hardtanh()):
                setattr(model, name, other)
                found = changed_fields(model)
                assert bool(found) == (type(other).__name__.lower() != activation["name"])
                assert all(change.field in ("activation", "module") for change in found)


class Gate(nn.Conv2d):
    """A convolution of somebody's own."""


@pytest.mark.parametrize(
    ("name", "module", "expected"),
    [
        ("layer", nn.Identity(), "layer: module: the description says Dropout, the module has Identity"),
        ("layer", nn.Dropout2d(0.4), "layer: module: the description says Dropout, the module has Dropout2d"),
        ("layer", None, "layer: module: the description says Dropout, the module has nothing"),
    ],
)
def test_another_class_is_named(name, module, expected):
    model = one("Dropout", rate=0.4)
    model._modules[name] = module
    assert [str(change) for change in changed_fields(model)] == [expected]
    assert settings_of_modules(model) == {LAYER: {}}


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return create_resnet((32, 32, 3), 5, **SMALL)


NETWORKS = [
    *((dialect, 18, {}) for dialect in DIALECTS),
    ("keras-applications", 50, {}),
    ("tutorial", 50, {"stride_in": "3x3", "stem_padding": "same", "pool_padding": "same", "conv_bias": False}),
    ("tutorial", 18, {"pool_padding": "none", "epsilon": 1e-5, "momentum": 0.9, "middle_kernel_size": (3, 5)}),
]


@pytest.mark.parametrize(("dialect", "depth", "arguments"), NETWORKS)
def test_a_native_resnet_is_what_its_description_says(dialect, depth, arguments):
    with torch.device("meta"):
        model = create_resnet((64, 64, 3), 5, depth=depth, dialect=dialect, **arguments)
    assert changed_fields(model) == ()
    found = settings_of_modules(model)
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert len([one for one in found.values() if "momentum" in one]) == len(norms)
    conventions = design(depth, dialect=dialect, **arguments).conventions
    assert {one["epsilon"] for one in found.values() if "epsilon" in one} == {conventions.epsilon}


def test_every_field_of_a_native_resnet_that_is_changed_is_named():
    with torch.device("meta"):
        resnet = create_resnet((32, 32, 3), 5, pool_padding="same", **SMALL)
    kinds = {str((type(module), fields(module))): path for path, module in resnet.named_modules() if path}
    for path in kinds.values():
        module = resnet.get_submodule(path)
        for key, value in fields(module).items():
            if altered(value) is not None:
                setattr(module, key, altered(value))
                assert len({change.layer for change in changed_fields(resnet)}) == 1, (path, key)
                setattr(module, key, value)
    assert changed_fields(resnet) == ()


def put(path, module):
    """Puts another module in the place of one."""
    parent, _, name = path.rpartition(".")
    return lambda model: setattr(model.get_submodule(parent), name, module)


def sets(path, name, value):
    return lambda model: setattr(model.get_submodule(path), name, value)


STRIDED = "stages.stage3.a.residual.res3a_branch2a"


@pytest.mark.parametrize(
    ("change", "layer", "field", "described", "actual"),
    [
        (sets("stem.bn_conv1", "eps", 1e-5), "bn_conv1", "epsilon", 1e-3, 1e-5),
        (sets("stem.bn_conv1", "momentum", 0.1), "bn_conv1", "momentum", 0.99, 0.9),
        (sets("stem.conv", "stride", (1, 1)), "conv", "strides", [2, 2], [1, 1]),
        (sets("stem.conv1_pad", "padding", (2, 2, 2, 2)), "conv1_pad", "margins", [[3, 3]] * 2, [[2, 2]] * 2),
        (sets(STRIDED, "padding", (0, 0)), "res3a_branch2a", "padding", [1, 1], "valid"),
        (sets(STRIDED, "dilation", (2, 2)), "res3a_branch2a", "dilation_rate", [1, 1], [2, 2]),
        (sets("stem.pool1", "ceil_mode", True), "pool1", "ceil_mode", False, True),
        (sets("stem.pool1", "padding", 0), "pool1", "padding", [1, 1], "valid"),
        (sets("head.dropout_01", "p", 0.3), "dropout_01", "rate", 0.5, 0.3),
        (put("stem.conv1_relu", nn.LeakyReLU(0.1)), "conv1_relu", "name", "relu", "leaky_relu"),
        (put("stages.stage3.a.relu", nn.GELU()), "res3a_relu", "module", "ReLU", "GELU"),
        (put("stem.pool1", nn.AvgPool2d(3, 2, 1)), "pool1", "kind", "Max", "Average"),
        (put("stem.conv", Gate(3, 3, 7, 2)), "conv", "module", "Conv2d", f"{Gate.__module__}.Gate"),
        (put("head.avg_pool.0", nn.AdaptiveMaxPool2d(1)), "avg_pool", "kind", "Average", "Max"),
        (put("head.fc_01_relu", nn.Tanh()), "fc_01", "activation", {"name": "relu"}, {"name": "tanh"}),
        (put("stages.stage3.a.residual.more", nn.ReLU()), "stages.stage3.a.residual", "modules", None, None),
        (put("stages.stage3.a.shortcut", nn.Identity()), "stages.stage3.a.shortcut", "module", None, "Identity"),
    ],
)
def test_what_is_changed_in_a_native_resnet_is_named(change, layer, field, described, actual, resnet):
    change(resnet)
    found = {(one.layer, one.field): one for one in changed_fields(resnet)}
    assert (layer, field) in found, found
    assert found[layer, field].described == described or described is None
    assert found[layer, field].actual == actual or actual is None


def test_what_passes_its_input_on_changes_nothing(resnet):
    resnet.stem.append(nn.Identity())
    resnet.stem.append(nn.Dropout(0.0))
    assert changed_fields(resnet) == ()


def test_what_learns_and_what_constrains_is_read(resnet):
    resnet.freeze("stem")
    constrain(resnet, {"stem.conv.weight": KerasProjection(Constraint("NonNeg"))})
    assert [(one.layer, one.field, one.described, one.actual) for one in changed_fields(resnet)] == [
        ("conv", "trainable", True, False),
        ("bn_conv1", "trainable", True, False),
        ("conv", "kernel_constraint", None, Constraint("NonNeg")),
    ]
