"""What a model config says of its calls: ``inbound_nodes``, and the tensors that they point at, in every schema.

Keras 1 and 2 point by lists, Keras 3 by dicts; at one tensor, or at a nest of them.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.errors import ArchitectureError

MAX_DEPTH = 100  # lists and dicts within the arguments of a call; no real model comes near
CONSTANT = "_CONSTANT_VALUE"  # stands for a tensor in tf.keras's inbound lists. Source: tf_keras/src/engine/node.py

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


def as_text(value: Any, what: str) -> str:
    """Returns a name; ``what`` it names stands in the error.

    Raises:
        ArchitectureError: It is no text, or one that a terminal might obey.
    """
    if not isinstance(value, str) or not value or not value.isprintable():
        raise malformed(what, f"{shown(value)}, expected a printable text")
    return value


def as_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Returns a dict; ``what`` it describes stands in the error.

    Raises:
        ArchitectureError: It is none.
    """
    if not isinstance(value, Mapping):
        raise malformed(what, f"{shown(value)}, expected a dict")
    return value


def malformed(what: str, problem: str) -> ArchitectureError:
    """Returns the error for what no Keras writes."""
    return ArchitectureError(f"the model config is malformed: {what}: {problem}.")


def mixed(where: str, what: str) -> ArchitectureError:
    """Returns the error for an argument of tensors and constants."""
    return ArchitectureError(f"{where} is called on tensors and constants in one list or dict, {what}: not supported.")


def shown(value: Any) -> str:
    """Returns a value as a message shows it: shortened and printable."""
    text = "missing" if value is None else reprlib.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
