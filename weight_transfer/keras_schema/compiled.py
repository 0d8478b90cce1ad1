"""How a model is compiled, in the words of another Keras: its optimizer, its loss and its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weight_transfer.checkpoint.writing import Schema
from weight_transfer.errors import TransferError
from weight_transfer.keras_schema.target import NAMES, Container, Target
from weight_transfer.optimizer.classes import DECAY, OUTSIDE_ROOT, RATE, SCHEDULES, Generation
from weight_transfer.optimizer.spec import MARKS, ScheduleSpec, spec_of_config

GENERATIONS: Mapping[Schema, Generation] = {"keras2": "tf_keras", "keras3": "keras3"}
# Losses by the names that both Kerases take, without underscores. Source: keras/src/losses/__init__.py, keras 3.15.1;
# tf_keras/src/losses.py, tf_keras 2.21.0.
LOSSES = frozenset(
    {
        "categoricalcrossentropy", "sparsecategoricalcrossentropy", "binarycrossentropy", "binaryfocalcrossentropy",
        "categoricalfocalcrossentropy", "meansquarederror", "mse", "meanabsoluteerror", "mae", "mape", "msle",
        "meanabsolutepercentageerror", "meansquaredlogarithmicerror", "huber", "logcosh", "kldivergence", "poisson",
        "hinge", "squaredhinge", "categoricalhinge", "cosinesimilarity",
    }
)  # fmt: skip
# Metrics likewise; what else a model measures changes nothing of it, and is left out.
METRICS = LOSSES | {
    "accuracy", "acc", "binaryaccuracy", "categoricalaccuracy", "sparsecategoricalaccuracy", "topkcategoricalaccuracy",
    "sparsetopkcategoricalaccuracy", "auc", "precision", "recall", "rootmeansquarederror", "truepositives",
    "truenegatives", "falsepositives", "falsenegatives",
}  # fmt: skip
# Arguments of losses and metrics that both have.
ARGUMENTS = (
    "name", "reduction", "from_logits", "label_smoothing", "axis", "alpha", "gamma", "delta", "apply_class_balancing",
    "ignore_class", "threshold", "thresholds", "k", "top_k", "class_id", "num_thresholds", "curve",
    "summation_method", "multi_label", "num_labels", "label_weights",
)  # fmt: skip
REDUCTIONS = ("sum_over_batch_size", "sum", "none", None)
AUTOMATIC = "auto"  # Keras 2's: over the batch, outside of a distribution strategy
MODULES = {"loss": "keras.losses", "metrics": "keras.metrics", "weighted_metrics": "keras.metrics"}
WRAPPER = "MeanMetricWrapper"  # as which tf_keras writes a metric that was given by its name


def compiled_in_schema(compiled: Mapping[str, Any], schema: Schema, *, container: Container) -> dict[str, Any]:
    """Returns how a model is compiled as another generation takes it.

    How fast it runs (``jit_compile``, ``steps_per_execution``) is left to the Keras that loads it.

    Args:
        compiled: A ``compile_config`` or a legacy file's ``training_config``, of any Keras.
        schema: Which generation reads it.
        container: The same of what is returned.

    Raises:
        TransferError: The other generation has no such optimizer or loss.
    """
    target = Target(schema, container)
    optimizer = compiled.get("optimizer", compiled.get("optimizer_config"))
    if isinstance(optimizer, str):
        optimizer = {"class_name": optimizer, "config": {}}
    return {
        "optimizer" if container == ".keras" else "optimizer_config": optimizer and _optimizer(optimizer, target),
        "loss": _nest(compiled.get("loss"), target, "loss"),
        "loss_weights": compiled.get("loss_weights"),
        **{key: _nest(compiled.get(key), target, key) for key in ("metrics", "weighted_metrics")},
    }


def _optimizer(config: Mapping[str, Any], target: Target) -> dict[str, Any]:
    spec, generation = spec_of_config(config), GENERATIONS[target.schema]
    for name in (DECAY, OUTSIDE_ROOT):
        if spec.arguments.get(name):
            raise TransferError(f"the optimizer {spec} is Keras 2's; {NAMES[target.schema]} of today has no {name}.")
    arguments: dict[str, Any] = {**MARKS[generation]}
    for name, value in spec.arguments.items():
        argument = spec.row.argument(name)
        if argument is not None and (generation in argument.generations or name == "name"):
            arguments[name] = _rate(value, target) if name == RATE else value
    if target.container == ".keras":
        return target.object(spec.row.name, arguments, "keras.optimizers")
    # Without "Custom>" tf_keras takes it for one of its legacy classes.
    return {"class_name": f"{'Custom>' if target.schema == 'keras2' else ''}{spec.row.name}", "config": arguments}


def _rate(value: Any, target: Target) -> Any:
    if not isinstance(value, ScheduleSpec):
        return value
    if value.class_name not in SCHEDULES:
        raise TransferError(f"the learning rate {value.class_name!r} is none of Keras's schedules.")
    config = value.to_config()
    return target.object(config["class_name"], config["config"], "keras.optimizers.schedules")


def _nest(value: Any, target: Target, what: str) -> Any:
    """Losses or metrics of several outputs stand in lists and dicts."""
    if isinstance(value, list):
        items = [_nest(item, target, what) for item in value]
        return items if what == "loss" else [item for item in items if item is not None]
    if isinstance(value, Mapping) and "class_name" not in value:
        return {key: _nest(item, target, what) for key, item in value.items()}
    return None if value is None else _one(value, target, what)


def _one(value: Any, target: Target, what: str) -> Any:
    """A loss or a metric; None of a metric that is not known."""
    config = value.get("config") if isinstance(value, Mapping) else None
    name = value.get("class_name") if isinstance(value, Mapping) else value
    if name == WRAPPER and isinstance(config, Mapping):
        name = config["name"] if config.get("name") in ("accuracy", "acc") else config.get("fn")
    elif name == "function":
        name = config
    plain = str(name).rpartition(">")[2]
    known = plain.replace("_", "").lower() in (LOSSES if what == "loss" else METRICS)
    if not known or not isinstance(name, str):
        if what == "loss":
            raise TransferError(f"the loss {plain!r} is not known to be the same in {NAMES[target.schema]}.")
        return None
    if not isinstance(config, Mapping) or name is not value["class_name"]:
        return plain
    arguments = {key: item for key, item in config.items() if key in ARGUMENTS}
    if arguments.get("reduction") == AUTOMATIC:
        arguments["reduction"] = REDUCTIONS[0]
    if arguments.get("reduction") not in REDUCTIONS:
        raise TransferError(
            f"the loss {plain} with reduction={arguments['reduction']!r} is none of {NAMES[target.schema]}'s."
        )
    return target.object(plain, arguments, MODULES[what])
