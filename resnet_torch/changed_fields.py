"""What a live module computes now, read off it, beside what its description says that it computes.

A module built from the description is what each field is compared with: the settings of every Keras layer by the
readers of `resnet_torch.layers`, and what PyTorch's modules have beside those, attribute by attribute.
"""

from __future__ import annotations

import dataclasses
import numbers
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.constraints import KEPT, KerasProjection
from resnet_torch.head import GLOBAL_POOL_READERS
from resnet_torch.layers import LAYER_MODULES, Inputs, Readers
from resnet_torch.loading import build_network
from resnet_torch.model import DESCRIPTION, PortedModel
from resnet_torch.trainability import is_frozen
from weight_transfer.changed_settings import NUMBERS, with_numbers
from weight_transfer.conversion.constraints import constrained_weights
from weight_transfer.conversion.structure import GLOBAL_POOLINGS
from weight_transfer.description import Description
from weight_transfer.errors import MappingError, TransferError, listing
from weight_transfer.graph import Graph
from weight_transfer.layer_types import Settings
from weight_transfer.layer_types.ranges import RANGES
from weight_transfer.weight_mapping import mapping, modules_of_layers

MODULE, MODULES = "module", "modules"  # fields: the class of a layer's module, and what a Sequential runs
TRAINABLE, MOVING_VARIANCE = "trainable", "moving_variance"
# Attributes that are no field of a network: modes, a rule that has a field of its own, and where a result is put.
NO_FIELDS = frozenset({"training", "frozen", "synchronized", "moving_variance", "inplace"})
MISSING = "nothing"


class ChangedField(NamedTuple):
    """A field in which a live module is not what its description says.

    Attributes:
        layer: Keras path of the layer; of a module that is part of no layer, the module's own path.
        field: A setting of the layer (``strides``, ``epsilon``), an attribute that PyTorch's module has beside those
            (``ceil_mode``), ``module`` for its class, ``modules`` for what a `torch.nn.Sequential` runs,
            ``trainable``, ``moving_variance``, or a constraint (``kernel_constraint``).
        described: What the description says.
        actual: What the module has.
    """

    layer: str
    field: str
    described: Any
    actual: Any

    def __str__(self) -> str:
        return f"{self.layer}: {self.field}: the description says {self.described}, the module has {self.actual}"


class _Place(NamedTuple):
    """Where a Keras layer is in a module, or the activation that it applies to its output."""

    layer: str
    module: str
    read: Readers
    inputs: Inputs
    settings: Settings


def settings_of_modules(model: PortedModel) -> dict[str, Settings]:
    """Returns what every Keras layer computes, as its live modules have it.

    Args:
        model: Whose modules.

    Returns:
        By Keras path the settings of `weight_transfer.layer_types`; none for a layer with a module of another class.
        Layers of a native ResNet that have no module of their own are left out: the addition, which its block does,
        and a padding that its convolution or pool does.

    Example:
        >>> from resnet_torch import resnet18
        >>> settings_of_modules(resnet18())["conv1_bn"]["epsilon"]
        1.001e-05
    """
    changed = {(change.layer, change.field): change.actual for change in changed_fields(model)}
    found: dict[str, Settings] = {}
    for place in _places(model.network):
        own = {key: changed.get((place.layer, key), value) for key, value in place.settings.items()}
        found[place.layer] = {**found.get(place.layer, {}), **own}
    return {layer: {} if (layer, MODULE) in changed else settings for layer, settings in found.items()}


def changed_fields(model: PortedModel) -> tuple[ChangedField, ...]:
    """Returns every field in which the live modules are not what the model's description says.

    Read are each layer's settings, its module's class, whether it learns, the rule by which it moves a variance and
    the constraints of its weights. Not read are the weights, and what a module does not hold: the regularizers, which
    are a part of the loss (`resnet_torch.regularizers`), and the activation behind a native ResNet's classifier.

    Args:
        model: What `load_model` gives, or a `ResNet` made here, whatever was done to it since.

    Example:
        >>> from resnet_torch import resnet18
        >>> model = resnet18()
        >>> model.stem.conv1_bn.eps = 1e-3
        >>> [str(change) for change in changed_fields(model)]
        ['conv1_bn: epsilon: the description says 1.001e-05, the module has 0.001']
    """
    described = dataclasses.replace(model.description, network=model.network)
    return (*_changed_modules(model, described), *_changed_training(model, described))


def current_description(model: PortedModel) -> Description:
    """Returns a model's description with the numbers that its live modules have.

    The rates of dropouts, deviations of noise, momenta and epsilons go into the network and into its Keras config.
    What learns and by which rule is the caller's to read.

    Args:
        model: As `changed_fields` takes it.

    Raises:
        MappingError: Another field was changed, a number is none that a Keras layer can have, or a module was
            replaced by one of another class.
        ArchitectureError: A native ResNet, which has one epsilon, one momentum and one rate, was given several.
    """
    known = dataclasses.replace(model.description, network=model.network)
    changes = _to_write(model, known)
    if not changes:
        return known
    refused = [change for change in changes if not _is_sayable(change)]
    if not refused:
        live: dict[str, dict[str, float]] = {}
        for change in changes:
            live.setdefault(change.layer, {})[change.field] = float(change.actual)
        known = with_numbers(known, live)
        refused = _to_write(model, known)
    if refused:
        raise MappingError(
            f"the modules are not what the description of {known.network.title} says, and a file would say what it "
            f"says:{listing(map(str, refused))}\n"
            f"Set these back. Of what is changed in PyTorch, {', '.join(NUMBERS)} of a layer's own module are written "
            "(a dropout that is to do nothing has p = 0). For another network, build it in Keras with these weights, "
            "and convert that."
        )
    return known


def _to_write(model: PortedModel, described: Description) -> list[ChangedField]:
    """Changes of what a network is; whether it learns, and by which rule, is read when it is saved."""
    fields = (*_changed_modules(model, described), *_changed_training(model, described))
    return [change for change in fields if change.field not in (TRAINABLE, MOVING_VARIANCE)]


def _is_sayable(change: ChangedField) -> bool:
    number = change.actual
    is_number = isinstance(number, numbers.Real) and not isinstance(number, bool)
    return change.field in NUMBERS and is_number and number in RANGES[change.field]


def _changed_modules(model: PortedModel, described: Description) -> Iterator[ChangedField]:
    with torch.device("meta"):
        built = build_network(described)
    places = list(_places(described.network))
    for place in places:
        if (expected := _at(built, place.module)) is not None:
            yield from _changed_layer(place, _at(model, place.module), expected)
    inside = {place.module for place in places}
    for path, expected in built.named_modules():
        if path and inside.isdisjoint(_with_parents(path)):
            yield from _changed_module(path, _at(model, path), expected)


def _with_parents(path: str) -> set[str]:
    """A path and the paths of all that hold it."""
    names = path.split(".")
    return {".".join(names[: depth + 1]) for depth in range(len(names))}


def _changed_layer(place: _Place, live: nn.Module | None, built: nn.Module) -> Iterator[ChangedField]:
    """What a layer's settings say otherwise; where they say the same, what its modules have otherwise beside them."""
    if type(live) not in place.read:
        yield ChangedField(place.layer, MODULE, _class_of(built), _class_of(live))
        return
    expected, actual = (_read(place, module) for module in (built, live))
    changed = [key for key in expected if not _same(expected[key], actual.get(key))]
    for key in changed:
        said = place.settings[key] if _same(place.settings.get(key), expected[key]) else expected[key]
        yield ChangedField(place.layer, key, said, actual.get(key))
    if not changed:
        for path, module in built.named_modules():
            yield from _changed_module(f"{place.layer}.{path}" if path else place.layer, _at(live, path), module)


def _read(place: _Place, module: Any) -> Settings:
    """A module's settings; none of one whose attributes no module of its class has."""
    try:
        return place.read[type(module)](module, place.inputs)
    except (AttributeError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return {}


def _changed_module(name: str, live: nn.Module | None, built: nn.Module) -> Iterator[ChangedField]:
    """What a module has otherwise than one that was just built."""
    if type(live) is not type(built):
        yield ChangedField(name, MODULE, _class_of(built), _class_of(live))
        return
    for key, value in vars(built).items():
        if not key.startswith("_") and key not in NO_FIELDS and _is_plain(value):
            actual = getattr(live, key, MISSING)
            if not _same(value, actual):
                yield ChangedField(name, key, value, actual)
    if isinstance(built, nn.Sequential) and isinstance(live, nn.Sequential):
        wanted = list(built._modules)
        runs = [key for key, one in live.named_children() if key in wanted or _acts(one)]
        if runs != wanted:
            yield ChangedField(name, MODULES, ", ".join(wanted), ", ".join(runs))


def _acts(module: nn.Module) -> bool:
    """Whether a module does more than to pass its input on."""
    return not isinstance(module, nn.Identity) and not (isinstance(module, nn.Dropout) and module.p == 0)


def _class_of(module: nn.Module | None) -> str:
    if module is None:
        return MISSING
    own = type(module)
    return own.__name__ if own.__module__.split(".")[0] == "torch" else f"{own.__module__}.{own.__qualname__}"


def _at(root: nn.Module | None, path: str) -> nn.Module | None:
    for name in filter(None, path.split(".")):
        root = None if root is None else root._modules.get(name)
    return root


def _is_plain(value: Any) -> bool:
    if isinstance(value, (dict, list, tuple)):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, (bool, int, float, str, slice))


def _same(expected: Any, actual: Any) -> bool:
    """Whether two values mean the same: one number may stand for all axes, and float32 tells no more digits apart."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return expected.keys() == actual.keys() and all(_same(expected[key], actual[key]) for key in expected)
    listed = [isinstance(one, (list, tuple)) for one in (expected, actual)]
    if all(listed):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    if any(listed):
        many, one = (expected, actual) if listed[0] else (actual, expected)
        return isinstance(one, (int, float)) and bool(many) and all(_same(each, one) for each in many)
    if isinstance(expected, float) and isinstance(actual, (int, float)) and expected != actual:
        return _in_float32(expected) == _in_float32(float(actual))
    return bool(type(expected) is type(actual) or isinstance(expected, float)) and bool(expected == actual)


def _in_float32(number: float) -> bytes | float:
    try:
        return struct.pack("f", number)
    except OverflowError:
        return number


def _changed_training(model: PortedModel, described: Description) -> Iterator[ChangedField]:
    """Which layers learn, the rules of their moving variances, and what their weights are made to be."""
    modules = {layer: _at(model, path) for layer, path in modules_of_layers(described.network).items()}
    for layer, module in modules.items():
        if module is None:
            continue
        learned, learns = layer not in described.frozen, not is_frozen(module)
        if learned != learns:
            yield ChangedField(layer, TRAINABLE, learned, learns)
        rule = described.moving_variance
        if isinstance(module, BatchNorm2d) and DESCRIPTION in model.__dict__ and module.moving_variance != rule:
            yield ChangedField(layer, MOVING_VARIANCE, rule, module.moving_variance)
    yield from _changed_constraints(model, described)


def _changed_constraints(model: PortedModel, described: Description) -> Iterator[ChangedField]:
    held = constrained_weights(described.network, described.constraints)
    expected: dict[str, Any] = {name: KerasProjection(one.constraint, one.weight) for name, one in held.items()}
    actual = {
        f"{path}.{leaf}": projection
        for path, module in model.named_modules()
        for leaf, projection in module.__dict__.get(KEPT, {}).items()
    }
    if not expected and not actual:
        return
    roles = {row.torch: row.keras.rpartition("/") for row in mapping(described.network)}
    for name in {**expected, **actual}:
        said, kept = (_constraint(one.get(name)) for one in (expected, actual))
        if said != kept:
            layer, _, role = roles.get(name, name.rpartition("."))
            yield ChangedField(layer, f"{role}_constraint", said, kept)


def _constraint(projection: Any) -> Any:
    if not isinstance(projection, KerasProjection):
        return projection
    unknown = isinstance(projection.constraint, TransferError)
    return str(projection.constraint) if unknown else projection.constraint


def _places(network: Graph) -> Iterator[_Place]:
    for path, layer in network.layers.items():
        places = network.modules[path]
        native = path in network.layout
        if native and not places:  # a dropout has a module, and a padding where the stem pads
            places = ({"ZeroPadding2D": f"stem.{path}", "Dropout": f"head.{path}"}.get(layer.class_name, ""),)
        own, *behind = places
        if not own:
            continue
        inputs = Inputs(layer.in_shapes, layer.settings.get("data_format", network.data_format))
        ends = native or behind  # a native classifier's activation is no module
        settings = {key: value for key, value in layer.settings.items() if not ends or key != "activation"}
        pools = native and layer.class_name in GLOBAL_POOLINGS
        read = GLOBAL_POOL_READERS if pools else LAYER_MODULES[layer.class_name].read
        yield _Place(path, own, read, inputs, settings)
        for activation in behind:
            activated = {"activation": layer.settings["activation"]}
            yield _Place(path, activation, LAYER_MODULES["Activation"].read, inputs, activated)
