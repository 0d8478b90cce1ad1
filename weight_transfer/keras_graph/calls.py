"""What each call of a layer is given: ``inbound_nodes``, in the schemas of every Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.keras_graph.references import (
    Find,
    Reference,
    keras_3_reference,
    keys_of,
    leaves,
    listed_reference,
    rank,
    reference,
)
from weight_transfer.keras_graph.refusal import as_mapping, malformed, mixed, shown

CONSTANT = "_CONSTANT_VALUE"  # stands for a tensor in tf.keras's inbound lists. Source: tf_keras/src/engine/node.py


@dataclass(frozen=True)
class Inbound:
    """What one call is given.

    Attributes:
        references: Its tensors, in order.
        arguments: Its constants by name, or by position where Keras 3 wrote them so.
        keys: Of the dict, where its tensors are one.
        keras_3: Whether in Keras 3's schema.
    """

    references: tuple[Reference, ...]
    arguments: Mapping[str, Any]
    keys: tuple[str, ...] | None = None
    keras_3: bool = False


def inbounds(value: Any, where: str) -> tuple[Inbound, ...]:
    """Reads ``inbound_nodes``, one entry a call.

    Raises:
        ArchitectureError: It is in no Keras's schema.
    """
    if not isinstance(value, (list, tuple)):
        raise malformed(where, f"inbound_nodes is {shown(value)}, expected a list")
    return tuple(_keras_3_call(call, where) if _is_keras_3(call) else _listed_call(call, where) for call in value)


def _is_keras_3(call: Any) -> bool:
    return isinstance(call, Mapping) and "args" in call


def _keras_3_call(call: Mapping[str, Any], where: str) -> Inbound:
    args, kwargs = call["args"], as_mapping(call.get("kwargs", {}), f"the kwargs of {where}")
    if not isinstance(args, (list, tuple)):
        raise malformed(where, f"args is {shown(args)}, expected a list")
    given = {**{str(position): value for position, value in enumerate(args)}, **kwargs}
    references, arguments = _split(given, where, keras_3_reference)
    keys = keys_of(args[0], keras_3_reference, where) if args else None
    return Inbound(references, arguments, keys if keys and len(keys) == len(references) else None, keras_3=True)


def _listed_call(call: Any, where: str) -> Inbound:
    """A call as Keras 1 and 2 list it: tensors, each with the same further arguments behind it."""
    tensors = list(leaves(call, where, rank))
    if not all(isinstance(tensor, (list, tuple)) and rank(tensor, where) for tensor in tensors):
        raise malformed(where, f"inbound_nodes holds {shown(call)}, expected [name, node, tensor]")
    further: Mapping[str, Any] = {}
    if tensors and len(tensors[0]) == 4:
        further = as_mapping(tensors[0][3], f"the arguments of {where}")
    references, arguments = _split(further, where, listed_reference)
    constants = [tensor[2] for tensor in tensors if tensor[0] == CONSTANT]
    if constants and len(tensors) > 1:
        raise mixed(where, "its first argument")
    if constants:
        return Inbound(references, {"0": constants[0], **arguments})
    first = tuple(reference(tensor, where, listed=True) for tensor in tensors)
    keys = keys_of(call, rank, where)
    return Inbound((*first, *references), arguments, keys if keys and not references else None)


def _split(given: Mapping[str, Any], where: str, find: Find) -> tuple[tuple[Reference, ...], dict[str, Any]]:
    """Tells the arguments that are tensors, or lists and dicts of tensors, from the constants."""
    references: list[Reference] = []
    constants: dict[str, Any] = {}
    for key, value in given.items():
        found = [find(leaf, where) for leaf in leaves(value, where, find)]
        if not any(found):
            constants[key] = value
        elif all(found):
            references += found
        else:
            raise mixed(where, f"its argument {key!r}")
    return tuple(references), constants
