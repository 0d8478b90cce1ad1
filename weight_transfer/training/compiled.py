"""How the model of a checkpoint was compiled, as a recipe says it: its optimizer, rate, schedule and loss go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.conversion.description import describe
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.description import Description
from weight_transfer.errors import TransferError, quoted
from weight_transfer.optimizer.classes import DECAY, OUTSIDE_ROOT, RATE, optimizer_class
from weight_transfer.optimizer.from_keras import read_optimizer_state
from weight_transfer.optimizer.grammar import parse_optimizer
from weight_transfer.optimizer.identify import compiled_config
from weight_transfer.optimizer.spec import OptimizerSpec, ScheduleSpec, call_text, refused_arguments, spec_of_config
from weight_transfer.optimizer.state import OptimizerState, read_state_beside
from weight_transfer.training.recipe import Recipe

CROSS_ENTROPIES = (
    "categoricalcrossentropy",
    "sparsecategoricalcrossentropy",
)  # of rows or of numbers, one loss
OURS = "{optimizer}"  # in a note, for that with which the training begins
_Fields = tuple[dict[str, Any], list[str]]
MEANS = (None, "auto", "sum_over_batch_size", "mean")


def as_compiled(recipe: Recipe, given: Collection[str]) -> tuple[Recipe, tuple[str, ...]]:
    """Returns a recipe that goes on as the model of its checkpoint was compiled, and what it changes, in words.

    What a person gave holds. With a new head, which no optimizer has seen, the recipe's own holds too.

    Args:
        recipe: With a ``checkpoint``; without one it is returned as it is.
        given: Names of the fields that a person gave.

    Raises:
        TransferError: The checkpoint cannot be read.
    """
    if recipe.checkpoint is None or recipe.new_head:
        return recipe, ()
    (found, notes), description = _read(Path(recipe.checkpoint))
    if description.compiled_loss:
        smoothing, more = _loss(description.compiled_loss, tuple(description.network.last_activations))
        found["label_smoothing"] = smoothing
        notes += more
    other = {name for name in found if name in given and getattr(recipe, name) != found[name]}
    classes = {parse_optimizer(text).class_name for text in (recipe.optimizer, found.get("optimizer"))}
    if "optimizer" in other and len(classes) > 1:
        kept = {name: value for name, value in found.items() if name == "label_smoothing"}  # another one begins anew
    elif "learning_rate" in given and "schedule" not in given:
        other |= {"schedule"} if found.get("schedule") else set()
        kept = {name: value for name, value in found.items() if name != "schedule"}
    else:
        kept = found
    notes += [f"{_words(name)} {getattr(recipe, name)}, where the file has {found[name]}" for name in sorted(other)]
    kept = {name: value for name, value in kept.items() if name not in given}
    said = [f"{_words(name)} {value}" for name, value in kept.items() if value not in (None, 0.0)]
    goes_on = [f"as {Path(recipe.checkpoint).name} was compiled: {', '.join(said)}"] if said else []
    begun = dataclasses.replace(recipe, **kept)
    return begun, (*goes_on, *(note.replace(OURS, begun.optimizer_words) for note in notes))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _read(path: Path) -> tuple[_Fields, Description]:
    """A file's optimizer as the recipe's fields, with what they cannot say; and what it says of network and loss."""
    if is_converted(path):
        converted = read_converted(path)
        saved = read_state_beside(converted)
        return ({}, []) if saved is None else _optimizer(saved.state), converted.description
    with read_checkpoint(path) as checkpoint:
        identified = identify(checkpoint)
        try:
            fields = _optimizer(read_optimizer_state(checkpoint, identified))
        except TransferError:  # the training itself says why its optimizer begins anew
            fields = _without_state(checkpoint)
        return fields, describe(checkpoint, identified)


# The optimizer


def _without_state(checkpoint: Checkpoint) -> _Fields:
    """What goes on of an optimizer whose state cannot: its arguments and rate, where its class is known here."""
    try:
        config = compiled_config(checkpoint)
    except TransferError:
        return {}, []
    if config is None:
        return {}, []
    try:
        row, inside = optimizer_class(config["class_name"]), config.get("config") or {}
        refused = refused_arguments(row, inside)
        known = {"class_name": row.name, "config": {k: v for k, v in inside.items() if k not in refused}}
        fields, notes = _optimizer(OptimizerState(row.name, known, 0, None))
    except TransferError:
        return {}, [f"{OURS}, where the file was compiled with {_foreign(config)}, which is not known here"]
    words = call_text(OptimizerSpec(None, refused))
    return fields, [*([f"{OURS}, without the file's {words}, which is not known here"] if refused else []), *notes]


def _foreign(config: Mapping[str, Any]) -> str:
    """``'Lion', learning rate 0.0001``."""
    rate = (config.get("config") or {}).get("learning_rate")
    said = f", learning rate {rate:g}" if isinstance(rate, int | float) else ""
    said = f", schedule {quoted(str(rate.get('class_name')))}" if isinstance(rate, Mapping) else said
    return f"{quoted(str(config['class_name']))}{said}"


def _optimizer(state: OptimizerState) -> _Fields:
    """The recipe's fields, and what they cannot say."""
    spec = spec_of_config(state.config)
    said = {name: value for name, value in spec.acting.arguments.items() if name not in (RATE, DECAY, OUTSIDE_ROOT)}
    rate, schedule, notes = _rate(state, spec)
    if spec.arguments.get(OUTSIDE_ROOT):
        notes.append(f"{spec.class_name} with epsilon inside the root, where this file's Keras 2 had it outside")
    return {"optimizer": str(OptimizerSpec(spec.class_name, said)), "learning_rate": rate, "schedule": schedule}, notes


def _rate(state: OptimizerState, spec: OptimizerSpec) -> tuple[float, str | None, list[str]]:
    """The rate with which the file stopped, or the first one and its schedule."""
    if spec.schedule is not None:
        return _schedule(spec.schedule, spec.row.defaults(spec.generation)[RATE])
    first, decay = float(spec.value(RATE)), spec.arguments.get(DECAY)
    if decay:  # Keras 2's own, which is this schedule
        values = {"initial_learning_rate": first, "decay_steps": 1, "decay_rate": float(decay)}
        return first, str(ScheduleSpec("InverseTimeDecay", values)), []
    return first if state.learning_rate is None else state.learning_rate, None, []


def _schedule(schedule: ScheduleSpec, default: float) -> tuple[float, str | None, list[str]]:
    inside = {key: value for key, value in schedule.arguments.items() if key != "name" and value is not None}
    first = inside.get("initial_learning_rate", default)
    rate = float(first) if isinstance(first, int | float) and first > 0 else default  # a warm-up may begin at 0
    takes = [] if schedule.row is None else [argument.name for argument in schedule.row.arguments]
    if not takes or not {*inside} <= {*takes}:
        name = schedule.class_name
        return rate, None, [f"a constant learning rate, where the file has the schedule {name}, not known here"]
    return rate, str(ScheduleSpec(schedule.class_name, {one: inside[one] for one in takes if one in inside})), []


# The loss


@dataclass(frozen=True)
class _Loss:
    name: str
    arguments: Mapping[str, Any]


def _loss(compiled: Mapping[str, Any], activations: Collection[str]) -> tuple[float, list[str]]:
    """The label smoothing of a file's loss, and what of the loss does not go on, with a network that ends so."""
    weights = _only(compiled.get("loss_weights"))
    loss = _parsed(_only(compiled.get("loss")))
    if loss is None or loss.name.replace("_", "").lower() not in CROSS_ENTROPIES:
        name = "a loss of its own" if loss is None else loss.name
        return 0.0, [f"categorical cross-entropy, where the file was compiled with {name}"]
    return float(loss.arguments.get("label_smoothing") or 0.0), [
        *_left_out(loss, weights),
        *_of_logits(loss, activations),
    ]


def _left_out(loss: _Loss, weights: Any) -> Iterator[str]:
    if weights not in (None, 1, 1.0):
        yield f"the loss unweighted, where the file weighs it by {weights}"
    if loss.arguments.get("reduction") not in MEANS:
        yield f"the mean of a batch's losses, where the file has the reduction {loss.arguments.get('reduction')!r}"
    if loss.arguments.get("ignore_class") is not None:
        yield f"all classes, where the file's loss ignores class {loss.arguments['ignore_class']}"


def _of_logits(loss: _Loss, activations: Collection[str]) -> Iterator[str]:
    """Where a loss takes a network's outputs for what they are not: training here takes them for what they are."""
    says_logits = bool(loss.arguments.get("from_logits"))
    if says_logits and "softmax" in activations:
        yield (
            "cross-entropy of the softmax's probabilities, where the file's loss takes them for logits "
            "(from_logits=True), which Keras on TensorFlow alone undoes"
        )
    for activation in sorted({*activations} - {"softmax"}):
        if not says_logits:
            yield (
                f"cross-entropy from logits, where the network ends in {activation} and the file's loss takes that for "
                "probabilities (from_logits=False)"
            )


def _only(value: Any) -> Any:
    """What stands for one output, alone, in a list or under its name."""
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if isinstance(value, Mapping) and "class_name" not in value and len(value) == 1:
        return next(iter(value.values()))
    return value


def _parsed(config: Any) -> _Loss | None:
    """A serialized loss of any Keras: a name, a class with arguments, a function."""
    if isinstance(config, str):
        return _Loss(config, {})
    if not isinstance(config, Mapping):
        return None
    name, inside = config.get("class_name"), config.get("config")
    if name == "function":
        return _parsed(inside) if isinstance(inside, str) else None
    if name == "LossFunctionWrapper" and isinstance(inside, Mapping):
        function = _parsed(inside.get("fn"))
        return None if function is None else _Loss(function.name, inside)
    return _Loss(str(name), inside if isinstance(inside, Mapping) else {})
