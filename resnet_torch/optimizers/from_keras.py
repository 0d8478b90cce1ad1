"""From the config that Keras keeps of an optimizer to the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from resnet_torch.optimizers.adagrad import Adagrad
from resnet_torch.optimizers.adam import Adam, AdamW
from resnet_torch.optimizers.adamax import Adamax
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters
from resnet_torch.optimizers.nadam import Nadam
from resnet_torch.optimizers.rmsprop import RMSprop
from resnet_torch.optimizers.sgd import SGD
from resnet_torch.schedules import Keras2Decay, schedule_from_keras
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.classes import OUTSIDE_ROOT, SHARED_NAMES, read_config

KINDS: Mapping[str, type[KerasOptimizer]] = {
    kind.__name__: kind for kind in (SGD, RMSprop, Adam, AdamW, Adamax, Nadam, Adagrad)
}


def optimizer_from_keras(
    config: Mapping[str, Any], params: Parameters, lr: LearningRate | None = None
) -> KerasOptimizer:
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
        lr: In place of the config's, such as for a schedule that is not known here.

    Raises:
        TransferError: The optimizer, or something that its config asks for, is not known here.

    Source: Keras 3.15.1 keras/src/optimizers/__init__.py, deserialize; tf_keras optimizers/legacy;
    keras 2.3 keras/optimizers.py.
    """
    read = read_config(config)
    known = {**SHARED_NAMES, **read.rule.names, OUTSIDE_ROOT: "eps_outside_root"}
    chosen = {known[key]: value for key, value in read.arguments.items() if key in known}
    if "beta_1" in chosen or "beta_2" in chosen:
        chosen["betas"] = chosen.pop("beta_1", 0.9), chosen.pop("beta_2", 0.999)
    if read.generation == "tf_keras":
        chosen["ema_rule"] = "tf_keras"
    lr = _learning_rate(read.arguments) if lr is None else lr
    if lr is not None:
        chosen["lr"] = lr
    return KINDS[read.name](params, **chosen)


def _learning_rate(arguments: Mapping[str, Any]) -> LearningRate | None:
    value = arguments.get("learning_rate")
    if value is None:
        return None
    if isinstance(value, Mapping):
        rate: LearningRate = schedule_from_keras(value, in_fit=True)
    elif isinstance(value, Real):
        rate = float(value)
    else:
        raise TransferError(f"learning_rate must be a number or a serialized schedule. Received: {value!r}")
    return Keras2Decay(rate, arguments["decay"]) if arguments.get("decay") else rate
