"""Tensors as a config points at them: in Keras 1 and 2 by lists, in Keras 3 by dicts; alone, or in a nest of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.keras_graph.limits import MAX_DEPTH
from weight_transfer.keras_graph.refusal import as_mapping, malformed, shown

Find = Callable[[Any, str], Any]  # what a value means if it is a tensor, None if it is none


@dataclass(frozen=True)
class Reference:
    """One tensor as the file points at it.

    Attributes:
        layer: Name of the layer that made it.
        node: Which of the layer's calls; a nested model may be counted from 1.
        tensor: Which of that call's outputs.
        listed: Whether by ``[name, node, tensor]`` and not by Keras 3's dict.
    """

    layer: str
    node: int
    tensor: int
    listed: bool


@dataclass(frozen=True)
class Ends:
    """A model's inputs or outputs.

    Attributes:
        references: In the model's order.
        keys: Of the dict, where they are one.
    """

    references: tuple[Reference, ...]
    keys: tuple[str, ...] | None = None


def keras_3_reference(value: Any, where: str) -> Reference | None:
    """Returns what a ``__keras_tensor__`` refers to, None for anything else."""
    if not isinstance(value, Mapping) or value.get("class_name") != "__keras_tensor__":
        return None
    history = as_mapping(value.get("config"), f"a tensor of {where}").get("keras_history")
    return reference(history, where, listed=False)


def listed_reference(value: Any, where: str) -> Reference | None:
    """Returns what a tensor among the further arguments refers to: exactly ``[name, node, tensor]``, or None."""
    if rank(value, where) and len(value) == 3 and all(_is_index(number) for number in value[1:]):
        return reference(value, where, listed=True)
    return None


def rank(value: Any, where: str) -> int:
    """Returns the length of a list that names a tensor, 0 for anything else.

    Source: convert_inner_node_data in tf_keras/src/utils/tf_utils.py.
    """
    named = isinstance(value, (list, tuple)) and len(value) in (3, 4) and isinstance(value[0], str)
    return len(value) if named else 0


def reference(value: Any, where: str, *, listed: bool) -> Reference:
    """Reads ``[name, node, tensor]``, whatever stands behind it.

    Raises:
        ArchitectureError: It is no such list.
    """
    if not rank(value, where) or not all(_is_index(number) for number in value[1:3]):
        raise malformed(where, f"it refers to {shown(value)}, expected [name, node, tensor]")
    return Reference(value[0], value[1], value[2], listed)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def leaves(value: Any, where: str, find: Find, depth: int = 0) -> Iterator[Any]:
    """Yields tensors and constants of a nest, dicts in the order of their keys, as Keras flattens them."""
    if depth > MAX_DEPTH:
        raise malformed(where, "its arguments are nested too deeply")
    if isinstance(value, (list, tuple, Mapping)) and not find(value, where):
        for item in _items(value):
            yield from leaves(item, where, find, depth + 1)
    else:
        yield value


def _items(value: Any) -> list[Any]:
    return [value[key] for key in sorted(value, key=str)] if isinstance(value, Mapping) else list(value)


def keys_of(value: Any, find: Find, where: str) -> tuple[str, ...] | None:
    """Returns the keys of a plain dict of tensors, None for anything else."""
    if not isinstance(value, Mapping) or find(value, where) or not all(find(item, where) for item in value.values()):
        return None
    return tuple(sorted(value, key=str))


def ends(value: Any, where: str, depth: int = 0) -> Ends:
    """Reads a model's inputs or outputs: one, a list, or a dict with its keys, sorted as Keras sorts them."""
    if not isinstance(value, (list, tuple, Mapping)) or depth > MAX_DEPTH:
        raise malformed(where, f"{shown(value)}, expected lists of [name, node, tensor]")
    if not isinstance(value, Mapping):
        return Ends(tuple(reference(leaf, where, listed=True) for leaf in leaves(value, where, rank)))
    references: list[Reference] = []
    names: list[str] = []
    for key in sorted(value, key=str):
        found = ends(value[key], where, depth + 1).references
        references += found
        names += [str(key)] if len(found) == 1 else [f"{key}/{index}" for index in range(len(found))]
    return Ends(tuple(references), tuple(names))
