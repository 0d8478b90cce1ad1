"""Keras's optimizers as its files describe them: arguments, and the arrays that each keeps for a weight.

What differs between optimizers, and between the Kerases that write them, is a row of a table here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

import numpy as np

from weight_transfer.errors import TransferError, listing, nearest

# Keras 3; tf_keras and Keras from 2.11; its legacy classes, the only ones of Keras 2.1 to 2.10 on TensorFlow;
# Keras 1 and 2 on several backends.
Generation = Literal["keras3", "tf_keras", "legacy", "keras2"]


@dataclass(frozen=True)
class Slot:
    """An array that an optimizer keeps for each weight.

    Attributes:
        name: Keras 3's, which `resnet_torch.optimizers` has too.
        words: What the Kerases call it in a file.
        needs: The argument without which it is not kept.
    """

    name: str
    words: tuple[str, ...]
    needs: str | None = None


@dataclass(frozen=True)
class Rule:
    """What a class name of Keras stands for.

    Attributes:
        names: Keras's name of an argument to that of `resnet_torch.optimizers`.
        slots: In the order in which Keras makes them.
        interleaved: How many of the first slots newer Kerases store weight by weight, all others slot by slot.
        keras2: Arguments in which Keras 2's rule differs; None where they cannot express it.
    """

    names: Mapping[str, str]
    slots: tuple[Slot, ...]
    interleaved: int = 1
    keras2: Mapping[str, Any] | None = field(default_factory=dict)


# No argument of Keras's: how a config that was made here says that epsilon is where Keras 2 had it.
OUTSIDE_ROOT = "eps_outside_root"
AVERAGE = Slot("average", ("average",), "use_ema")  # of the weights, by any optimizer, before its own slots

_EPSILON = {"epsilon": "eps"}
_BETAS = {"beta_1": "beta_1", "beta_2": "beta_2", **_EPSILON}
_MOMENTUM = Slot("momentum", ("momentum", "m"))
_VELOCITY = Slot("velocity", ("velocity", "v"))
_ADAM = (_MOMENTUM, _VELOCITY, Slot("velocity_hat", ("velocity_hat", "vhat"), "amsgrad"))

# Source: build of each class in keras/src/optimizers, keras 3.15.1, and tf_keras/src/optimizers, tf_keras 2.21.0;
# _create_slots in tf_keras/src/optimizers/legacy; get_updates in keras 2.2.4, keras/optimizers.py.
RULES: Mapping[str, Rule] = {
    "SGD": Rule({"momentum": "momentum", "nesterov": "nesterov"}, (Slot("momentum", ("momentum", "m"), "momentum"),)),
    "RMSprop": Rule(
        {"rho": "alpha", "momentum": "momentum", "centered": "centered", **_EPSILON},
        (
            Slot("velocity", ("velocity", "rms")),
            Slot("momentum", ("momentum",), "momentum"),
            Slot("average_gradient", ("average_gradient", "mg"), "centered"),
        ),
    ),
    "Adam": Rule({**_BETAS, "amsgrad": "amsgrad"}, _ADAM, interleaved=2),
    "AdamW": Rule({**_BETAS, "amsgrad": "amsgrad"}, _ADAM, interleaved=2, keras2=None),
    "Adamax": Rule(_BETAS, (_MOMENTUM, Slot("norm", ("norm", "u", "v"))), interleaved=2),
    "Nadam": Rule(_BETAS, (_MOMENTUM, _VELOCITY), interleaved=2, keras2=None),
    "Adagrad": Rule(
        {"initial_accumulator_value": "initial_accumulator_value", **_EPSILON},
        (Slot("accumulator", ("accumulator",)),),
        keras2={OUTSIDE_ROOT: True},
    ),
}
# Slots that no step can make negative: sums and means of squares, and the largest of absolute values.
NEVER_NEGATIVE = ("velocity", "velocity_hat", "norm", "accumulator")

# The schedules that both Kerases have. Source: keras/src/optimizers/schedules/learning_rate_schedule.py.
SCHEDULES = ("ExponentialDecay", "PiecewiseConstantDecay", "PolynomialDecay", "InverseTimeDecay", "CosineDecay")

SHARED = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum")
SHARED_NAMES = {name: name for name in (*SHARED, "ema_overwrite_frequency")}
READ_APART = ("learning_rate", "lr", "decay")
FLAGS = ("nesterov", "centered", "amsgrad", "use_ema")
NO_EFFECT = ("name", "jit_compile", "is_legacy_optimizer")
REFUSED = ("loss_scale_factor", "gradient_accumulation_steps", "adaptive_epsilon")
# Arguments that Keras 2 holds in float32 variables, so that a float64 weight sees them rounded.
KERAS2_VARIABLES = ("learning_rate", "beta_1", "beta_2", "rho", "momentum")
KERAS2_EPSILON = 1e-7  # tf_keras backend_config.py, epsilon: what None stands for


@dataclass(frozen=True)
class Configured:
    """An optimizer's config, read.

    Attributes:
        name: A key of `RULES`.
        generation: Whose config it is.
        arguments: In Keras 3's names; ``decay`` and ``eps_outside_root`` where Keras 2's rule needs them.
    """

    name: str
    generation: Generation
    arguments: Mapping[str, Any]

    @property
    def rule(self) -> Rule:
        """What the class name stands for."""
        return RULES[self.name]

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What this optimizer keeps for each weight, the average first."""
        return tuple(slot for slot in (AVERAGE, *self.rule.slots) if not slot.needs or self.arguments.get(slot.needs))

    @property
    def has_schedule(self) -> bool:
        """Whether the learning rate follows from the step."""
        return isinstance(self.arguments.get("learning_rate"), Mapping)


def read_config(config: Mapping[str, Any]) -> Configured:
    """Reads what any Keras serializes an optimizer as.

    Args:
        config: ``class_name`` and ``config``.

    Raises:
        TransferError: The optimizer, or something that its config asks for, is not known here.
    """
    name = _class_name(config)
    inside = config.get("config") or {}
    if not isinstance(inside, Mapping):
        raise TransferError(f"{name}'s config is {type(inside).__name__}. Expected its arguments by name.")
    rule, arguments = RULES[name], dict(inside)
    _check(name, rule, arguments)
    generation = _generation(arguments)
    if generation in ("legacy", "keras2"):
        arguments = _of_keras2(name, rule, arguments)
    return Configured(name, generation, arguments)


def _class_name(config: Mapping[str, Any]) -> str:
    """The rule's name: Keras takes it in any case, tf_keras writes ``Custom>Adam``."""
    name = config.get("class_name")
    found = {known.lower(): known for known in RULES}.get(str(name).removeprefix("Custom>").lower())
    if found is None:
        raise TransferError(
            f"No optimizer {name!r}. Known: {', '.join(sorted(RULES))}. Expected a config with class_name and config."
        )
    return found


def _check(name: str, rule: Rule, arguments: Mapping[str, Any]) -> None:
    known = [*SHARED_NAMES, *rule.names, *READ_APART, *NO_EFFECT, *REFUSED, "schedule_decay"]
    known += [OUTSIDE_ROOT] if name in ("RMSprop", "Adagrad") else []
    unknown = [f"{_shown(key)}{nearest(key, known)}" for key in arguments if key not in known]
    if unknown:
        raise TransferError(f"{name}'s config holds what is not known:{listing(unknown)}")
    numbers = [*SHARED_NAMES, *rule.names, "decay"]
    impossible = [f"{key}={arguments[key]!r}" for key in numbers if not _is_number(arguments.get(key))]
    impossible += [f"{key}={arguments[key]!r}" for key in FLAGS if arguments.get(key) not in (None, False, True)]
    rates = [key for key in ("learning_rate", "lr") if isinstance(arguments.get(key), Real)]
    impossible += [f"{key}={arguments[key]!r}" for key in rates if not _is_number(arguments[key])]
    if impossible:
        raise TransferError(f"{name}'s config holds what is no number:{listing(impossible)}")
    if isinstance(arguments.get("learning_rate"), Mapping):
        _check_schedule(name, arguments["learning_rate"])
    refused = [f"{key}={arguments[key]!r}" for key in REFUSED if arguments.get(key)]
    if refused:
        raise TransferError(
            f"{name}'s config asks for what is not an update rule:{listing(refused)}\n"
            "Scale the loss or add up gradients in your own loop, and leave it out of the config."
        )


def _check_schedule(name: str, schedule: Mapping[str, Any]) -> None:
    """What a schedule holds is numbers and lists of them; which ones, it says when it is built."""
    inside = schedule.get("config") or {}
    if not isinstance(inside, Mapping) or not isinstance(schedule.get("class_name"), str):
        raise TransferError(
            f"{name}'s learning rate is no schedule: {dict(schedule)!r}. Expected class_name and config."
        )
    if schedule["class_name"] not in SCHEDULES:
        return  # one of somebody's own: never built here
    impossible = [
        f"{key!r}: {value!r}"
        for key, value in inside.items()
        if key != "name"
        and not (key.isidentifier() and all(map(_is_number, value if isinstance(value, list) else [value])))
    ]
    if impossible:
        raise TransferError(f"{name}'s schedule holds what is no number:{listing(impossible)}")


def _is_number(value: Any) -> bool:
    """Whether a file's value is a number that a float holds, or absent."""
    try:
        return value is None or (isinstance(value, Real) and math.isfinite(value))
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _shown(key: str) -> str:
    """A file's word, which a terminal must not obey."""
    return key if key.isprintable() else repr(key)


def _generation(arguments: Mapping[str, Any]) -> Generation:
    """Keras 2 always writes ``decay`` or ``lr``, later ones never do; without TensorFlow it writes no name."""
    if any(key in arguments for key in ("decay", "schedule_decay", "lr")):
        return "legacy" if "name" in arguments else "keras2"
    return "tf_keras" if "jit_compile" in arguments else "keras3"


def _of_keras2(name: str, rule: Rule, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if rule.keras2 is None:
        raise TransferError(f"Keras 2's {name} is another rule than Keras 3's, and not known here.")
    changed = {**arguments, **rule.keras2}
    if "lr" in changed:
        changed["learning_rate"] = changed.pop("lr")
    if name != "SGD" and changed.get("epsilon") is None:
        changed["epsilon"] = KERAS2_EPSILON
    if "name" not in changed:
        changed["global_clipnorm"] = changed.pop("clipnorm", None)
        if name == "Adagrad":
            changed.setdefault("initial_accumulator_value", 0.0)
    if name == "RMSprop":
        changed[OUTSIDE_ROOT] = not changed.get("momentum")
    changed |= {key: arguments[key] for key in (OUTSIDE_ROOT,) if key in arguments}
    for key in KERAS2_VARIABLES:
        if isinstance(changed.get(key), Real):
            changed[key] = float(np.float32(changed[key]))
    return changed
