"""The one grammar in which a person writes an optimizer or a schedule: Keras's own, as in a training script.

::

    optimizer = call | arguments | serialized
    call      = name [ "(" arguments ")" ]          Adam, SGD(momentum=0.9), keras.optimizers.Adam(learning_rate=1e-4)
    arguments = name "=" value { "," name "=" value }     learning_rate=1e-4, where a file knows the class
    value     = number | True | False | None | [numbers] | call, of a schedule as the learning rate
    serialized = {"class_name": "Adam", "config": {"learning_rate": 1e-4}}          keras.optimizers.serialize, as JSON

A wrong word is found before any framework is loaded, and nothing of the text is ever run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.checkpoint.json_text import parse_json
from weight_transfer.errors import CheckpointError, TransferError, nearest
from weight_transfer.optimizer.classes import (
    ALIASES,
    CLIPPING,
    DECAY,
    EARLIER,
    OPTIMIZERS,
    RATE,
    REQUIRED,
    TODAYS,
    Argument,
    KerasClass,
    optimizer_class,
    schedule_class,
)
from weight_transfer.optimizer.spec import OptimizerSpec, ScheduleSpec, check_refused, lasting, spec_of_config

EXAMPLES = {"optimizer": "SGD(momentum=0.9)", "schedule": "CosineDecay(decay_steps=1000)"}
IN_PLACE_OF_DECAY = "decay=1e-6 is InverseTimeDecay(initial_learning_rate=..., decay_steps=1, decay_rate=1e-6)"


@dataclass(frozen=True)
class Call:
    """What a person wrote.

    Attributes:
        path: What is called, with the modules that were written before it; empty where there are arguments alone.
        arguments: By name, in their order.
    """

    path: str
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The last part of the path: ``keras.optimizers.Adam`` is ``Adam``."""
        return self.path.rpartition(".")[2]


def parse_optimizer(text: str | None) -> OptimizerSpec:
    """Reads an optimizer.

    Args:
        text: As the grammar has it; None or empty says nothing.

    Raises:
        TransferError: It is something else, there is no such class, or it takes no such argument.

    Example:
        >>> parse_optimizer("SGD(momentum=0.9, nesterov=True)").arguments
        {'momentum': 0.9, 'nesterov': True}
    """
    text = (text or "").strip()
    if not text:
        return OptimizerSpec()
    if text.startswith("{"):
        return _serialized(text)
    call = _parsed("optimizer", text, nested=True)
    row = optimizer_class(call.name) if call.path else KerasClass("the optimizer", tuple(_of_any_class()))
    arguments = _checked(row, _renamed(call, text), text)
    check_refused(row, arguments)
    return OptimizerSpec(row.name if call.path else None, lasting(row, arguments))


def training_optimizer(text: str, learning_rate: float, schedule: str | None = None) -> OptimizerSpec:
    """Reads the optimizer of a training, whose learning rate stands in options of its own.

    Args:
        text: As `parse_optimizer` takes it, with a class.
        learning_rate: The first one.
        schedule: As `parse_schedule` takes it.

    Raises:
        TransferError: See there; it says a rate itself, or is one that Keras 3 does not have.
    """
    spec = parse_optimizer(text)
    if spec.class_name is None:
        raise _unreadable("optimizer", text)
    if RATE in spec.arguments:
        raise TransferError(f"{spec.class_name}: say {RATE} by --learning-rate, or --schedule. Received: {text!r}")
    if spec.generation in EARLIER:
        raise TransferError(f"{spec.class_name}: it is Keras 2's, and training goes by Keras 3's. {IN_PLACE_OF_DECAY}.")
    rate = learning_rate if schedule is None else parse_schedule(schedule, learning_rate)
    return OptimizerSpec(spec.class_name, {RATE: rate, **spec.arguments})


def parse_schedule(text: str, learning_rate: float) -> ScheduleSpec:
    """Reads a schedule.

    Args:
        text: A call.
        learning_rate: The first rate, where the arguments do not say it.

    Raises:
        TransferError: There is no such schedule, it takes no such argument, or it lacks one.
    """
    return _schedule(_parsed("schedule", text), text, learning_rate)


def parse_call(text: str) -> Call:
    """Reads a call of anybody's optimizer, such as ``torch.optim.Adam(eps=1e-7)``; its arguments are not looked at.

    Raises:
        TransferError: It is something else.
    """
    return _parsed("optimizer", text)


def _schedule(call: Call, text: str, learning_rate: float | None = None) -> ScheduleSpec:
    row, arguments = schedule_class(call.name), dict(call.arguments)
    if learning_rate is not None and row.argument("initial_learning_rate") is not None:
        arguments = {"initial_learning_rate": learning_rate, **arguments}
    return ScheduleSpec(row.name, _checked(row, arguments, text))


def _of_any_class() -> Iterator[Argument]:
    seen = set()
    for row in OPTIMIZERS.values():
        for argument in row.arguments:
            if argument.name not in seen:
                seen.add(argument.name)
                yield argument


def _renamed(call: Call, text: str) -> dict[str, Any]:
    """The arguments in Keras 3's names, a schedule among them read."""
    twice = [alias for alias, name in ALIASES.items() if {alias, name} <= {*call.arguments}]
    if twice:
        raise TransferError(f"{twice[0]} is {ALIASES[twice[0]]}, and both are there. Received: {text!r}")
    arguments = {ALIASES.get(name, name): value for name, value in call.arguments.items()}
    if isinstance(arguments.get(RATE), Call):
        arguments[RATE] = _schedule(arguments[RATE], arguments[RATE].path)
    return arguments


def _checked(row: KerasClass, arguments: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The arguments with values as Keras wants them; all that is wrong is said at once."""
    known = {one.name: one for one in row.arguments if set(one.generations) & set(TODAYS)}
    missing = [name for name, one in known.items() if one.default is REQUIRED and name not in arguments]
    unknown = [f"{name}{nearest(name, list(known))}" for name in arguments if name not in known]
    if unknown or missing:
        wrong = [f"it has no argument {name}" for name in unknown] + [f"it needs {name}" for name in missing]
        takes = ", ".join(name for name, one in known.items() if one.effect == "rule")
        of_old = f" {DECAY} is Keras 2's: {IN_PLACE_OF_DECAY}." if DECAY in arguments else ""
        raise TransferError(f"{row.name}: {', '.join(wrong)}. It takes: {takes}.{of_old} Received: {text!r}")
    found = {name: _as_keras_wants(name, value) for name, value in arguments.items()}
    impossible = list(_impossible(known, found))
    if impossible:
        raise TransferError(f"{row.name}: {'; '.join(impossible)}. Received: {text!r}")
    return found


def _as_keras_wants(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if name == "momentum" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)  # Keras's SGD refuses a whole number
    return value


def _impossible(known: Mapping[str, Argument], arguments: Mapping[str, Any]) -> Iterator[str]:
    for name, value in arguments.items():
        is_schedule = name == RATE and isinstance(value, ScheduleSpec)
        if not is_schedule and not known[name].takes(value):
            yield f"{name} must be {known[name].values.words}, not {value!r}"
    clipping = [name for name in CLIPPING if arguments.get(name) is not None]
    if len(clipping) > 1:
        yield f"only one of {', '.join(clipping)} can be set"


def _serialized(text: str) -> OptimizerSpec:
    try:
        config = parse_json("--optimizer", text)
    except CheckpointError as error:
        raise TransferError(f"{error}") from error
    if not isinstance(config.get("class_name"), str):
        raise TransferError('--optimizer takes {"class_name": ..., "config": ...}, as Keras serializes one.')
    return spec_of_config(config)


def _parsed(kind: str, text: str, *, nested: bool = False) -> Call:
    """What is called with which arguments; where nested, with a call for the learning rate, or arguments alone."""
    try:
        node = _tree(text, alone=nested)
        if isinstance(node, ast.Call):
            return _call(node, nested=nested)
        return Call(_path(node), {})
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(kind, text) from error


def _unreadable(kind: str, text: str) -> TransferError:
    return TransferError(
        f"the {kind} must be a name, or a name with named arguments that are numbers, True, False or None: "
        f"{EXAMPLES[kind]}.{_advice(text)} Received: {text!r}"
    )


def _tree(text: str, *, alone: bool) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        if not alone:
            raise
    return ast.parse(f"_({text})", mode="eval").body  # arguments without a class


def _call(node: ast.Call, *, nested: bool) -> Call:
    if node.args:
        raise ValueError("arguments without names")
    arguments: dict[str, Any] = {}
    for word in node.keywords:
        if word.arg is None:
            raise ValueError("arguments that are not written out")
        if nested and isinstance(word.value, ast.Call) and ALIASES.get(word.arg, word.arg) == RATE:
            arguments[word.arg] = _call(word.value, nested=False)
        else:
            arguments[word.arg] = ast.literal_eval(word.value)
    path = _path(node.func)
    return Call("" if path == "_" else path, arguments)


def _path(node: ast.expr) -> str:
    path = ast.unparse(node)
    if not all(part.isidentifier() for part in path.split(".")):
        raise ValueError("no name")
    return path


def _advice(text: str) -> str:
    """How to write ``Adam learning_rate=1e-4 amsgrad=true``."""
    words = [word.strip(",") for word in text.split()]
    name = words.pop(0) if words and "=" not in words[0] else ""
    if not words or not (name.isidentifier() or not name) or not all("=" in word for word in words):
        return ""
    python = {"true": "True", "false": "False", "null": "None"}
    pairs = [word.partition("=") for word in words]
    inside = ", ".join(f"{key}={python.get(value, value)}" for key, _, value in pairs)
    return f" Write {name}({inside})." if name else f" Write {inside}."
