"""A model's config in another schema: its layers, their calls, and the models within it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from weight_transfer.checkpoint.writing import Schema
from weight_transfer.graph import Graph
from weight_transfer.graph.flat_model import CallKey, Model, Row, Tensor, matched
from weight_transfer.graph.precision import MIXED, policy_name
from weight_transfer.graph.references import rank
from weight_transfer.keras_schema.calls import (
    LayerCall,
    Source,
    keras_2_inbound,
    keras_3_inbound,
    layer_calls,
    replaced,
    resolved_nest,
)
from weight_transfer.keras_schema.configs import input_config, layer_config
from weight_transfer.keras_schema.operations import (
    is_operation,
    keras_2_operation,
    keras_3_operation,
    read_operation,
)
from weight_transfer.keras_schema.target import Target
from weight_transfer.layer_types import LAYER_TYPES, Shape
from weight_transfer.layer_types.normalizations import SCALE

# Where each generation keeps its class of functional models.
FUNCTIONAL: Mapping[Schema, str] = {
    "keras2": "keras.src.engine.functional",
    "keras3": "keras.src.models.functional",
}

Fact: TypeAlias = tuple[Shape, str]  # a tensor's shape without the batch axis, and its dtype


@dataclass(frozen=True)
class Translation:
    """What the models of one config have in common.

    Attributes:
        target: What is written.
        source: The schema of the config.
        graph: What the config means.
        trainable: By path, the flags of layers that learn otherwise than theirs say.
    """

    target: Target
    source: Schema
    graph: Graph
    trainable: Mapping[str, bool]

    @property
    def to_keras_3(self) -> bool:
        """Whether from Keras 2 to Keras 3."""
        return self.source == "keras2" and self.target.schema == "keras3"

    @property
    def crosses(self) -> bool:
        """Whether from one generation to the other."""
        return self.source != self.target.schema


def translated_model(
    raw: Mapping[str, Any], model: Model, by: Translation, fed: Sequence[Fact] | None = None
) -> dict[str, Any]:
    """Returns a model as a serialized object of the target.

    Args:
        raw: As the config holds it.
        model: The same, read.
        by: From what and into what.
        fed: What a nested model is first called on.

    Raises:
        ArchitectureError: The target cannot say what acts in it.
    """
    return _Writer(raw, model, by, fed).written()


class _Writer:
    """Writes one model."""

    def __init__(self, raw: Mapping[str, Any], model: Model, by: Translation, fed: Sequence[Fact] | None) -> None:
        inside = raw["config"]
        self._config: Mapping[str, Any] = inside if isinstance(inside, Mapping) else {"layers": inside}
        self._class_name = raw["class_name"]
        self._model, self._by = model, by
        self._facts = _facts_of(model, by.graph, fed)
        self._numbers = _numbers(model)
        self._calls = {(name, place): number for (name, number), place in self._numbers.items()}
        self._bases = {name: _base(row, by.target) for name, row in model.rows.items()}

    def written(self) -> dict[str, Any]:
        # Of a flag of a whole model, tf_keras reads nothing and Keras 3 all.
        trainable = self._by.to_keras_3 or self._config.get("trainable") is not False
        config: dict[str, Any] = {"name": self._model.name, "trainable": trainable}
        target = self._by.target
        if self._class_name == "Sequential":
            return target.object("Sequential", {**config, "layers": self._chain()}, "keras")
        config["layers"] = self._layers()
        config["input_layers"] = self._ends("input_layers", (Source(name, 0, 0) for name in self._model.inputs))
        outputs = (Source(name, self._numbers[name, call], place) for name, call, place in self._model.outputs)
        config["output_layers"] = self._ends("output_layers", outputs)
        return target.object("Functional", config, FUNCTIONAL[target.schema], "Functional")

    def _ends(self, key: str, sources: Iterator[Source]) -> Any:
        """Inputs or outputs; a single one is a list of one in Keras 2."""
        ends = resolved_nest(self._config[key], rank, sources)
        if self._by.to_keras_3 and isinstance(ends, list) and len(ends) == 1:
            ends = ends[0]
        elif self._by.target.schema == "keras2" and isinstance(ends, Source):
            ends = [ends]
        return replaced(ends, self._listed)

    def _listed(self, source: Source) -> list[Any]:
        return [source.layer, source.call + self._bases[source.layer], source.tensor]

    def _fact(self, source: Source) -> Fact:
        return self._facts[source.layer, self._calls[source.layer, source.call], source.tensor]

    def _items(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The layers as the config lists them, which may leave out a Sequential's input."""
        listed = self._config["layers"]
        return list(zip(list(self._model.rows)[len(self._model.rows) - len(listed) :], listed, strict=True))

    def _chain(self) -> list[dict[str, Any]]:
        items, shape = self._items(), _first_shape(self._model)
        written = [self._object(name, item) for name, item in items]
        if len(items) == len(self._model.rows) or shape is None:
            return written
        config = input_config(next(iter(self._model.rows.values())).config, shape, self._by.target)
        return [self._by.target.object("InputLayer", config, "keras.layers"), *written]

    def _layers(self) -> list[dict[str, Any]]:
        written = []
        for name, item in self._items():
            calls = layer_calls(name, item, self._model, self._numbers)
            row = self._model.rows[name]
            if row.model is None and is_operation(row.class_name, row.config):
                written += self._operation(name, row, calls)
            elif calls or row.class_name == "InputLayer":
                given = [_first_alone(call) if self._by.crosses else call for call in calls]
                inbound = [self._inbound(call, whole=False) for call in given]
                written.append({**self._object(name, item), "name": name, "inbound_nodes": inbound})
        return written

    def _object(self, name: str, item: Mapping[str, Any]) -> dict[str, Any]:
        """A layer or a nested model, without its calls."""
        row, target = self._model.rows[name], self._by.target
        if row.model is not None:
            return translated_model(item, row.model, self._by, _fed_first(self._model, name, self._facts))
        if row.class_name == "InputLayer":
            return target.object("InputLayer", input_config(row.config, _shape(row), target), "keras.layers")
        config = {**row.config, "name": name}
        class_name, written = layer_config(row.path, row.class_name, config, target, self._by.graph.data_format)
        if row.path in self._by.trainable and "trainable" in written:
            written["trainable"] = self._by.trainable[row.path]
        if class_name == SCALE:  # a user's own, which custom_objects bring
            return target.object(class_name, written, None, SCALE)
        return target.object(class_name, written, "keras.layers")

    def _operation(self, name: str, row: Row, calls: Sequence[LayerCall]) -> list[dict[str, Any]]:
        make = keras_3_operation if self._by.target.schema == "keras3" else keras_2_operation
        read = [read_operation(row.class_name, row.config, call, self._fact) for call in calls]
        made = [make(name, operation, self._by.target, self._fact) for operation in read]
        inbound = [self._inbound(call, whole=True) for _, call in made]
        return [{**written, "name": name, "inbound_nodes": inbound} for written, _ in made[:1]]

    def _inbound(self, call: LayerCall, whole: bool) -> Any:
        if self._by.target.schema == "keras3":
            return keras_3_inbound(call, self._fact)
        return keras_2_inbound(call, self._listed, whole)


def _numbers(model: Model) -> dict[CallKey, int]:
    """The place of each needed call among those of its layer."""
    numbers: dict[CallKey, int] = {}
    counts: dict[str, int] = {}
    for name, number in sorted(model.reads):
        numbers[name, number] = counts.get(name, 0)
        counts[name] = counts.get(name, 0) + 1
    return numbers


def _base(row: Row, target: Target) -> int:
    """The number by which lists name the first call of a layer: 1 of a model that counts its own building.

    Source: get_config and functional_from_config in keras/src/models/functional.py, keras 3.15.1;
        _should_skip_first_node in tf_keras/src/engine/functional.py, tf_keras 2.21.0.
    """
    if row.model is None:
        return 0
    if row.class_name == "Sequential":  # in Keras 2 a functional model once it has an input
        return int(target.schema == "keras2" and _first_shape(row.model) is not None)
    return 1


def _first_shape(model: Model) -> Any:
    """The batch shape of a model's first input; None where a Sequential does not state it."""
    return _shape(model.rows[model.inputs[0]])


def _shape(row: Row) -> list[int | None] | None:
    """An input's batch shape; earlier Kerases also write it as a list of one."""
    shape = row.config.get("batch_shape", row.config.get("batch_input_shape"))
    if isinstance(shape, (list, tuple)) and len(shape) == 1 and isinstance(shape[0], (list, tuple)):
        shape = shape[0]
    return list(shape) if isinstance(shape, (list, tuple)) else None


def _first_alone(call: LayerCall) -> LayerCall:
    """A call without its mode and masks: what else acts has been refused, or stands in the layer."""
    return LayerCall([call.args[0] if call.args else next(iter(call.kwargs.values()))], {})


def _facts_of(model: Model, graph: Graph, fed: Sequence[Fact] | None = None) -> dict[Tensor, Fact]:
    """Returns the facts of each tensor that the model's outputs need.

    Args:
        model: Of any depth.
        graph: What the whole config means.
        fed: What a nested model is called on.
    """
    starts = dict(zip(model.inputs, fed, strict=True)) if fed is not None else {}
    found: dict[Tensor, Fact] = {}
    for (name, number), tensors in model.reads.items():
        given = tuple(found[tensor] for tensor in tensors)
        for place, fact in enumerate(_made(model.rows[name], name, number, given, starts, graph)):
            found[name, number, place] = fact
    return found


def _fed_first(model: Model, name: str, facts: Mapping[Tensor, Fact]) -> tuple[Fact, ...] | None:
    """Returns what a model within the model is first called on; None where no output needs it."""
    number = next((number for reader, number in model.reads if reader == name), None)
    if number is None:
        return None
    row, tensors = model.rows[name], model.reads[name, number]
    return matched(row, row.inbound[number], tuple(facts[tensor] for tensor in tensors))


def _made(
    row: Row, name: str, number: int, given: tuple[Fact, ...], starts: Mapping[str, Fact], graph: Graph
) -> Sequence[Fact]:
    if row.class_name == "InputLayer":
        dtype = row.config.get("dtype")
        return [starts.get(name) or (graph.inputs[row.path], dtype if isinstance(dtype, str) else "float32")]
    if row.model is not None:
        inner = _facts_of(row.model, graph, matched(row, row.inbound[number], given))
        return [inner[tensor] for tensor in row.model.outputs]
    layer = graph.layers[row.path]
    shape = LAYER_TYPES[layer.class_name].out_shape(layer.settings, [shape for shape, _ in given])
    if is_operation(row.class_name, row.config):
        return [(shape, str(layer.settings.get("dtype") or given[0][1]))]
    policy = policy_name(row.path, row.config.get("dtype"))
    return [(shape, MIXED.get(policy, policy))]
