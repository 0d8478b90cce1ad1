"""The layer graph that a Keras model's config describes, in one form for every Keras.

Keras has written the same graph in many schemas: Keras 1 and 2 (``Model``, ``Sequential``, inbound
lists), tf.keras (``Functional``), Keras 3 (``__keras_tensor__`` arguments, DTypePolicy objects),
nested to any depth, with layers shared between calls. Here they are all layers and calls. No class
is imported, and nothing of the file runs.
"""

from __future__ import annotations

import dataclasses
import itertools
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weight_transfer.errors import ArchitectureError, nearest

OWN_PACKAGES = ("keras", "tf_keras", "tensorflow")  # whose registered classes are Keras's own


@dataclass(frozen=True)
class KerasLayer:
    """One layer, however often it is called.

    Attributes:
        path: Its name, the names of the nested models that hold it before it: ``resnet50/conv1``.
        class_name: Keras class, without package or module.
        config: Its arguments as the file holds them.
    """

    path: str
    class_name: str
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        value: Name of what it returns: the layer's path, with ``#2`` and so on from its second call on.
        layer: Path of the layer called.
        inputs: Values it reads, in order.
        arguments: Constants of the call beside its inputs, by name (only TensorFlow operations have them).
    """

    value: str
    layer: str
    inputs: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KerasGraph:
    """A whole model, nested models dissolved.

    Attributes:
        name: Of the model.
        layers: By path, `InputLayer` of the outermost model included.
        calls: Each after the calls whose values it reads; an input is a call without inputs.
        inputs: Values of the model's inputs, in its order.
        outputs: Values of the model's outputs, in its order.
        output_names: Keys of the outputs where the model returns a dict; None where it returns one
            value or a list.
    """

    name: str
    layers: Mapping[str, KerasLayer]
    calls: tuple[Call, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...] | None = None


# Limits that no real model comes near. Source: the reference reader's, in which 196 of 196 hostile files were held.
MAX_LAYERS = 10_000
MAX_NESTING = 32  # models within models
MAX_DEPTH = 100  # lists and dicts within the arguments of a call
MAX_WORK = 200_000  # calls and values read after dissolving: shared models multiply them

MODEL_CLASSES = ("Functional", "Model", "Sequential")
CONSTANT = "_CONSTANT_VALUE"  # stands for a tensor in tf.keras's inbound lists. Source: tf_keras/src/engine/node.py
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "mask": (None,),
    "name": (None,),
    "training": (None, False),
}  # arguments that change nothing


def keras_graph(config: Mapping[str, Any]) -> KerasGraph:
    """Reads the graph of a model config, in the schema of any Keras.

    A call's constants beside its inputs are its `Call.arguments`: by name, or by position (``"1"``) where
    Keras 3 wrote them so. ``training`` of a nested model's call is handed on to the calls inside it.

    Example:
        >>> graph = keras_graph(read_checkpoint("resnet50.keras").config)
        >>> graph.layers["conv1_conv"].class_name
        'Conv2D'

    Args:
        config: ``{"class_name": ..., "config": ...}``, as `Checkpoint.config` holds it or
            ``json.loads(model.to_json())`` gives it.

    Raises:
        ArchitectureError: The config is malformed, no graph, or beyond the limits.

    Source: functional_from_config in keras/src/models/functional.py, keras 3.15.1; reconstruct_from_config in
        tf_keras/src/engine/functional.py, tf_keras 2.21.0.
    """
    model = _Reader().model(_mapping(config, "the model config"), "", 0)
    writer = _Writer()
    outputs = writer.call(model, None, {})
    inputs = tuple(model.rows[name].path for name in model.inputs)
    return KerasGraph(model.name, _layers(model), tuple(writer.calls), inputs, outputs, model.output_names)


@dataclass(frozen=True)
class _Reference:
    """One tensor as the file points at it; ``listed`` if by ``[name, node, tensor]`` and not by Keras 3's dict."""

    layer: str
    node: int
    tensor: int
    listed: bool


@dataclass(frozen=True)
class _Inbound:
    """What one call is given; ``keys`` where its tensors are a dict's."""

    references: tuple[_Reference, ...]
    arguments: Mapping[str, Any]
    keys: tuple[str, ...] | None = None
    keras_3: bool = False


@dataclass(frozen=True)
class _Row:
    """A layer of one model as the file lists it; ``model`` where it is itself one."""

    path: str
    class_name: str
    config: Mapping[str, Any]
    inbound: tuple[_Inbound, ...]
    model: _Model | None = None

    @property
    def num_outputs(self) -> int:
        return 1 if self.model is None else len(self.model.outputs)


_CallKey = tuple[str, int]  # layer name, number of the call
_Tensor = tuple[str, int, int]  # the same and the number of the output


@dataclass(frozen=True)
class _Model:
    """A model with its references resolved: what each call reads, and an order to make the calls in."""

    name: str
    path: str
    rows: Mapping[str, _Row]
    inputs: tuple[str, ...]
    input_keys: tuple[str, ...]
    outputs: tuple[_Tensor, ...]
    output_names: tuple[str, ...] | None
    reads: Mapping[_CallKey, tuple[_Tensor, ...]]


class _Reader:
    """Reads models, counting layers."""

    def __init__(self) -> None:
        self.num_layers = 0

    def model(self, row: Mapping[str, Any], path: str, depth: int) -> _Model:
        """Reads a model and those inside it; ``path`` is empty for the outermost."""
        where = f"model {path!r}" if path else "the model"
        class_name = _class_name(row, where)
        if class_name not in MODEL_CLASSES:
            raise ArchitectureError(
                f"{where} is of class {class_name!r}, which may compute anything. "
                f"Expected one of {', '.join(MODEL_CLASSES)}."
            )
        if depth >= MAX_NESTING:
            raise ArchitectureError(f"{where} is nested too deeply: more than {MAX_NESTING} models within each other.")
        config = row.get("config")
        if isinstance(config, (list, tuple)):  # Keras 1 and 2.0 wrote a Sequential's layers alone
            config = {"layers": config}
        config = _mapping(config, f"the config of {where}")
        rows = self._rows(_listed_rows(config, where), path, depth, chained=class_name == "Sequential")
        name = _text(config.get("name", row.get("name", class_name.lower())), f"the name of {where}")
        if class_name == "Sequential":
            return _sequential(name, path, where, rows, config)
        ends = []
        for key in ("input_layers", "output_layers"):
            if key not in config:
                raise _malformed(where, f"it lacks {key!r}")
            ends.append(_flat(config[key], f"{key} of {where}"))
        return _resolved(name, path, where, rows, *ends)

    def _rows(self, rows: Sequence[Any], path: str, depth: int, chained: bool) -> dict[str, _Row]:
        found: dict[str, _Row] = {}
        for position, item in enumerate(rows):
            row = _mapping(item, f"layer {position} of {path or 'the model'}")
            name = _name(row, position)
            if name in found:
                raise ArchitectureError(f"two layers of {path or 'the model'} are both named {name!r}.")
            found[name] = self._row(row, f"{path}/{name}" if path else name, depth, chained)
        return found

    def _row(self, row: Mapping[str, Any], path: str, depth: int, chained: bool) -> _Row:
        self.num_layers += 1
        if self.num_layers > MAX_LAYERS:
            raise ArchitectureError(f"the model has more than {MAX_LAYERS} layers.")
        where = f"layer {path!r}"
        class_name = _class_name(row, where)
        inbound = () if chained else _inbounds(row.get("inbound_nodes", ()), where)
        if class_name in MODEL_CLASSES:
            return _Row(path, class_name, {}, inbound, self.model(row, path, depth + 1))
        config = _mapping(row.get("config"), f"the config of {where}")
        if (class_name == "InputLayer") and inbound:
            raise ArchitectureError(f"{where} (InputLayer) is called on other layers, and an input reads none.")
        return _Row(path, class_name, config, inbound)


def _sequential(name: str, path: str, where: str, rows: dict[str, _Row], config: Mapping[str, Any]) -> _Model:
    """A chain; an input is added in front where Keras did not write one."""
    if not rows:
        raise ArchitectureError(f"{where} has no layers.")
    first = next(iter(rows))
    if rows[first].class_name != "InputLayer":
        shape = _in_shape(rows[first]) or config.get("build_input_shape")
        if not path and not isinstance(shape, (list, tuple)):
            raise ArchitectureError(f"{where} has no inputs: it is a Sequential whose layers state no input shape.")
        added = f"{first}_input"  # as Keras calls it
        if added in rows:
            raise ArchitectureError(f"two layers of {path or 'the model'} are both named {added!r}.")
        input_config = {"name": added, "batch_input_shape": shape}
        rows = {added: _Row(f"{path}/{added}" if path else added, "InputLayer", input_config, ()), **rows}
    chain = list(rows)
    for before, after in itertools.pairwise(chain):
        if rows[after].class_name == "InputLayer":
            raise ArchitectureError(f"layer {rows[after].path!r} (InputLayer) stands inside a Sequential.")
        given = _Inbound(_all_outputs(before, rows[before]), {})
        rows[after] = dataclasses.replace(rows[after], inbound=(given,))
    starts, ends = (_all_outputs(key, rows[key]) for key in (chain[0], chain[-1]))
    return _resolved(name, path, where, rows, (starts, None), (ends, None))


def _all_outputs(name: str, row: _Row) -> tuple[_Reference, ...]:
    """What the next layer of a chain reads."""
    return tuple(_Reference(name, 0, tensor, False) for tensor in range(row.num_outputs))


def _in_shape(row: _Row) -> Any:
    """The batch shape that a layer, or a nested model's first input, states."""
    if row.model is not None:
        return _in_shape(row.model.rows[row.model.inputs[0]])
    return row.config.get("batch_input_shape", row.config.get("batch_shape"))


_Ends = tuple[Sequence[_Reference], "Sequence[str] | None"]


def _resolved(name: str, path: str, where: str, rows: dict[str, _Row], starts: _Ends, ends: _Ends) -> _Model:
    """Looks every reference up, and orders the calls."""
    outside = (*starts[0], *ends[0])
    bases = _bases(rows, outside)

    def resolve(reference: _Reference, reader: str) -> _Tensor:
        return _resolve(reference, rows, bases, reader)

    inputs = [resolve(reference, f"an input of {where}")[0] for reference in starts[0]]
    _check_inputs(inputs, rows, where)
    reads = {
        (key, number): tuple(resolve(reference, f"layer {row.path!r}") for reference in inbound.references)
        for key, row in rows.items()
        for number, inbound in enumerate(row.inbound or _as_input(row))
    }
    outputs = tuple(resolve(reference, f"an output of {where}") for reference in ends[0])
    if not outputs:
        raise ArchitectureError(f"{where} has no outputs.")
    return _Model(
        name,
        path,
        rows,
        tuple(inputs),
        tuple(inputs if starts[1] is None else starts[1]),
        outputs,
        None if ends[1] is None else tuple(ends[1]),
        {key: reads[key] for key in _ordered(reads, rows)},
    )


def _as_input(row: _Row) -> tuple[_Inbound, ...]:
    """An input's one call reads nothing; another layer without calls has none."""
    return (_Inbound((), {}),) if row.class_name == "InputLayer" else ()


def _check_inputs(inputs: Sequence[str], rows: Mapping[str, _Row], where: str) -> None:
    if not inputs:
        raise ArchitectureError(f"{where} has no inputs.")
    for name in inputs:
        if rows[name].class_name != "InputLayer":
            raise ArchitectureError(
                f"{where} has {name!r} ({rows[name].class_name}) as an input. Expected an InputLayer."
            )
    if len(set(inputs)) < len(inputs):
        raise ArchitectureError(f"{where} lists an input twice.")
    for name in rows.keys() - set(inputs):
        row = rows[name]
        if row.class_name == "InputLayer":
            raise ArchitectureError(f"layer {row.path!r} (InputLayer) is none of the inputs of {where}.")


def _bases(rows: Mapping[str, _Row], outside: Sequence[_Reference]) -> dict[str, int]:
    """The node index by which lists name a nested model's first call.

    Keras numbers all calls of a model, and a functional model's first is its own building: 1 is the first
    call. A Sequential of Keras 3 has none; with a Sequential of Keras 2 it depends on whether it had been
    built, but as every call of a file's model is read, an index of 0 shows it. Keras 3's dicts leave it out.
    """
    bases = {name: 1 for name, row in rows.items() if row.model is not None}
    inside = (r for row in rows.values() for inbound in row.inbound for r in inbound.references)
    for reference in (*outside, *inside):
        row = rows.get(reference.layer)
        if row is None or row.model is None or not reference.listed:
            continue
        keras_3 = any(inbound.keras_3 for inbound in row.inbound)
        once = len(row.inbound) == 1
        if (reference.node == 0 and (once or row.class_name == "Sequential")) or (
            keras_3 and row.class_name == "Sequential" and not once
        ):
            bases[reference.layer] = 0
    return bases


def _resolve(reference: _Reference, rows: Mapping[str, _Row], bases: Mapping[str, int], reader: str) -> _Tensor:
    row = rows.get(reference.layer)
    if row is None:
        raise ArchitectureError(
            f"{reader} reads layer {reference.layer!r}, which the model lacks{nearest(reference.layer, list(rows))}."
        )
    number = reference.node - (bases.get(reference.layer, 0) if reference.listed else 0)
    if row.class_name == "InputLayer":
        number = 0  # as tf_keras reads it, whatever the file says
    elif not 0 <= number < len(row.inbound):
        raise ArchitectureError(
            f"{reader} reads call {reference.node} of layer {row.path!r}, which the model calls "
            f"{len(row.inbound)} times."
        )
    if reference.tensor >= row.num_outputs:
        kind = "has" if row.model is not None else f"({row.class_name}) is taken to have"
        raise ArchitectureError(
            f"{reader} reads output {reference.tensor} of layer {row.path!r}, which {kind} {row.num_outputs}; "
            "layers with several outputs are not supported."
        )
    return reference.layer, number, reference.tensor


def _ordered(reads: Mapping[_CallKey, tuple[_Tensor, ...]], rows: Mapping[str, _Row]) -> list[_CallKey]:
    """The calls in the file's order, but each after what it reads, and after its layer's earlier calls."""
    order: dict[_CallKey, None] = {}
    begun: set[_CallKey] = set()
    for start in reads:
        stack = [start]
        while stack:
            key = stack[-1]
            name, number = key
            waiting = [(source, call) for source, call, _ in reads[key] if (source, call) not in order]
            if number and (name, number - 1) not in order:
                waiting.append((name, number - 1))
            if key in order or not waiting:
                order[key] = None
                stack.pop()
                continue
            begun.add(key)
            for needed in reversed(waiting):
                if needed in begun:
                    raise ArchitectureError(
                        f"layer {rows[needed[0]].path!r} reads its own output: the graph has a cycle."
                    )
                stack.append(needed)
    return list(order)


class _Writer:
    """Makes the calls of a model, and in place of a nested model's the calls inside it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._count: dict[str, int] = {}
        self._values: set[str] = set()
        self._work = 0

    def call(self, model: _Model, fed: Sequence[str] | None, inherited: Mapping[str, Any]) -> tuple[str, ...]:
        """Calls a model on values, None for the outermost; returns the values of its outputs."""
        made: dict[_CallKey, tuple[str, ...]] = {}
        if fed is not None:
            made = {(name, 0): (value,) for name, value in zip(model.inputs, fed, strict=True)}
        for key, tensors in model.reads.items():
            if key in made:
                continue
            row = model.rows[key[0]]
            inputs = tuple(made[name, number][tensor] for name, number, tensor in tensors)
            inbound = row.inbound[key[1]] if row.inbound else _Inbound((), {})
            arguments = {**inherited, **_said(inbound.arguments)}
            self._spend(1 + len(inputs))
            if row.model is None:
                made[key] = (self._layer(row, inputs, inbound, arguments),)
            else:
                made[key] = self.call(row.model, _matched(row, inbound, inputs), _handed_on(row, arguments))
        return tuple(made[name, number][tensor] for name, number, tensor in model.outputs)

    def _layer(self, row: _Row, inputs: tuple[str, ...], inbound: _Inbound, arguments: Mapping[str, Any]) -> str:
        if row.class_name != "InputLayer" and not inputs:
            raise ArchitectureError(f"layer {row.path!r} ({row.class_name}) is called without any input.")
        count = self._count[row.path] = self._count.get(row.path, 0) + 1
        value = row.path if count == 1 else f"{row.path}#{count}"
        if value in self._values:
            raise ArchitectureError(f"two layers of the model are both named {value!r}, nested models included.")
        self._values.add(value)
        kept = {} if row.class_name == "InputLayer" else arguments
        kept = {key: item for key, item in kept.items() if not _is_neutral(key, item)}
        self.calls.append(Call(value, row.path, inputs, kept))
        return value

    def _spend(self, amount: int) -> None:
        self._work += amount
        if self._work > MAX_WORK:
            raise ArchitectureError(f"the model makes more than {MAX_WORK} calls, nested models dissolved.")


def _is_neutral(key: str, value: Any) -> bool:
    """Keras 3 writes a mask for each input: ``{"mask": [None, None]}``."""
    leaves = _leaves(value, f"argument {key!r}", lambda leaf, where: None)
    return key in NEUTRAL and all(any(leaf is neutral for neutral in NEUTRAL[key]) for leaf in leaves)


def _said(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without a training that the call leaves to the model around it."""
    return {key: value for key, value in arguments.items() if key != "training" or value is not None}


def _handed_on(row: _Row, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a nested model hands on to every call inside it."""
    unknown = sorted(key for key, value in arguments.items() if key != "training" and not _is_neutral(key, value))
    if unknown:
        raise ArchitectureError(
            f"model {row.path!r} is called with {_shown(unknown)}. Expected nothing beside inputs and training."
        )
    return {key: value for key, value in arguments.items() if key == "training"}


def _matched(row: _Row, inbound: _Inbound, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """A call's values in the order of the nested model's inputs: by name from a dict, else by position."""
    wanted = () if row.model is None else row.model.input_keys
    if inbound.keys is not None and set(wanted) <= set(inbound.keys):
        by_key = dict(zip(inbound.keys, inputs, strict=True))
        return tuple(by_key[key] for key in wanted)
    if len(inputs) != len(wanted):
        raise ArchitectureError(f"model {row.path!r} takes {len(wanted)} inputs and is called on {len(inputs)}.")
    return inputs


def _layers(model: _Model, nested: bool = False) -> dict[str, KerasLayer]:
    """All layers by path, without the models themselves and their inner inputs."""
    found: dict[str, KerasLayer] = {}
    for row in model.rows.values():
        if row.model is not None:
            inner = _layers(row.model, nested=True)
        elif nested and row.class_name == "InputLayer":
            inner = {}
        else:
            inner = {row.path: KerasLayer(row.path, row.class_name, row.config)}
        for path in inner.keys() & found.keys():
            raise ArchitectureError(f"two layers of the model are both named {path!r}, nested models included.")
        found |= inner
    return found


def _inbounds(value: Any, where: str) -> tuple[_Inbound, ...]:
    if not isinstance(value, (list, tuple)):
        raise _malformed(where, f"inbound_nodes is {_shown(value)}, expected a list")
    return tuple(_keras_3_call(call, where) if _is_keras_3(call) else _listed_call(call, where) for call in value)


def _is_keras_3(call: Any) -> bool:
    return isinstance(call, Mapping) and "args" in call


def _keras_3_call(call: Mapping[str, Any], where: str) -> _Inbound:
    args, kwargs = call["args"], _mapping(call.get("kwargs", {}), f"the kwargs of {where}")
    if not isinstance(args, (list, tuple)):
        raise _malformed(where, f"args is {_shown(args)}, expected a list")
    given = {**{str(position): value for position, value in enumerate(args)}, **kwargs}
    references, arguments = _split(given, where, _keras_3_reference)
    keys = _keys(args[0], _keras_3_reference, where) if args else None
    return _Inbound(references, arguments, keys if keys and len(keys) == len(references) else None, keras_3=True)


def _listed_call(call: Any, where: str) -> _Inbound:
    """A call as Keras 1 and 2 list it: tensors, each with the same further arguments behind it."""
    leaves = list(_leaves(call, where, _rank))
    if not all(isinstance(leaf, (list, tuple)) and _rank(leaf, where) for leaf in leaves):
        raise _malformed(where, f"inbound_nodes holds {_shown(call)}, expected [name, node, tensor]")
    further: Mapping[str, Any] = {}
    if leaves and len(leaves[0]) == 4:
        further = _mapping(leaves[0][3], f"the arguments of {where}")
    references, arguments = _split(further, where, _listed_reference)
    constants = [leaf[2] for leaf in leaves if leaf[0] == CONSTANT]
    if constants and len(leaves) > 1:
        raise _mixed(where, "its first argument")
    if constants:
        return _Inbound(references, {"0": constants[0], **arguments})
    first = tuple(_reference(leaf, where, listed=True) for leaf in leaves)
    keys = _keys(call, _rank, where)
    return _Inbound((*first, *references), arguments, keys if keys and not references else None)


_Find = Callable[[Any, str], Any]  # what a value means if it is a tensor, None if it is none


def _split(given: Mapping[str, Any], where: str, find: _Find) -> tuple[tuple[_Reference, ...], dict[str, Any]]:
    """Tells the arguments that are tensors, or lists and dicts of tensors, from the constants."""
    references: list[_Reference] = []
    constants: dict[str, Any] = {}
    for key, value in given.items():
        found = [find(leaf, where) for leaf in _leaves(value, where, find)]
        if not any(found):
            constants[key] = value
        elif all(found):
            references += found
        else:
            raise _mixed(where, f"its argument {key!r}")
    return tuple(references), constants


def _leaves(value: Any, where: str, find: _Find, depth: int = 0) -> Iterator[Any]:
    """Tensors and constants of a nest, dicts in the order of their keys, as Keras flattens them."""
    if depth > MAX_DEPTH:
        raise _malformed(where, "its arguments are nested too deeply")
    if isinstance(value, (list, tuple, Mapping)) and not find(value, where):
        for item in _items(value):
            yield from _leaves(item, where, find, depth + 1)
    else:
        yield value


def _items(value: Any) -> list[Any]:
    return [value[key] for key in sorted(value, key=str)] if isinstance(value, Mapping) else list(value)


def _keys(value: Any, find: _Find, where: str) -> tuple[str, ...] | None:
    """The keys of a plain dict of tensors."""
    if not isinstance(value, Mapping) or find(value, where) or not all(find(item, where) for item in value.values()):
        return None
    return tuple(sorted(value, key=str))


def _keras_3_reference(value: Any, where: str) -> _Reference | None:
    if not isinstance(value, Mapping) or value.get("class_name") != "__keras_tensor__":
        return None
    history = _mapping(value.get("config"), f"a tensor of {where}").get("keras_history")
    return _reference(history, where, listed=False)


def _listed_reference(value: Any, where: str) -> _Reference | None:
    """A tensor among the further arguments: exactly ``[name, node, tensor]``."""
    if _rank(value, where) and len(value) == 3 and all(_is_index(number) for number in value[1:]):
        return _reference(value, where, listed=True)
    return None


def _rank(value: Any, where: str) -> int:
    """Length of a list that names a tensor, 0 for anything else. Source: tf_keras, convert_inner_node_data."""
    named = isinstance(value, (list, tuple)) and len(value) in (3, 4) and isinstance(value[0], str)
    return len(value) if named else 0


def _reference(value: Any, where: str, listed: bool) -> _Reference:
    if not _rank(value, where) or not all(_is_index(number) for number in value[1:3]):
        raise _malformed(where, f"it refers to {_shown(value)}, expected [name, node, tensor]")
    return _Reference(value[0], value[1], value[2], listed)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _flat(value: Any, where: str, depth: int = 0) -> _Ends:
    """A model's inputs or outputs: one, a list, or a dict with its keys, sorted as Keras sorts them."""
    if not isinstance(value, (list, tuple, Mapping)) or depth > MAX_DEPTH:
        raise _malformed(where, f"{_shown(value)}, expected lists of [name, node, tensor]")
    if not isinstance(value, Mapping):
        return [_reference(leaf, where, listed=True) for leaf in _leaves(value, where, _rank)], None
    references: list[_Reference] = []
    names: list[str] = []
    for key in sorted(value, key=str):
        found, _ = _flat(value[key], where, depth + 1)
        references += found
        names += [str(key)] if len(found) == 1 else [f"{key}/{index}" for index in range(len(found))]
    return references, names


def _listed_rows(config: Mapping[str, Any], where: str) -> Sequence[Any]:
    rows = config.get("layers")
    if not isinstance(rows, (list, tuple)):
        raise _malformed(where, f"its layers are {_shown(rows)}, expected a list")
    return rows


def _name(row: Mapping[str, Any], position: int) -> str:
    """A layer's name: beside its config or in it; Keras 1 gave a Sequential in a Sequential none."""
    config = row.get("config")
    inner = config.get("name") if isinstance(config, Mapping) else f"sequential_{position + 1}"
    return _text(row.get("name") or inner, f"the name of layer {position}")


def _class_name(row: Mapping[str, Any], where: str) -> str:
    """The bare class of ``package>Class`` and ``module.Class``; a foreign package's is left as it is, to be refused."""
    what = f"the class of {where}"
    text = _text(row.get("class_name"), what)
    package, _, name = text.rpartition(">")
    if package and package.partition(".")[0].lower() not in OWN_PACKAGES:
        return text
    return _text(name.rpartition(".")[2], what)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _malformed(what, f"{_shown(value)}, expected a printable text")
    return value


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _malformed(what, f"{_shown(value)}, expected a dict")
    return value


def _malformed(what: str, problem: str) -> ArchitectureError:
    return ArchitectureError(f"the model config is malformed: {what}: {problem}.")


def _mixed(where: str, what: str) -> ArchitectureError:
    return ArchitectureError(f"{where} is called on tensors and constants in one list or dict, {what}: not supported.")


def _shown(value: Any) -> str:
    text = "missing" if value is None else reprlib.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
