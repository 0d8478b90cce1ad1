"""A module as the Python expression that builds it: ``nn.Conv2d(3, 64, kernel_size=(7, 7), stride=(2, 2))``."""

from __future__ import annotations

import inspect
import keyword
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from weight_transfer.errors import TransferError

LINE_LENGTH = 120
NOT_WRITTEN = ("device", "dtype")
# What a reader knows by its place, first in a call; every other argument is named.
BY_PLACE = ("in_channels", "out_channels", "in_features", "out_features", "num_features", "num_parameters")
MISSING = object()

# Arguments of which a module keeps something other than an attribute of the same name.
_KEPT_OTHERWISE: Mapping[tuple[str, str], Callable[[Any], Any]] = {
    ("", "bias"): lambda module: module.bias is not None,
    ("", "scale"): lambda module: module.weight is not None,
    ("", "center"): lambda module: module.bias is not None,
    ("Slice", "axis"): lambda module: len(module.index) - 1,
    ("Slice", "start"): lambda module: module.index[-1].start,
    ("Slice", "stop"): lambda module: module.index[-1].stop,
    ("Slice", "step"): lambda module: module.index[-1].step,
    ("DataNorm", "stored_shape"): lambda module: tuple(module.mean.shape),
    ("DataNorm", "mean"): lambda module: module.given.get("mean"),
    ("DataNorm", "variance"): lambda module: module.given.get("variance"),
}


def constructor(module: nn.Module) -> tuple[str, list[str]]:
    """Returns what to call, and with which arguments, to build a module like this one.

    Raises:
        TransferError: The module does not show an argument that it was built with.
    """
    name = type(module).__name__
    function = f"nn.{name}" if type(module).__module__.startswith("torch.nn.") else name
    if isinstance(module, nn.Sequential):
        return function, ["{}({})".format(*_flat(child)) for child in module]
    arguments, leading = [], True
    for parameter, value in _arguments(module):
        leading = leading and parameter in BY_PLACE
        arguments.append(literal(value) if leading else f"{parameter}={literal(value)}")
    return function, arguments


def _flat(module: nn.Module) -> tuple[str, str]:
    function, arguments = constructor(module)
    return function, ", ".join(arguments)


def _arguments(module: nn.Module) -> list[tuple[str, Any]]:
    """The arguments that differ from their defaults."""
    parameters, collected = _parameters(module)
    arguments = []
    for parameter in parameters:
        value = _value(module, parameter.name)
        if value is MISSING and parameter.default is parameter.empty:
            raise TransferError(
                f"{type(module).__name__} does not keep its argument {parameter.name!r}, so that no source can be "
                "written that builds it. Report this network."
            )
        if value is not MISSING and not _is_default(value, parameter.default):
            arguments.append((parameter.name, value))
    return arguments + collected


def _parameters(module: nn.Module) -> tuple[list[inspect.Parameter], list[tuple[str, Any]]]:
    """The constructor's parameters, those of base classes that it passes on included; and collected keywords."""
    parameters: dict[str, inspect.Parameter] = {}
    collected: list[tuple[str, Any]] = []
    for cls in type(module).__mro__:
        if cls is nn.Module or "__init__" not in vars(cls):
            continue
        passes_on = False
        for parameter in list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]:
            kept = vars(module).get(parameter.name)
            if parameter.kind is parameter.VAR_KEYWORD and isinstance(kept, Mapping):
                collected += [(_keyword(name, module), value) for name, value in kept.items()]
            elif parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                passes_on = True
            elif parameter.name not in NOT_WRITTEN:
                parameters.setdefault(parameter.name, parameter)
        if not passes_on:
            break
    # Python takes by place only what comes before a keyword.
    return sorted(parameters.values(), key=lambda parameter: parameter.kind is parameter.KEYWORD_ONLY), collected


def _keyword(name: str, module: nn.Module) -> str:
    """A collected argument's name, which a converted file may say: only as Python's own, for it stands in source."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise TransferError(f"{type(module).__name__} has an argument that Python does not take. Received: {name!r}")
    return name


def _value(module: nn.Module, name: str) -> Any:
    own, any_class = (type(module).__name__, name), ("", name)
    if own in _KEPT_OTHERWISE:
        return _KEPT_OTHERWISE[own](module)
    if any_class in _KEPT_OTHERWISE and name not in vars(module):
        return _KEPT_OTHERWISE[any_class](module)
    return getattr(module, name, MISSING)


def _is_default(value: Any, default: Any) -> bool:
    """Whether leaving the argument out gives the same; PyTorch spreads a number over all axes."""
    if default is inspect.Parameter.empty:
        return False
    spread = isinstance(value, tuple) and isinstance(default, int) and value == (default,) * len(value)
    return bool(value == default and type(value) is type(default)) or spread


def literal(value: Any) -> str:
    """Returns a plain value as Python.

    Raises:
        TransferError: It is no number, text, bool, None, or tuple, list or dict of those.
    """
    if isinstance(value, bool | str | int | None):
        text = repr(value)
        # Double quotes, as formatters want them, where that needs no escape.
        return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(one)}' for key, one in value.items())}}}"
    raise TransferError(f"a {type(value).__name__} cannot be written as Python source. Received: {value!r}")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return f'float("{value}")'
    # Keras's momentum of 0.99 is 1 - 0.99 here, 0.010000000000000009: the reader knows the former.
    complement = round(1 - value, 9)
    return f"1 - {complement}" if len(repr(value)) > 12 and 0 < value < 1 and 1 - complement == value else repr(value)


def statement(target: str, function: str, arguments: list[str], indent: int = 8, end: str = "") -> list[str]:
    """Returns ``target = function(arguments)`` in lines of at most 120 characters, broken as formatters do.

    Args:
        target: Left of the call, with its ``= ``.
        function: What is called.
        arguments: Its arguments.
        indent: Spaces before.
        end: Behind the call, such as a second closing parenthesis.
    """
    space = " " * indent
    line = f"{space}{target}{function}({', '.join(arguments)}){end}"
    if len(line) <= LINE_LENGTH or not arguments:
        return [line]
    inner = f"{space}    {', '.join(arguments)}"
    if len(inner) <= LINE_LENGTH:
        return [f"{space}{target}{function}(", inner, f"{space}){end}"]
    return [f"{space}{target}{function}(", *(f"{space}    {one}," for one in arguments), f"{space}){end}"]
