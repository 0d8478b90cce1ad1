"""Optimizers and schedules as a person writes them: ``Adam``, ``SGD(momentum=0.9, clipnorm=1.0)``.

The words are Keras's, so that a line of somebody's training script is what to write. What is known is a table:
a wrong word is found before any framework is loaded.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.errors import TransferError, nearest


@dataclass(frozen=True)
class Signature:
    """What a class of Keras takes.

    Attributes:
        required: Arguments it cannot do without.
        optional: Others.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


SHARED = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
)
# Source: the signatures in keras 3.15.1, keras/src/optimizers/*.py.
OPTIMIZERS: Mapping[str, Signature] = {
    name: Signature(optional=(*own, *SHARED))
    for name, own in {
        "Adam": ("beta_1", "beta_2", "epsilon", "amsgrad"),
        "AdamW": ("beta_1", "beta_2", "epsilon", "amsgrad"),
        "SGD": ("momentum", "nesterov"),
        "RMSprop": ("rho", "momentum", "epsilon", "centered"),
        "Adamax": ("beta_1", "beta_2", "epsilon"),
        "Nadam": ("beta_1", "beta_2", "epsilon"),
        "Adagrad": ("initial_accumulator_value", "epsilon"),
    }.items()
}
# Source: keras 3.15.1, keras/src/optimizers/schedules/learning_rate_schedule.py.
SCHEDULES: Mapping[str, Signature] = {
    "CosineDecay": Signature(("decay_steps",), ("initial_learning_rate", "alpha", "warmup_target", "warmup_steps")),
    "ExponentialDecay": Signature(("decay_steps", "decay_rate"), ("initial_learning_rate", "staircase")),
    "InverseTimeDecay": Signature(("decay_steps", "decay_rate"), ("initial_learning_rate", "staircase")),
    "PiecewiseConstantDecay": Signature(("boundaries", "values")),
    "PolynomialDecay": Signature(("decay_steps",), ("initial_learning_rate", "end_learning_rate", "power", "cycle")),
}


@dataclass(frozen=True)
class Range:
    """What values an argument may have.

    Attributes:
        words: The same in words.
        holds: Whether it holds a number.
    """

    words: str
    holds: Callable[[Any], bool]


_FROM_0 = Range("a number from 0", lambda value: value >= 0)
_ABOVE_0 = Range("a number above 0", lambda value: value > 0)
_BELOW_1 = Range("a number from 0 to below 1", lambda value: 0 <= value < 1)
_UP_TO_1 = Range("a number from 0 to 1", lambda value: 0 <= value <= 1)
_COUNT = Range("a whole number from 1", lambda value: value >= 1 and value == int(value))
FLAGS = ("nesterov", "centered", "amsgrad", "use_ema", "staircase", "cycle")
CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")
OR_NONE = (*CLIPPING, "weight_decay", "ema_overwrite_frequency", "warmup_target")
# Where Keras gives numbers a meaning. Source: keras 3.15.1, the checks in keras/src/optimizers, and its update rules,
# which divide by 1 - beta ** step.
RANGES: Mapping[str, Range] = {
    **dict.fromkeys(("beta_1", "beta_2", "rho"), _BELOW_1),
    **dict.fromkeys(("momentum", "ema_momentum"), _UP_TO_1),
    **dict.fromkeys(("epsilon", "initial_accumulator_value", "weight_decay", *CLIPPING), _FROM_0),
    **dict.fromkeys(("initial_learning_rate", "end_learning_rate", "warmup_target", "warmup_steps"), _FROM_0),
    "ema_overwrite_frequency": _COUNT,
    "decay_steps": _ABOVE_0,
}


def optimizer_config(text: str, learning_rate: float | Mapping[str, Any]) -> dict[str, Any]:
    """Returns what Keras serializes an optimizer as.

    Args:
        text: A name, in any case, with or without arguments.
        learning_rate: A number, or what `schedule_config` gave.

    Returns:
        ``{"class_name": "SGD", "config": {"learning_rate": 0.001, "momentum": 0.9}}``.

    Raises:
        TransferError: There is no such optimizer, or it takes no such argument.
    """
    name, arguments = _known("optimizer", text, OPTIMIZERS)
    return {"class_name": name, "config": {"learning_rate": learning_rate, **arguments}}


def schedule_config(text: str, learning_rate: float) -> dict[str, Any]:
    """Returns what Keras serializes a learning-rate schedule as.

    Args:
        text: A name with its arguments.
        learning_rate: The first rate, where the arguments do not say it.

    Raises:
        TransferError: There is no such schedule, it takes no such argument, or it lacks one.
    """
    name, arguments = _known("schedule", text, SCHEDULES)
    if "initial_learning_rate" in SCHEDULES[name].optional:
        arguments = {"initial_learning_rate": learning_rate, **arguments}
    return {"class_name": name, "config": arguments}


def _known(kind: str, text: str, known: Mapping[str, Signature]) -> tuple[str, dict[str, Any]]:
    path, arguments = parsed_call(kind, text)
    said = path.rpartition(".")[2]  # keras.optimizers.Adam(...) is Adam(...)
    names = {one.lower(): one for one in known}
    name = names.get(said.lower())
    if name is None:
        like = nearest(said.lower(), list(names))
        raise TransferError(f"no {kind} {said!r}{like}. Known: {', '.join(sorted(known))}. Received: {text!r}")
    signature = known[name]
    takes = (*signature.required, *signature.optional)
    if rates := {"learning_rate", "lr"} & set(arguments):
        raise TransferError(f"{name}: say {rates.pop()} by --learning-rate, or --schedule. Received: {text!r}")
    unknown = [f"{one}{nearest(one, takes)}" for one in arguments if one not in takes]
    missing = [one for one in signature.required if one not in arguments]
    if unknown or missing:
        wrong = [f"it has no argument {one}" for one in unknown] + [f"it needs {one}" for one in missing]
        raise TransferError(f"{name}: {', '.join(wrong)}. It takes: {', '.join(takes)}. Received: {text!r}")
    impossible = list(_impossible(arguments))
    if impossible:
        raise TransferError(f"{name}: {'; '.join(impossible)}. Received: {text!r}")
    # Keras's SGD refuses a whole number as momentum.
    return name, {key: float(value) if key == "momentum" else value for key, value in arguments.items()}


def _impossible(arguments: Mapping[str, Any]) -> Iterator[str]:
    for name, value in arguments.items():
        if name in FLAGS and not isinstance(value, bool):
            yield f"{name} must be True or False, not {value!r}"
        if name not in RANGES or (value is None and name in OR_NONE):
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not RANGES[name].holds(value):
            yield f"{name} must be {RANGES[name].words}, not {value!r}"
    clipping = [name for name in CLIPPING if arguments.get(name) is not None]
    if len(clipping) > 1:
        yield f"only one of {', '.join(clipping)} can be set"


def parsed_call(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """Returns what is called, with the modules that were written before it, and its named arguments.

    Args:
        kind: ``optimizer`` or ``schedule``, for the message.
        text: ``SGD(momentum=0.9)``.

    Raises:
        TransferError: It is something else.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else None
        words = [word for word in ([] if call is None else call.keywords) if word.arg is not None]
        arguments = {str(word.arg): ast.literal_eval(word.value) for word in words}
    except (SyntaxError, ValueError) as error:
        raise _unreadable(kind, text) from error
    path = ast.unparse(node if call is None else call.func)
    if not all(part.isidentifier() for part in path.split(".")):
        raise _unreadable(kind, text)
    if call is not None and (call.args or len(words) < len(call.keywords)):
        raise _unreadable(kind, text)
    return path, arguments


def _unreadable(kind: str, text: str) -> TransferError:
    example = "SGD(momentum=0.9)" if kind == "optimizer" else "CosineDecay(decay_steps=1000)"
    return TransferError(
        f"the {kind} must be a name, or a name with named arguments that are numbers: {example}. Received: {text!r}"
    )
