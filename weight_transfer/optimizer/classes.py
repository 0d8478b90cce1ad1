"""Keras's optimizers and learning-rate schedules: the one table, with a row for each class.

Every reader, writer, parser and builder of an optimizer takes from here which arguments a class has, what they are when
nobody says, which values they take, what PyTorch calls them, and which arrays the optimizer keeps for each weight.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Final, Literal, TypeVar

from weight_transfer.errors import TransferError, nearest

# Keras 3; tf_keras and Keras from 2.11; its legacy classes, the only ones of Keras 2.1 to 2.10 on TensorFlow;
# Keras 1 and 2 on several backends.
Generation = Literal["keras3", "tf_keras", "legacy", "keras2"]
TODAYS: tuple[Generation, ...] = ("keras3", "tf_keras")
EARLIER: tuple[Generation, ...] = ("legacy", "keras2")
REQUIRED: Final = inspect.Parameter.empty


@dataclass(frozen=True)
class Values:
    """The values that an argument takes.

    Attributes:
        words: The same in words, for messages.
        holds: Whether a value is one of them.
        kind: What it is to a file, whose numbers are not looked at more closely: somebody trained with them.
    """

    words: str
    holds: Callable[[Any], bool]
    kind: Literal["number", "flag", "list", "text"] = "number"


@dataclass(frozen=True)
class Argument:
    """One argument of a class.

    Attributes:
        name: Keras's.
        default: Keras 3's; `REQUIRED` where there is none.
        values: What a person may give.
        torch: Its name in `resnet_torch.optimizers`, where that is another. Arguments of one name are one tuple there.
        others: Default of other generations, where it differs.
        generations: The Kerases of today that have it; earlier ones where none of today does.
        effect: Whether the update depends on it, nothing does, or it asks for what is no update rule.
    """

    name: str
    default: Any
    values: Values
    torch: str = ""
    others: Mapping[Generation, Any] = field(default_factory=dict)
    generations: tuple[Generation, ...] = TODAYS
    effect: Literal["rule", "none", "refused"] = "rule"

    @property
    def torch_name(self) -> str:
        """Its name in `resnet_torch.optimizers`."""
        return self.torch or self.name

    def default_of(self, generation: Generation) -> Any:
        """Returns what a Keras takes where nobody says."""
        return self.others.get(generation, self.default)

    def takes(self, value: Any) -> bool:
        """Whether a person may give it this value; None where None is the default."""
        return (value is None and self.default is None) or self.values.holds(value)

    def may_be_in_a_file(self, value: Any) -> bool:
        """Whether a file's value is of the right kind, or absent."""
        if value is None or self.values.kind == "text":
            return True
        if self.values.kind == "flag":
            return value in (False, True)
        return is_number(value)


@dataclass(frozen=True)
class KerasClass:
    """A class of Keras that a config names.

    Attributes:
        name: Its name.
        arguments: In Keras's order.
    """

    name: str
    arguments: tuple[Argument, ...]

    def argument(self, name: str) -> Argument | None:
        """Returns an argument by Keras's name."""
        return next((argument for argument in self.arguments if argument.name == name), None)

    def defaults(self, generation: Generation) -> dict[str, Any]:
        """Returns the arguments that a Keras's class has, with their defaults: its signature."""
        return {one.name: one.default_of(generation) for one in self.arguments if generation in one.generations}


@dataclass(frozen=True)
class Slot:
    """An array that an optimizer keeps for each weight.

    Attributes:
        name: Keras 3's, which `resnet_torch.optimizers` has too.
        words: What the Kerases call it in a file.
        attribute: Under which both Kerases' own objects keep it, a list with an array for each weight.
        needs: The argument without which it is not kept.
        never_negative: Whether no step can make it negative: sums and means of squares, largest absolute values.
    """

    name: str
    words: tuple[str, ...]
    attribute: str
    needs: str | None = None
    never_negative: bool = False


@dataclass(frozen=True)
class OptimizerClass(KerasClass):
    """An optimizer of Keras.

    Attributes:
        slots: In the order in which Keras makes them.
        interleaved: How many of the first slots today's Kerases store weight by weight, all others slot by slot.
        keras2: Arguments in which Keras 2's rule differs; None where they cannot express it.
    """

    slots: tuple[Slot, ...] = ()
    interleaved: int = 1
    keras2: Mapping[str, Any] | None = None

    @property
    def own(self) -> tuple[Argument, ...]:
        """The arguments of the update rule that not every optimizer has, without the learning rate."""
        shared = (RATE, DECAY, OUTSIDE_ROOT, *SHARED)
        return tuple(one for one in self.arguments if one.effect == "rule" and one.name not in shared)


def is_number(value: Any) -> bool:
    """Whether a value is a number that a float holds."""
    try:
        return isinstance(value, Real) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _number(words: str, within: Callable[[Any], bool]) -> Values:
    return Values(words, lambda value: is_number(value) and not isinstance(value, bool) and within(value))


# Where Keras gives numbers a meaning. Source: keras 3.15.1, the checks in keras/src/optimizers, and its update rules,
# which divide by 1 - beta ** step.
_ANY = _number("a number", lambda value: True)
_FROM_0 = _number("a number from 0", lambda value: value >= 0)
_ABOVE_0 = _number("a number above 0", lambda value: value > 0)
_BELOW_1 = _number("a number from 0 to below 1", lambda value: 0 <= value < 1)
_UP_TO_1 = _number("a number from 0 to 1", lambda value: 0 <= value <= 1)
_COUNT = _number("a whole number from 1", lambda value: value >= 1 and value == int(value))
_RATE = Values("a number from 0, or a schedule", _FROM_0.holds)
_FLAG = Values("True or False", lambda value: isinstance(value, bool), "flag")
_TEXT = Values("a name", lambda value: isinstance(value, str), "text")
_LIST = Values("a list of numbers", lambda value: isinstance(value, list) and all(map(_ANY.holds, value)), "list")

RATE = "learning_rate"
ALIASES: Mapping[str, str] = {"lr": RATE}  # Keras 1 and 2.2's name
CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")  # of which a Keras takes one
SHARED = ("weight_decay", *CLIPPING, "use_ema", "ema_momentum", "ema_overwrite_frequency")  # by all optimizers
DECAY = "decay"
# No argument of Keras's: how a config that was made here says that epsilon is where Keras 2 had it.
OUTSIDE_ROOT = "eps_outside_root"

_CLIPPING = tuple(Argument(name, None, _FROM_0) for name in CLIPPING)
_AVERAGING = (
    Argument("use_ema", False, _FLAG),
    Argument("ema_momentum", 0.99, _UP_TO_1),
)
_EVERY = Argument("ema_overwrite_frequency", None, _COUNT)
_BESIDES = (
    Argument("loss_scale_factor", None, _ANY, generations=("keras3",), effect="refused"),
    Argument("gradient_accumulation_steps", None, _ANY, generations=("keras3",), effect="refused"),
    Argument("jit_compile", True, _FLAG, generations=("tf_keras",), effect="none"),
    Argument("is_legacy_optimizer", False, _FLAG, generations=(), effect="none"),  # in tf_keras's configs alone
    # The rate falls by 1 / (1 - decay * step); schedule_decay is Nadam's, whose rule is not known here.
    Argument(DECAY, 0.0, _FROM_0, generations=EARLIER),
    Argument("schedule_decay", 0.004, _FROM_0, generations=EARLIER, effect="none"),
)
_EPSILON = Argument("epsilon", 1e-7, _FROM_0, torch="eps")
_BETAS = (Argument("beta_1", 0.9, _BELOW_1, torch="betas"), Argument("beta_2", 0.999, _BELOW_1, torch="betas"))
_AMSGRAD = Argument("amsgrad", False, _FLAG)
_MOMENTUM = Argument("momentum", 0.0, _UP_TO_1)
_EPSILONS_PLACE = Argument(OUTSIDE_ROOT, False, _FLAG, generations=())

# Of the weights, by any optimizer, before its own slots.
AVERAGE = Slot("average", ("average",), "_model_variables_moving_average", "use_ema")
_FIRST = Slot("momentum", ("momentum", "m"), "_momentums")
_SECOND = Slot("velocity", ("velocity", "v"), "_velocities", never_negative=True)
_ADAM = (
    _FIRST,
    _SECOND,
    Slot("velocity_hat", ("velocity_hat", "vhat"), "_velocity_hats", "amsgrad", never_negative=True),
)


def _row(
    name: str,
    *own: Argument,
    slots: tuple[Slot, ...],
    rate: float = 0.001,
    weight_decay: float | None = None,
    every: Argument = _EVERY,
    interleaved: int = 1,
    keras2: Mapping[str, Any] | None = None,
) -> OptimizerClass:
    decay = Argument("weight_decay", weight_decay, _FROM_0)
    called = Argument("name", None, _TEXT, others={"tf_keras": name}, effect="none")
    rates = Argument(RATE, rate, _RATE, torch="lr")
    arguments = (rates, *own, decay, *_CLIPPING, *_AVERAGING, every, *_BESIDES, called)
    return OptimizerClass(name, arguments, slots, interleaved, keras2)


# Source: __init__ and build of each class in keras/src/optimizers, keras 3.15.1, and tf_keras/src/optimizers, tf_keras
# 2.21.0; _create_slots in tf_keras/src/optimizers/legacy; get_updates in keras 2.2.4, keras/optimizers.py.
OPTIMIZERS: Mapping[str, OptimizerClass] = {
    row.name: row
    for row in (
        _row(
            "SGD",
            _MOMENTUM,
            Argument("nesterov", False, _FLAG),
            rate=0.01,
            slots=(Slot("momentum", ("momentum", "m"), "momentums", "momentum"),),
            keras2={},
        ),
        _row(
            "RMSprop",
            Argument("rho", 0.9, _BELOW_1, torch="alpha"),
            _MOMENTUM,
            _EPSILON,
            Argument("centered", False, _FLAG),
            _EPSILONS_PLACE,
            every=Argument("ema_overwrite_frequency", None, _COUNT, others={"tf_keras": 100}),
            slots=(
                Slot("velocity", ("velocity", "rms"), "_velocities", never_negative=True),
                Slot("momentum", ("momentum",), "_momentums", "momentum"),
                Slot("average_gradient", ("average_gradient", "mg"), "_average_gradients", "centered"),
            ),
            keras2={},
        ),
        _row(
            "Adam",
            *_BETAS,
            _EPSILON,
            Argument("adaptive_epsilon", False, _FLAG, generations=("tf_keras",), effect="refused"),
            _AMSGRAD,
            slots=_ADAM,
            interleaved=2,
            keras2={},
        ),
        _row("AdamW", *_BETAS, _EPSILON, _AMSGRAD, weight_decay=0.004, slots=_ADAM, interleaved=2),
        _row(
            "Adamax",
            *_BETAS,
            _EPSILON,
            slots=(
                Slot("momentum", ("momentum", "m"), "_m"),
                Slot("norm", ("norm", "u", "v"), "_u", never_negative=True),
            ),
            interleaved=2,
            keras2={},
        ),
        _row("Nadam", *_BETAS, _EPSILON, slots=(_FIRST, _SECOND), interleaved=2),
        _row(
            "Adagrad",
            Argument("initial_accumulator_value", 0.1, _FROM_0),
            _EPSILON,
            _EPSILONS_PLACE,
            slots=(
                Slot(
                    "accumulator",
                    ("accumulator",),
                    "_accumulators",
                    never_negative=True,
                ),
            ),
            keras2={OUTSIDE_ROOT: True},
        ),
    )
}

NEVER_NEGATIVE = frozenset(slot.name for row in OPTIMIZERS.values() for slot in row.slots if slot.never_negative)

_INITIAL = Argument("initial_learning_rate", REQUIRED, _FROM_0)
_STEPS = Argument("decay_steps", REQUIRED, _ABOVE_0)
_DECAY_RATE = Argument("decay_rate", REQUIRED, _ANY)
_STAIRCASE = Argument("staircase", False, _FLAG)


def _schedule(name: str, *own: Argument, called: str = "") -> KerasClass:
    others: dict[Generation, Any] = {"tf_keras": None}
    return KerasClass(name, (*own, Argument("name", called or name, _TEXT, others=others, effect="none")))


# Those that both Kerases have, which every optimizer takes as its learning rate.
# Source: keras 3.15.1, keras/src/optimizers/schedules/learning_rate_schedule.py; the same in tf_keras 2.21.0.
SCHEDULES: Mapping[str, KerasClass] = {
    row.name: row
    for row in (
        _schedule("ExponentialDecay", _INITIAL, _STEPS, _DECAY_RATE, _STAIRCASE),
        _schedule(
            "PiecewiseConstantDecay",
            Argument("boundaries", REQUIRED, _LIST),
            Argument("values", REQUIRED, _LIST),
            called="PiecewiseConstant",
        ),
        _schedule(
            "PolynomialDecay",
            _INITIAL,
            _STEPS,
            Argument("end_learning_rate", 0.0001, _FROM_0),
            Argument("power", 1.0, _ANY),
            Argument("cycle", False, _FLAG),
        ),
        _schedule("InverseTimeDecay", _INITIAL, _STEPS, _DECAY_RATE, _STAIRCASE),
        _schedule(
            "CosineDecay",
            _INITIAL,
            _STEPS,
            Argument("alpha", 0.0, _ANY),
            Argument("warmup_target", None, _FROM_0),
            Argument("warmup_steps", 0, _FROM_0),
        ),
    )
}


def optimizer_class(name: str | None) -> OptimizerClass:
    """Returns the row of an optimizer.

    Args:
        name: In any case, as Keras takes it; tf_keras writes ``Custom>Adam``.

    Raises:
        TransferError: There is no such row.
    """
    return _looked_up("optimizer", (name or "").removeprefix("Custom>"), OPTIMIZERS)


def schedule_class(name: str) -> KerasClass:
    """Returns the row of a schedule, whose name is taken in any case.

    Raises:
        TransferError: There is no such row.
    """
    return _looked_up("schedule", name, SCHEDULES)


_Row = TypeVar("_Row", bound=KerasClass)


def _looked_up(kind: str, name: str, table: Mapping[str, _Row]) -> _Row:
    names = {known.lower(): known for known in table}
    found = names.get(name.lower())
    if found is None:
        like = nearest(name.lower(), list(names))
        raise TransferError(f"No {kind} {name!r}{like}. Known: {', '.join(sorted(table))}.")
    return table[found]
