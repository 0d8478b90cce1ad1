"""Optimizers of Keras 3 and tf_keras: built from a specification, and their slots by Keras 3's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weight_transfer.optimizer.classes import AVERAGE, OPTIMIZERS, RATE
from weight_transfer.optimizer.spec import OptimizerSpec


def build_optimizer(module: Any, spec: OptimizerSpec) -> Any:
    """Builds an optimizer.

    Args:
        module: `keras` or `tf_keras`.
        spec: Its class and arguments, of a Keras of today.
    """
    arguments = dict(spec.arguments)
    if spec.schedule is not None:
        kind = getattr(module.optimizers.schedules, spec.schedule.class_name)
        arguments[RATE] = kind(**spec.schedule.arguments)
    own = {} if module.__name__ == "keras" else {"jit_compile": False}
    return getattr(module.optimizers, spec.row.name)(**arguments, **own)


def slots_of(optimizer: Any, num_variables: int) -> dict[str, list[np.ndarray]]:
    """Returns every slot's arrays by Keras 3's name of the slot, in the order of the variables.

    Args:
        optimizer: One that has been built, of a class that `OPTIMIZERS` has.
        num_variables: How many it was built for.
    """
    found = {}
    for slot in (AVERAGE, *OPTIMIZERS[type(optimizer).__name__].slots):
        kept = getattr(optimizer, slot.attribute, None) or []
        if len(kept) == num_variables:
            found[slot.name] = [np.asarray(variable) for variable in kept]
    return found


def config_of(module: Any, optimizer: Any) -> dict[str, Any]:
    """Returns an optimizer's config as a file that this Keras writes holds it.

    Args:
        module: `keras` or `tf_keras`.
        optimizer: Of it.
    """
    if module.__name__ == "keras":
        found = module.optimizers.serialize(optimizer)
    else:
        found = module.optimizers.serialize(optimizer, use_legacy_format=True)
    plain: dict[str, Any] = _plain(found)
    return plain


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
