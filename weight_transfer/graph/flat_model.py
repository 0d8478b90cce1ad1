"""A model as its file lists it, and its graph: the calls inside nested models in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from weight_transfer.errors import ArchitectureError
from weight_transfer.graph.facts import with_facts
from weight_transfer.graph.graph import INPUT, Call, Graph, Layer
from weight_transfer.graph.references import Inbound, leaves, malformed, shown

Given = TypeVar("Given")

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "mask": (None,),
    "name": (None,),
}  # arguments that change nothing
MAX_WORK = 200_000  # calls and values read once flattened: shared models multiply them; no real model comes near

CallKey = tuple[str, int]  # layer name, number of the call
Tensor = tuple[str, int, int]  # the same and the number of the output


@dataclass(frozen=True)
class Row:
    """A layer of one model as the file lists it.

    Attributes:
        path: Its name, the names of the nested models that hold it before it.
        class_name: Keras class, without package or module.
        config: Its arguments as the file holds them; empty of a model.
        inbound: What each of its calls is given.
        model: What it is, where it is itself a model.
    """

    path: str
    class_name: str
    config: Mapping[str, Any]
    inbound: tuple[Inbound, ...]
    model: Model | None = None

    @property
    def num_outputs(self) -> int:
        """A layer is taken to have one."""
        return 1 if self.model is None else len(self.model.outputs)


@dataclass(frozen=True)
class Model:
    """A model with its references resolved.

    Attributes:
        name: Its own name.
        rows: Its layers by name.
        inputs: Names of its input layers.
        input_keys: What a dict that it is called on names them.
        outputs: Its outputs, in its order.
        output_names: Keys of the outputs where it returns a dict.
        reads: What each call reads, in an order to make the calls in.
    """

    name: str
    rows: Mapping[str, Row]
    inputs: tuple[str, ...]
    input_keys: tuple[str, ...]
    outputs: tuple[Tensor, ...]
    output_names: tuple[str, ...] | None
    reads: Mapping[CallKey, tuple[Tensor, ...]]


def flattened(model: Model, keras_version: str | None) -> Graph:
    """Returns the graph of a model and of those inside it.

    Args:
        model: As its file lists it.
        keras_version: What wrote it.

    Raises:
        ArchitectureError: Two layers share a name, a nested model is called with other inputs than it
            has, or the calls exceed the limit.
    """
    writer = _Writer()
    outputs = writer.call(model, None, None)
    graph = Graph(
        name=model.name,
        layers={},
        calls=tuple(writer.calls),
        inputs=dict.fromkeys((model.rows[name].path for name in model.inputs), ()),
        outputs=outputs,
        output_names=model.output_names,
        listed=_layers(model),
    )
    return with_facts(graph, keras_version)


class _Writer:
    """Makes the calls of a model, and in place of a nested model's the calls inside it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._count: dict[str, int] = {}
        self._values: set[str] = set()
        self._work = 0

    def call(self, model: Model, fed: Sequence[str] | None, training: bool | None) -> tuple[str, ...]:
        """Calls a model on values, None for the outermost, in a mode; returns the values of its outputs."""
        made: dict[CallKey, tuple[str, ...]] = {}
        if fed is not None:
            made = {(name, 0): (value,) for name, value in zip(model.inputs, fed, strict=True)}
        for key, tensors in model.reads.items():
            if key in made:
                continue
            row = model.rows[key[0]]
            inputs = tuple(made[name, number][tensor] for name, number, tensor in tensors)
            inbound = row.inbound[key[1]] if row.inbound else Inbound((), {})
            said = _training(row, inbound)
            mode = training if said is None else said  # the innermost call that says one decides
            self._spend(1 + len(inputs))
            if row.model is None:
                made[key] = (self._layer(row, inputs, inbound.arguments, mode),)
            else:
                _check_arguments(row, inbound)
                made[key] = self.call(row.model, matched(row, inbound, inputs), mode)
        return tuple(made[name, number][tensor] for name, number, tensor in model.outputs)

    def _layer(self, row: Row, inputs: tuple[str, ...], arguments: Mapping[str, Any], training: bool | None) -> str:
        if row.class_name != INPUT and not inputs:
            raise ArchitectureError(f"layer {row.path!r} ({row.class_name}) is called without any input.")
        count = self._count[row.path] = self._count.get(row.path, 0) + 1
        value = row.path if count == 1 else f"{row.path}#{count}"
        if value in self._values:
            raise ArchitectureError(f"two layers of the model are both named {value!r}, nested models included.")
        self._values.add(value)
        if row.class_name != INPUT:
            self.calls.append(Call(value, row.path, inputs, _acting(arguments), training))
        return value

    def _spend(self, amount: int) -> None:
        self._work += amount
        if self._work > MAX_WORK:
            raise ArchitectureError(f"the model makes more than {MAX_WORK} calls, nested models flattened.")


def _is_neutral(key: str, value: Any) -> bool:
    """Keras 3 writes a mask for each input: ``{"mask": [None, None]}``."""
    found = leaves(value, f"argument {key!r}", lambda leaf, where: None)
    return key in NEUTRAL and all(any(leaf is neutral for neutral in NEUTRAL[key]) for leaf in found)


def _acting(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call beside its mode that may change what it computes."""
    return {key: value for key, value in arguments.items() if key != "training" and not _is_neutral(key, value)}


def _training(row: Row, inbound: Inbound) -> bool | None:
    """The mode that a call says, for the layer or for all inside the model; None of Keras 3, which overrides it.

    Source: Functional.call and operation_fn in keras/src/models/functional.py, keras 3.15.1;
        Layer._set_training_mode in tf_keras/src/engine/base_layer.py, tf_keras 2.21.0.
    """
    said = inbound.arguments.get("training")
    if said not in (None, False, True):
        raise malformed(f"layer {row.path!r}", f"it is called with training={shown(said)}, expected true or false")
    return None if said is None or inbound.keras_3 else bool(said)


def _check_arguments(row: Row, inbound: Inbound) -> None:
    unknown = sorted(_acting(inbound.arguments))
    if unknown:
        raise ArchitectureError(
            f"model {row.path!r} is called with {shown(unknown)}. Expected nothing beside inputs and training."
        )


def matched(row: Row, inbound: Inbound, inputs: tuple[Given, ...]) -> tuple[Given, ...]:
    """Returns what a nested model is called on in the order of its inputs: by name from a dict, else by position.

    Args:
        row: The model.
        inbound: The call.
        inputs: What the call reads: values, or anything else of each.

    Raises:
        ArchitectureError: The call gives more or fewer.
    """
    wanted = () if row.model is None else row.model.input_keys
    if inbound.keys is not None and set(wanted) <= set(inbound.keys):
        by_key = dict(zip(inbound.keys, inputs, strict=True))
        return tuple(by_key[key] for key in wanted)
    if len(inputs) != len(wanted):
        raise ArchitectureError(f"model {row.path!r} takes {len(wanted)} inputs and is called on {len(inputs)}.")
    return inputs


def _layers(model: Model, nested: bool = False) -> dict[str, Layer]:
    """All layers by path, without the models themselves and their inner inputs."""
    found: dict[str, Layer] = {}
    for row in model.rows.values():
        if row.model is not None:
            inner = _layers(row.model, nested=True)
        elif nested and row.class_name == INPUT:
            inner = {}
        else:
            inner = {row.path: Layer(row.path, row.class_name, row.config)}
        for path in inner.keys() & found.keys():
            raise ArchitectureError(f"two layers of the model are both named {path!r}, nested models included.")
        found |= inner
    return found
