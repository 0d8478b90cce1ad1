"""What each call of a layer is given, with every tensor resolved: from any schema, and into either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from weight_transfer.graph.flat_model import CallKey, Model, Tensor
from weight_transfer.graph.references import CONSTANT, Find, keras_3_reference, listed_reference, rank

Nest: TypeAlias = Any  # a `Source`, a constant, or lists and dicts of them
Facts: TypeAlias = Callable[["Source"], tuple[Sequence[int | None], str]]  # a tensor's shape and dtype

OPERATION_LAYERS = ("TFOpLambda", "SlicingOpLambda")  # of which Keras 2 keeps a list of one tensor as it is


@dataclass(frozen=True)
class Source:
    """The tensor that a call reads.

    Attributes:
        layer: Name of the layer that makes it.
        call: Which of the layer's calls, from 0.
        tensor: Which of that call's outputs.
    """

    layer: str
    call: int
    tensor: int


@dataclass(frozen=True)
class LayerCall:
    """What one call is given.

    Attributes:
        args: By position.
        kwargs: By name.
    """

    args: Sequence[Nest]
    kwargs: Mapping[str, Nest]


def layer_calls(
    name: str, row: Mapping[str, Any], model: Model, numbers: Mapping[CallKey, int]
) -> tuple[LayerCall, ...]:
    """Reads the calls of a layer that the model's outputs need.

    Args:
        name: Of the layer.
        row: As the config lists it.
        model: The model that lists it.
        numbers: The place of each needed call among those of its layer.
    """
    made = []
    for number, call in enumerate(row.get("inbound_nodes") or ()):
        if (name, number) in numbers:
            tensors = (_source(tensor, numbers) for tensor in model.reads[name, number])
            made.append(
                _keras_3_call(call, tensors)
                if isinstance(call, Mapping) and "args" in call
                else _listed_call(call, tensors, row["class_name"] in OPERATION_LAYERS)
            )
    return tuple(made)


def _source(tensor: Tensor, numbers: Mapping[CallKey, int]) -> Source:
    name, number, place = tensor
    return Source(name, numbers[name, number], place)


def _keras_3_call(call: Mapping[str, Any], tensors: Iterator[Source]) -> LayerCall:
    args = [resolved_nest(value, keras_3_reference, tensors) for value in call["args"]]
    kwargs = {
        key: resolved_nest(value, keras_3_reference, tensors) for key, value in (call.get("kwargs") or {}).items()
    }
    return LayerCall(args, kwargs)


def _listed_call(call: Any, tensors: Iterator[Source], whole: bool) -> LayerCall:
    """A call as Keras 1 and 2 list it; every tensor has the same further arguments behind it."""
    further: list[Any] = []

    def first(value: Any, where: str) -> Any:
        length = rank(value, where)
        if length == 4:
            further.append(value[3])
        return length

    given = resolved_nest(call, first, tensors)
    if isinstance(given, list) and len(given) == 1 and not whole:
        given = given[0]
    kwargs = further[0] if further else {}
    return LayerCall([given], {key: resolved_nest(value, listed_reference, tensors) for key, value in kwargs.items()})


def resolved_nest(value: Any, find: Find, tensors: Iterator[Source]) -> Nest:
    """Returns a nest with its references replaced.

    Args:
        value: As the config holds it.
        find: What tells a reference.
        tensors: What they mean, in the order in which `read_graph` reads them: dicts by sorted keys.
    """
    if find(value, ""):
        return value[2] if isinstance(value, (list, tuple)) and value[0] == CONSTANT else next(tensors)
    if isinstance(value, Mapping):
        done = {key: resolved_nest(value[key], find, tensors) for key in sorted(value, key=str)}
        return {key: done[key] for key in value}
    if isinstance(value, (list, tuple)):
        return [resolved_nest(item, find, tensors) for item in value]
    return value


def replaced(nest: Nest, leaf: Callable[[Source], Any]) -> Any:
    """Returns a nest with each tensor replaced."""
    if isinstance(nest, Source):
        return leaf(nest)
    if isinstance(nest, Mapping):
        return {key: replaced(item, leaf) for key, item in nest.items()}
    return [replaced(item, leaf) for item in nest] if isinstance(nest, list) else nest


def keras_3_inbound(call: LayerCall, facts: Facts) -> dict[str, Any]:
    """Returns an entry of ``inbound_nodes`` in Keras 3's schema, calls of nested models counted from 0."""

    def leaf(source: Source) -> dict[str, Any]:
        shape, dtype = facts(source)
        history = [source.layer, source.call, source.tensor]
        config = {"shape": [None, *shape], "dtype": dtype, "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": config}

    return {"args": replaced(list(call.args), leaf), "kwargs": replaced(dict(call.kwargs), leaf)}


def keras_2_inbound(call: LayerCall, listed: Callable[[Source], list[Any]], whole: bool) -> Any:
    """Returns an entry of ``inbound_nodes`` in Keras 2's schema.

    Args:
        call: With one positional argument.
        listed: Gives ``[name, node, tensor]`` of a tensor.
        whole: Whether the layer keeps a single tensor as it is, and no list of one.
    """
    kwargs = replaced(dict(call.kwargs), listed)
    first = call.args[0]
    if not isinstance(first, Source) and not _holds_tensors(first):
        return [CONSTANT, -1, first, kwargs]
    given = replaced(first, lambda source: [*listed(source), kwargs])
    return [given] if isinstance(first, Source) and not whole else given


def _holds_tensors(nest: Nest) -> bool:
    if isinstance(nest, (Mapping, list)):
        return any(_holds_tensors(item) for item in (nest.values() if isinstance(nest, Mapping) else nest))
    return isinstance(nest, Source)
