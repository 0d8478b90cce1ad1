"""Which optimizer a file's variables belong to: what the file says, another one like it, and a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weight_transfer.checkpoint import Checkpoint, SavedOptimizer, read_checkpoint
from weight_transfer.errors import TransferError, quoted
from weight_transfer.optimizer.classes import EARLIER, OPTIMIZERS, OUTSIDE_ROOT, RATE, Generation, OptimizerClass
from weight_transfer.optimizer.spec import OptimizerSpec, spec_of_config

EXAMPLE = "'Adam(learning_rate=1e-4)'"
# Keras 3's and tf_keras's, whose second one wraps the optimizers of its own newer kind.
LOSS_SCALE = ("LossScaleOptimizer", "LossScaleOptimizerV3")
# Under a mixed_float16 policy `compile` wraps an optimizer so, and a file may show the inner one alone.
# Source: keras 3.15.1, keras/src/optimizers/loss_scale_optimizer.py; the same in tf_keras 2.21.0.
BY_COMPILE: Mapping[str, Any] = {"dynamic": True, "initial_scale": 2.0**15, "dynamic_growth_steps": 2000}


@dataclass(frozen=True)
class FileOptimizer:
    """The optimizer of a file.

    Attributes:
        spec: What it is.
        config: The same as Keras serializes it; the file's own words where a person says nothing else.
        own: Whether the config is this file's, and so its learning rate the current one.
        rate_given: Whether a person gave the learning rate.
        scaling: The config of the ``LossScaleOptimizer`` around it.
        scale_saved: Whether that one's own variables are in the file: Keras 3 saves them, tf_keras does not.
        loss: What the model was compiled with, if that is a name.
        assumed: What the file does not say, in words.
    """

    spec: OptimizerSpec
    config: Mapping[str, Any]
    own: bool
    rate_given: bool
    scaling: Mapping[str, Any] | None
    scale_saved: bool
    loss: str | None
    assumed: tuple[str, ...]


def optimizer_of(
    checkpoint: Checkpoint, saved: SavedOptimizer, override: OptimizerSpec, like: Path | None
) -> FileOptimizer:
    """Returns the optimizer of a file.

    Args:
        checkpoint: The file.
        saved: The variables of its optimizer.
        override: What a person says of it, which holds whatever the file says.
        like: Another file of the same model, compiled alike, whose arguments are meant where this one says none.

    Raises:
        TransferError: Nothing says which it is, or it is one that is not known here.
    """
    training, config = checkpoint.training or {}, _config_in(checkpoint.training)
    own, assumed, scaling = config is not None, [], None
    if config is not None and not config["config"]:  # compile("adam")
        config, more = _by_name(str(config["class_name"]), _generation(checkpoint, saved))
        assumed += more
    if config is None and like is not None:
        with read_checkpoint(like) as other:
            config = _config_in(other.training)
        if config is not None:
            assumed.append(f"the optimizer's arguments are those of {like.name}")
    another = override.class_name is not None and (config is None or not _same(config, override.class_name))
    if another:
        own, config = False, _of_this_keras(override, _generation(checkpoint, saved)).to_config()
        assumed += _defaults(override)
    elif config is None:
        raise _unknown(checkpoint, saved)
    else:
        config, scaling = _inside(config, checkpoint)
    spec, config = _read(checkpoint, config, {} if another else override.arguments)
    loss = training.get("loss")
    return FileOptimizer(
        spec=spec,
        config=config,
        own=own,
        rate_given=RATE in override.arguments,
        scaling=BY_COMPILE if scaling is None and saved.wrapped else scaling,
        scale_saved=spec.generation == "keras3",
        loss=loss if isinstance(loss, str) else None,
        assumed=tuple(assumed),
    )


def compiled_config(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """Returns the optimizer that a file's model was compiled with, known here or not; None where it does not say.

    Raises:
        TransferError: It stands within another one, stored in a way that is not known here.
    """
    training = checkpoint.training or {}
    config, named = _config_in(training), training.get("optimizer")
    if config is None and isinstance(named, str):  # compile("lion")
        return {"class_name": named, "config": {}}
    if config is not None and not config["config"]:
        config, _ = _by_name(str(config["class_name"]), "keras3")
    return None if config is None else _inside(config, checkpoint)[0]


def _config_in(training: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The optimizer's config as each Keras puts it beside the loss."""
    for key in ("optimizer_config", "optimizer"):
        config = (training or {}).get(key)
        if isinstance(config, str) and _row_named(config) is not None:
            return {"class_name": config, "config": {}}
        if isinstance(config, Mapping) and isinstance(config.get("class_name"), str):
            inside = config.get("config")
            if inside is None or isinstance(inside, Mapping):
                return {**config, "config": inside or {}}
    return None


def _same(config: Mapping[str, Any], class_name: str) -> bool:
    return str(config["class_name"]).removeprefix("Custom>").lower() == class_name.lower()


def _generation(checkpoint: Checkpoint, saved: SavedOptimizer) -> Generation:
    """The Keras that wrote a file without a config: tf_keras stores no learning rate and no name."""
    rates = (array.shape == () and array.dtype.kind == "f" for array in saved.arrays[:2])
    return "keras3" if saved.name is not None or any(rates) else "tf_keras"


def _of_this_keras(override: OptimizerSpec, generation: Generation) -> OptimizerSpec:
    """What a person says, by the rule of the Keras that wrote the file where their words show none."""
    return dataclasses.replace(override, generation=generation) if override.generation == "keras3" else override


def _read(
    checkpoint: Checkpoint, config: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[OptimizerSpec, Mapping[str, Any]]:
    """A config with a person's arguments, read, and as Keras serializes it."""
    config = {"class_name": str(config.get("class_name")), "config": config.get("config") or {}}
    try:
        spec = spec_of_config(config)
        if arguments:
            # Keras 2's place of epsilon follows from the arguments.
            derived = (OUTSIDE_ROOT,) if spec.generation in EARLIER else ()
            of_the_file = {key: value for key, value in spec.arguments.items() if key not in derived}
            config = dataclasses.replace(spec, arguments={**of_the_file, **arguments}).to_config()
            spec = spec_of_config(config)
    except TransferError as error:
        raise TransferError(f"{quoted(checkpoint.path.name)}: its optimizer cannot be carried over. {error}") from error
    return spec, config


def _row_named(name: str) -> OptimizerClass | None:
    """The row of the table that Keras takes a name for, in any case."""
    return next((row for known, row in OPTIMIZERS.items() if known.lower() == name.lower()), None)


def _by_name(name: str, generation: Generation) -> tuple[dict[str, Any], list[str]]:
    """What ``compile("adam")`` makes, and what a file that keeps only the name does not say."""
    row = _row_named(name)
    if row is None:
        return {"class_name": name, "config": {}}, []
    rate = row.defaults(generation)[RATE]
    config = OptimizerSpec(row.name, {RATE: rate}, generation).to_config()
    if generation == "keras3":  # which keeps the rate beside the slots
        return config, []
    words = f"learning rate {rate:g}: {row.name}'s default, with which Keras itself goes on (the file keeps none)"
    return config, [words]


def _defaults(override: OptimizerSpec) -> Iterator[str]:
    left = [argument.name for argument in override.row.own if argument.name not in override.arguments]
    if left:
        yield f"{', '.join(left)}: Keras's defaults (the file does not say; --optimizer does)"


def _inside(config: Mapping[str, Any], checkpoint: Checkpoint) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The optimizer within a ``LossScaleOptimizer``, and that one's arguments."""
    name = str(config.get("class_name")).removeprefix("Custom>")
    if not name.startswith(LOSS_SCALE[0]):
        return config, None
    arguments = config.get("config") or {}
    inner = arguments.get("inner_optimizer")
    if name not in LOSS_SCALE or not isinstance(inner, Mapping) or "initial_scale" not in arguments:
        raise TransferError(
            f"{quoted(checkpoint.path.name)}: its optimizer is a {quoted(name)}, whose loss scaling is stored in a "
            "way that is not known here. Compile with its inner_optimizer, and save again."
        )
    return inner, arguments


def _unknown(checkpoint: Checkpoint, saved: SavedOptimizer) -> TransferError:
    called = f", which calls itself {quoted(saved.name)}," if saved.name else ""
    return TransferError(
        f"{quoted(checkpoint.path.name)}: holds {len(saved.arrays)} variables of an optimizer{called} and does not "
        f"say of which class. Expected one of {', '.join(sorted(OPTIMIZERS))}: give --optimizer {EXAMPLE} with every "
        "argument that was not Keras's default, or --like a full-model file that was compiled alike."
    )
