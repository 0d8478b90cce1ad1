"""From the config that Keras keeps of an optimizer to the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnet_torch.optimizers.adagrad import Adagrad
from resnet_torch.optimizers.adam import Adam, AdamW
from resnet_torch.optimizers.adamax import Adamax
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters
from resnet_torch.optimizers.nadam import Nadam
from resnet_torch.optimizers.rmsprop import RMSprop
from resnet_torch.optimizers.sgd import SGD
from resnet_torch.schedules import Keras2Decay, schedule_from_keras
from weight_transfer.optimizer.classes import DECAY, RATE
from weight_transfer.optimizer.spec import OptimizerSpec, spec_of_config

# By the name of the row in `weight_transfer.optimizer.classes.OPTIMIZERS`.
OPTIMIZER_CLASSES: Mapping[str, type[KerasOptimizer]] = {
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
    return build_optimizer(spec_of_config(config), params, lr)


def build_optimizer(spec: OptimizerSpec, params: Parameters, lr: LearningRate | None = None) -> KerasOptimizer:
    """Builds the optimizer of a specification; see `optimizer_from_keras`.

    Args:
        spec: Its class and arguments, and whose rule it is.
        params: See `KerasOptimizer`.
        lr: In place of the specification's.

    Raises:
        TransferError: The schedule is not known here.
    """
    by_name: dict[str, list[Any]] = {}
    for argument in spec.row.arguments:
        if argument.effect == "rule" and argument.name not in (RATE, DECAY):
            by_name.setdefault(argument.torch_name, []).append(spec.value(argument.name))
    chosen: dict[str, Any] = {name: tuple(values) if len(values) > 1 else values[0] for name, values in by_name.items()}
    if spec.generation == "tf_keras":
        chosen["ema_rule"] = "tf_keras"
    return OPTIMIZER_CLASSES[spec.row.name](params, lr=_learning_rate(spec) if lr is None else lr, **chosen)


def _learning_rate(spec: OptimizerSpec) -> LearningRate:
    schedule, decay = spec.schedule, spec.arguments.get(DECAY)
    rate = float(spec.value(RATE)) if schedule is None else schedule_from_keras(schedule.to_config(), in_fit=True)
    return Keras2Decay(rate, decay) if decay else rate
