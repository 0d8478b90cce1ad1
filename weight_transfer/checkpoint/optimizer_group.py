"""What an optimizer has stored beside the weights: its variables in its own order, named or only numbered."""

from __future__ import annotations

from dataclasses import dataclass

from weight_transfer.checkpoint.hdf5 import Stored, Tree
from weight_transfer.checkpoint.keras3_h5 import VARIABLES
from weight_transfer.checkpoint.legacy_h5 import locate

LEGACY_GROUP, GROUP, INNER = "optimizer_weights", "optimizer", "inner_optimizer"


@dataclass(frozen=True)
class OptimizerIndex:
    """An optimizer's variables and where they are, without the numbers.

    Attributes:
        arrays: What the file calls each, and where it is, in the optimizer's order.
        name: The optimizer's own name, where the file says so.
        wrapped: Whether it is a ``LossScaleOptimizer`` around another one, where the file shows it.
    """

    arrays: tuple[tuple[str, Stored], ...]
    name: str | None = None
    wrapped: bool = False


def legacy_optimizer(tree: Tree, before: OptimizerIndex | None) -> OptimizerIndex | None:
    """Reads ``optimizer_weights``, whose attribute lists the variables' names in order.

    Source: keras/src/legacy/saving/legacy_h5_format.py, save_optimizer_weights_to_hdf5_group, keras 3.15.1.
    """
    if not tree.has(tree.root, LEGACY_GROUP):
        return before
    group = tree.group(tree.root, LEGACY_GROUP)
    names = tree.texts(group, "weight_names")
    if names is None:
        raise tree.refusal(f"/{LEGACY_GROUP}", "it lacks the attribute 'weight_names'")
    if len(set(names)) != len(names):
        raise tree.refusal(f"/{LEGACY_GROUP}@weight_names", "two variables have the same name")
    return OptimizerIndex(tuple((name, locate(tree, group, name)) for name in names))


def keras3_optimizer(tree: Tree, before: OptimizerIndex | None) -> OptimizerIndex | None:
    """Reads ``optimizer/vars``, which numbers the variables; of shards, each holds some of them.

    Source: keras/src/optimizers/base_optimizer.py, save_own_variables, keras 3.15.1.
    """
    if not tree.has(tree.root, GROUP):
        return before
    outer = tree.group(tree.root, GROUP)
    if not tree.has(outer, VARIABLES):
        return before
    group = tree.group(outer, VARIABLES)
    arrays = dict(() if before is None else before.arrays)
    for name in tree.names(group):
        if not name.isascii() or not name.isdecimal() or str(int(name)) != name:
            raise tree.refusal(f"/{GROUP}/{VARIABLES}/{name}", "not a number. Expected 0, 1, 2, ...")
        if name in arrays:
            raise tree.refusal(f"/{GROUP}/{VARIABLES}/{name}", "another shard holds it too")
        arrays[name] = tree.array(group, name)
    ordered = sorted(arrays.items(), key=lambda item: int(item[0]))
    label = tree.text(group, "name") or (None if before is None else before.name)
    wrapped = tree.has(outer, INNER) or (before is not None and before.wrapped)
    return OptimizerIndex(tuple(ordered), label, wrapped)
