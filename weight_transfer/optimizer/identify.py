"""Which optimizer a file's variables belong to: what the file says, another one like it, and a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.checkpoint import Checkpoint, SavedOptimizer, read_checkpoint
from weight_transfer.checkpoint.refusal import quoted
from weight_transfer.conversion.hints import Hints
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.classes import RULES, Configured, read_config
from weight_transfer.optimizer.spec import EXAMPLE, Said

# Keras 3's and tf_keras's, whose second one wraps the optimizers of its own newer kind.
LOSS_SCALE = ("LossScaleOptimizer", "LossScaleOptimizerV3")
# Under a mixed_float16 policy `compile` wraps an optimizer so, and a file may show the inner one alone.
# Source: keras 3.15.1, keras/src/optimizers/loss_scale_optimizer.py; the same in tf_keras 2.21.0.
BY_COMPILE: Mapping[str, Any] = {"dynamic": True, "initial_scale": 2.0**15, "dynamic_growth_steps": 2000}
RATES: Mapping[str, float] = {"SGD": 0.01}  # by default, where it is not 0.001


@dataclass(frozen=True)
class Found:
    """The optimizer of a file.

    Attributes:
        configured: Its config, read.
        config: The same as Keras serializes it.
        own: Whether the config is this file's, and so its learning rate the current one.
        says_rate: Whether a person gave the learning rate.
        scaling: The config of the ``LossScaleOptimizer`` around it.
        scale_saved: Whether that one's own variables are in the file: Keras 3 saves them, tf_keras does not.
        loss: What the model was compiled with, if that is a name.
        assumed: What the file does not say, in words.
    """

    configured: Configured
    config: Mapping[str, Any]
    own: bool
    says_rate: bool
    scaling: Mapping[str, Any] | None
    scale_saved: bool
    loss: str | None
    assumed: tuple[str, ...]


def configured_of(checkpoint: Checkpoint, saved: SavedOptimizer, said: Said, hints: Hints) -> Found:
    """Returns the optimizer of a file.

    Raises:
        TransferError: Nothing says which it is, or it is one that is not known here.
    """
    training, config = checkpoint.training or {}, _config_in(checkpoint.training)
    own, assumed = config is not None, []
    if config is not None and not config["config"]:  # compile("adam")
        config, more = _by_name(str(config["class_name"]), _marks(checkpoint, saved))
        assumed += more
    if config is None and hints.like is not None:
        with read_checkpoint(hints.like) as other:
            config = _config_in(other.training)
        if config is not None:
            assumed.append(f"the optimizer's arguments are those of {hints.like.name}")
    if said.class_name is not None and (config is None or not _same(config, said.class_name)):
        config, own = {"class_name": said.class_name, "config": _marks(checkpoint, saved)}, False
        assumed += _defaults(said)
    if config is None:
        raise _unknown(checkpoint, saved)
    config, scaling = _inside(config, checkpoint)
    if scaling is None and saved.wrapped:
        scaling = BY_COMPILE
    arguments = {**(config.get("config") or {}), **said.arguments}
    config = {"class_name": str(config.get("class_name")), "config": arguments}
    try:
        configured = read_config(config)
    except TransferError as error:
        raise TransferError(f"{quoted(checkpoint.path.name)}: its optimizer cannot be carried over. {error}") from error
    loss = training.get("loss")
    return Found(
        configured=configured,
        config=config,
        own=own,
        says_rate="learning_rate" in said.arguments,
        scaling=scaling,
        scale_saved=configured.generation == "keras3",
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
        config, _ = _by_name(str(config["class_name"]), {})
    return None if config is None else _inside(config, checkpoint)[0]


def _config_in(training: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The optimizer's config as each Keras puts it beside the loss."""
    for key in ("optimizer_config", "optimizer"):
        config = (training or {}).get(key)
        if isinstance(config, str) and _rule_named(config) is not None:
            return {"class_name": config, "config": {}}
        if isinstance(config, Mapping) and isinstance(config.get("class_name"), str):
            inside = config.get("config")
            if inside is None or isinstance(inside, Mapping):
                return {**config, "config": inside or {}}
    return None


def _same(config: Mapping[str, Any], class_name: str) -> bool:
    return str(config["class_name"]).removeprefix("Custom>").lower() == class_name.lower()


def _marks(checkpoint: Checkpoint, saved: SavedOptimizer) -> dict[str, Any]:
    """By which `read_config` knows the Keras: tf_keras stores no learning rate and no name."""
    rates = (array.shape == () and array.dtype.kind == "f" for array in saved.arrays[:2])
    keras3 = saved.name is not None or any(rates)
    return {} if keras3 else {"jit_compile": False}


def _rule_named(name: str) -> str | None:
    """The key of `RULES` that Keras takes a name for, in any case."""
    return {known.lower(): known for known in RULES}.get(name.lower())


def _by_name(name: str, marks: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What ``compile("adam")`` makes, and what a file that keeps only the name does not say."""
    known = _rule_named(name)
    if known is None:
        return {"class_name": name, "config": {}}, []
    rate = RATES.get(known, 1e-3)
    config = {"class_name": known, "config": {"learning_rate": rate, **marks}}
    if not marks:  # Keras 3 keeps the rate beside the slots
        return config, []
    return config, [f"learning rate {rate:g}: {known}'s default, with which Keras itself goes on (the file keeps none)"]


def _defaults(said: Said) -> Iterator[str]:
    name = _rule_named(str(said.class_name))
    left = [] if name is None else [argument for argument in RULES[name].names if argument not in said.arguments]
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
        f"say of which class. Expected one of {', '.join(sorted(RULES))}: give --optimizer {EXAMPLE} with every "
        "argument that was not Keras's default, or --like a full-model file that was compiled alike."
    )
