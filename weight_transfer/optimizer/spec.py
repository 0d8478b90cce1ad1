"""What an optimizer is: its class, its arguments and whose update rule that is; from any Keras's config, and back.

`weight_transfer.optimizer.grammar` reads the same from what a person writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from weight_transfer.errors import TransferError, listing, nearest
from weight_transfer.optimizer.classes import (
    ALIASES,
    AVERAGE,
    DECAY,
    EARLIER,
    OUTSIDE_ROOT,
    RATE,
    SCHEDULES,
    Generation,
    KerasClass,
    OptimizerClass,
    Slot,
    is_number,
    optimizer_class,
)

# Arguments that Keras 2 holds in float32 variables, so that a float64 weight sees them rounded.
KERAS2_VARIABLES = (RATE, "beta_1", "beta_2", "rho", "momentum")
KERAS2_EPSILON = 1e-7  # tf_keras backend_config.py, epsilon: what None stands for
# By which arguments alone a config shows whose it is; see `_generation`.
MARKS: Mapping[Generation, Mapping[str, Any]] = {
    "keras3": {},
    "tf_keras": {"jit_compile": False},
    "legacy": {DECAY: 0.0},
    "keras2": {DECAY: 0.0},
}


@dataclass(frozen=True)
class ScheduleSpec:
    """A learning-rate schedule.

    Attributes:
        class_name: A key of `SCHEDULES`, or what a file calls a schedule of its owner's own.
        arguments: In Keras's names.
    """

    class_name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> KerasClass | None:
        """Its row of the table; None of a schedule of the owner's own."""
        return SCHEDULES.get(self.class_name)

    def to_config(self) -> dict[str, Any]:
        """Returns what Keras serializes it as."""
        return {"class_name": self.class_name, "config": dict(self.arguments)}

    def __str__(self) -> str:
        """Returns the call, as `grammar.parse_schedule` reads it."""
        return call_text(self)


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer as a person, a recipe or a file describes it.

    Attributes:
        class_name: A key of `OPTIMIZERS`; None where a person leaves it to the file.
        arguments: Those that were given, in Keras 3's names; the learning rate is a number or a `ScheduleSpec`.
            ``decay`` and ``eps_outside_root`` where Keras 2's rule needs them.
        generation: The Keras whose update rule it is.
    """

    class_name: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    generation: Generation = "keras3"

    @property
    def row(self) -> OptimizerClass:
        """Its row of the table.

        Raises:
            TransferError: It has no class.
        """
        return optimizer_class(self.class_name)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What this optimizer keeps for each weight, the average first."""
        return tuple(slot for slot in (AVERAGE, *self.row.slots) if not slot.needs or self.arguments.get(slot.needs))

    @property
    def schedule(self) -> ScheduleSpec | None:
        """What the learning rate follows from, where that is the step."""
        rate = self.arguments.get(RATE)
        return rate if isinstance(rate, ScheduleSpec) else None

    def value(self, name: str) -> Any:
        """Returns an argument: as given, or Keras's default."""
        if name in self.arguments:
            return self.arguments[name]
        argument = self.row.argument(name)
        return None if argument is None else argument.default_of(self.generation)

    @property
    def acting(self) -> OptimizerSpec:
        """The same in Keras's order, without what is None, False or 0 by default, or of an average that is not kept."""
        idle = () if self.arguments.get("use_ema") else ("ema_momentum", "ema_overwrite_frequency")
        chosen = {}
        for one in self.row.arguments:
            value = self.arguments.get(one.name)
            is_off = value is None or value is False or value == one.default == 0
            if one.effect == "rule" and one.name not in idle and not is_off:
                chosen[one.name] = value
        return dataclasses.replace(self, arguments=chosen)

    def to_config(self) -> dict[str, Any]:
        """Returns what its Keras serializes it as; `spec_of_config` is the inverse."""
        arguments = {**MARKS[self.generation], **self.arguments}
        if self.schedule is not None:
            arguments[RATE] = self.schedule.to_config()
        return {"class_name": self.row.name, "config": arguments}

    def __str__(self) -> str:
        """Returns the call, as `grammar.parse_optimizer` reads it."""
        return call_text(self)


def call_text(spec: OptimizerSpec | ScheduleSpec, number: Callable[[float], str] = repr) -> str:
    """Returns ``SGD(momentum=0.9)``, ``SGD``, or ``momentum=0.9`` without a class.

    Args:
        spec: What to write.
        number: How to write a float; by default so that the same number is read from it.
    """

    def word(value: Any) -> str:
        if isinstance(value, ScheduleSpec):
            return call_text(value, number)
        return number(value) if isinstance(value, float) else repr(value)

    inside = ", ".join(f"{key}={word(value)}" for key, value in spec.arguments.items())
    if spec.class_name is None:
        return inside
    return f"{spec.class_name}({inside})" if inside else spec.class_name


def spec_of_config(config: Mapping[str, Any]) -> OptimizerSpec:
    """Reads what any Keras serializes an optimizer as.

    Args:
        config: ``class_name`` and ``config``.

    Raises:
        TransferError: The optimizer, or something that its config asks for, is not known here.
    """
    name = config.get("class_name")
    if not isinstance(name, str):
        raise TransferError(f"No optimizer {name!r}. Expected a config with class_name and config.")
    row = optimizer_class(name)
    inside = config.get("config") or {}
    if not isinstance(inside, Mapping):
        raise TransferError(f"{row.name}'s config is {type(inside).__name__}. Expected its arguments by name.")
    given = dict(inside)
    _check(row, given)
    generation = _generation(given)
    if generation in EARLIER:
        given = _of_keras2(row, given)
    arguments = lasting(row, given)
    rate = arguments.pop(RATE, None)
    if isinstance(rate, Mapping):
        rate = _schedule(row.name, rate)
    if not isinstance(rate, Real | ScheduleSpec | None):
        raise TransferError(f"{row.name}'s learning_rate must be a number or a serialized schedule. Received: {rate!r}")
    if rate is not None:
        arguments = {RATE: rate, **arguments}
    return OptimizerSpec(row.name, arguments, generation)


def _check(row: OptimizerClass, given: Mapping[str, Any]) -> None:
    known = {**{one.name: one for one in row.arguments}, **{key: row.argument(name) for key, name in ALIASES.items()}}
    unknown = [f"{_shown(key)}{nearest(key, list(known))}" for key in given if key not in known]
    if unknown:
        raise TransferError(f"{row.name}'s config holds what is not known:{listing(unknown)}")
    impossible = [f"{key}={value!r}" for key, value in given.items() if not _may_be(known[key], key, value)]
    if impossible:
        raise TransferError(f"{row.name}'s config holds what is no number:{listing(impossible)}")
    check_refused(row, given)


def _may_be(argument: Any, key: str, value: Any) -> bool:
    is_rate = RATE in (key, ALIASES.get(key))
    return (is_rate and not isinstance(value, Real)) or argument.may_be_in_a_file(value)


def lasting(row: KerasClass, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of an optimizer's arguments that its rule depends on, and its name."""
    kept = {argument.name for argument in row.arguments if argument.effect == "rule"} | {"name"}
    return {name: value for name, value in given.items() if name in kept}


def refused_arguments(row: KerasClass, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of an optimizer's arguments that ask for what is no update rule."""
    names = [argument.name for argument in row.arguments if argument.effect == "refused"]
    return {name: given[name] for name in names if given.get(name)}


def check_refused(row: KerasClass, given: Mapping[str, Any]) -> None:
    """Raises TransferError where there are `refused_arguments`."""
    refused = [f"{name}={value!r}" for name, value in refused_arguments(row, given).items()]
    if refused:
        raise TransferError(
            f"{row.name}'s config asks for what is not an update rule:{listing(refused)}\n"
            "Scale the loss or add up gradients in your own loop, and leave it out of the config."
        )


def _schedule(name: str, config: Mapping[str, Any]) -> ScheduleSpec:
    """What a schedule holds is numbers and lists of them; which ones, it says when it is built."""
    inside, class_name = config.get("config") or {}, config.get("class_name")
    if not isinstance(inside, Mapping) or not isinstance(class_name, str):
        raise TransferError(f"{name}'s learning rate is no schedule: {dict(config)!r}. Expected class_name and config.")
    impossible = list(_no_numbers(inside)) if class_name in SCHEDULES else []  # another is never built here
    if impossible:
        raise TransferError(f"{name}'s schedule holds what is no number:{listing(impossible)}")
    return ScheduleSpec(class_name, dict(inside))


def _no_numbers(inside: Mapping[str, Any]) -> Iterator[str]:
    for key, value in inside.items():
        numbers = value if isinstance(value, list) else [value]
        if key != "name" and not (key.isidentifier() and all(one is None or is_number(one) for one in numbers)):
            yield f"{key!r}: {value!r}"


def _shown(key: str) -> str:
    """A file's word, which a terminal must not obey."""
    return key if key.isprintable() else repr(key)


def _generation(given: Mapping[str, Any]) -> Generation:
    """Keras 2 always writes ``decay`` or ``lr``, later ones never do; without TensorFlow it writes no name."""
    if any(key in given for key in (DECAY, "schedule_decay", *ALIASES)):
        return "legacy" if "name" in given else "keras2"
    return "tf_keras" if "jit_compile" in given else "keras3"


def _of_keras2(row: OptimizerClass, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in Keras 3's names, with which Keras 3's rule is Keras 2's."""
    if row.keras2 is None:
        raise TransferError(f"Keras 2's {row.name} is another rule than Keras 3's, and not known here.")
    changed = {**given, **row.keras2}
    changed |= {name: changed.pop(alias) for alias, name in ALIASES.items() if alias in changed}
    if row.argument("epsilon") is not None and changed.get("epsilon") is None:
        changed["epsilon"] = KERAS2_EPSILON
    if "name" not in changed:
        if "clipnorm" in changed:
            changed["global_clipnorm"] = changed.pop("clipnorm")
        if row.name == "Adagrad":
            changed.setdefault("initial_accumulator_value", 0.0)
    if row.name == "RMSprop":
        changed[OUTSIDE_ROOT] = not changed.get("momentum")
    changed |= {key: given[key] for key in (OUTSIDE_ROOT,) if key in given}
    for key in KERAS2_VARIABLES:
        if isinstance(changed.get(key), Real):
            changed[key] = float(np.float32(changed[key]))
    return changed
