"""From the config that Keras keeps of an optimizer to the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from resnet_torch.optimizers.adagrad import Adagrad
from resnet_torch.optimizers.adam import Adam, AdamW
from resnet_torch.optimizers.adamax import Adamax
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters
from resnet_torch.optimizers.nadam import Nadam
from resnet_torch.optimizers.rmsprop import RMSprop
from resnet_torch.optimizers.sgd import SGD
from resnet_torch.schedules import Keras2Decay, schedule_from_keras
from weight_transfer.errors import TransferError, listing, nearest


@dataclass(frozen=True)
class Rule:
    """What a class name of Keras stands for.

    Attributes:
        kind: The optimizer.
        names: Keras's name of an argument to the optimizer's.
        keras2: Arguments in which Keras 2's rule differs; None where they cannot express it.
    """

    kind: type[KerasOptimizer]
    names: Mapping[str, str]
    keras2: Mapping[str, Any] | None = field(default_factory=dict)


EPSILON = {"epsilon": "eps"}
BETAS = {"beta_1": "beta_1", "beta_2": "beta_2", **EPSILON}
RULES: Mapping[str, Rule] = {
    "SGD": Rule(SGD, {"momentum": "momentum", "nesterov": "nesterov"}),
    "RMSprop": Rule(RMSprop, {"rho": "alpha", "momentum": "momentum", "centered": "centered", **EPSILON}),
    "Adam": Rule(Adam, {**BETAS, "amsgrad": "amsgrad"}),
    "AdamW": Rule(AdamW, {**BETAS, "amsgrad": "amsgrad"}, keras2=None),
    "Adamax": Rule(Adamax, BETAS),
    "Nadam": Rule(Nadam, BETAS, keras2=None),
    "Adagrad": Rule(
        Adagrad,
        {"initial_accumulator_value": "initial_accumulator_value", **EPSILON},
        keras2={"eps_outside_root": True},
    ),
}
SHARED = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum")
SHARED_NAMES = {name: name for name in (*SHARED, "ema_overwrite_frequency")}
READ_APART = ("learning_rate", "lr", "decay")
NO_EFFECT = ("name", "jit_compile", "is_legacy_optimizer")
REFUSED = ("loss_scale_factor", "gradient_accumulation_steps", "adaptive_epsilon")
# Arguments that Keras 2 holds in float32 variables, so that a float64 weight sees them rounded.
KERAS2_VARIABLES = ("learning_rate", "beta_1", "beta_2", "rho", "momentum")
KERAS2_EPSILON = 1e-7  # tf_keras backend_config.py, epsilon: what None stands for


def optimizer_from_keras(config: Mapping[str, Any], params: Parameters) -> KerasOptimizer:
    """Builds the optimizer that Keras's config describes, with the rule of the Keras that wrote it.

    Keras 2's rules (a config with ``decay``: Keras before 2.11 and tf_keras's legacy classes) differ:
    the rate decays, RMSprop without momentum and Adagrad have epsilon outside the root, and in Keras
    2 without TensorFlow (a config without ``name``) clipnorm is the norm of all gradients together.
    tf_keras averages the weights from before the first step (a config with ``jit_compile``).
    A schedule rounds as it does inside ``fit``. What is left, in float64 alone and below 1e-8: tf_keras
    keeps Nadam's product from betas in float32, and takes Adagrad's first accumulator as it is.

    Args:
        config: ``class_name`` and ``config``, as of ``keras.optimizers.serialize`` or a file's
            training config, of Keras 3, tf_keras or Keras 2.
        params: See `KerasOptimizer`.

    Raises:
        TransferError: The optimizer, or something that its config asks for, is not known here.

    Source: Keras 3.15.1 keras/src/optimizers/__init__.py, deserialize; tf_keras optimizers/legacy;
    keras 2.3 keras/optimizers.py.
    """
    name = _class_name(config)
    rule, arguments = RULES[name], dict(config.get("config") or {})
    _check(name, rule, arguments)
    keras2 = _is_keras2(arguments)
    if keras2:
        arguments = _of_keras2(name, rule, arguments)
    known = {**SHARED_NAMES, **rule.names, "eps_outside_root": "eps_outside_root"}
    chosen = {known[key]: value for key, value in arguments.items() if key in known}
    if "beta_1" in chosen or "beta_2" in chosen:
        chosen["betas"] = chosen.pop("beta_1", 0.9), chosen.pop("beta_2", 0.999)
    if "jit_compile" in arguments and not keras2:
        chosen["ema_rule"] = "tf_keras"
    lr = _learning_rate(arguments)
    if lr is not None:
        chosen["lr"] = lr
    return rule.kind(params, **chosen)


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
    unknown = [f"{key}{nearest(key, known)}" for key in arguments if key not in known]
    if unknown:
        raise TransferError(f"{name}'s config holds what is not known:{listing(unknown)}")
    refused = [f"{key}={arguments[key]}" for key in REFUSED if arguments.get(key)]
    if refused:
        raise TransferError(
            f"{name}'s config asks for what is not an update rule:{listing(refused)}\n"
            "Scale the loss or add up gradients in your own loop, and leave it out of the config."
        )


def _is_keras2(arguments: Mapping[str, Any]) -> bool:
    """Keras 2 always writes one of these, later ones never do."""
    return "decay" in arguments or "schedule_decay" in arguments


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
        changed["eps_outside_root"] = not changed.get("momentum")
    for key in KERAS2_VARIABLES:
        if isinstance(changed.get(key), Real):
            changed[key] = float(np.float32(changed[key]))
    return changed


def _learning_rate(arguments: Mapping[str, Any]) -> LearningRate | None:
    value = arguments.get("learning_rate", arguments.get("lr"))
    if value is None:
        return None
    if isinstance(value, Mapping):
        rate: LearningRate = schedule_from_keras(value, in_fit=True)
    elif isinstance(value, Real):
        rate = float(value)
    else:
        raise TransferError(f"learning_rate must be a number or a serialized schedule. Received: {value!r}")
    return Keras2Decay(rate, arguments["decay"]) if arguments.get("decay") else rate
