"""Which array of a weights-only file is which of a described model's: by order as Keras loads them, and by name.

Keras's ``load_weights`` goes by the order of ``model.layers``: a legacy file's groups with arrays are its layers
with arrays, one after the other, and the groups of a ``.weights.h5`` count the layers of each class. Names that
Keras chose (``conv2d_22``) depend on what else was built in that process; names that a person chose do not.

Source: keras 3.15.1, keras/src/legacy/saving/legacy_h5_format.py, load_weights_from_hdf5_group, _legacy_weights;
keras/src/saving/saving_lib.py, _load_container_state; the same in tf_keras 2.21.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.checkpoint.layer_names import layer_name, members
from weight_transfer.conversion.hints import PairBy
from weight_transfer.errors import ArchitectureError, CheckpointError, MappingError, listing
from weight_transfer.families.array_matches import Arrays, match
from weight_transfer.families.like import like
from weight_transfer.families.needed import Needed, expected_of, needed_arrays
from weight_transfer.graph import Graph, keras_depths
from weight_transfer.layer_list import Expected, LayerList, layer_list_of, left_out_line

MOVING = "moving_"  # what no optimizer trains, in the roles of a batch norm
MODEL_KINDS = ("functional", "model", "sequential")

Names = Mapping[str, str]  # the file's name of every array by the model's ``layer/role``


@dataclass(frozen=True)
class Paired:
    """A weights-only file laid on a described model.

    Attributes:
        checkpoint: The file, its arrays under the model's names.
        assumed: What decided, in words, where names and order are not one.
    """

    checkpoint: Checkpoint
    assumed: tuple[str, ...]


def paired(checkpoint: Checkpoint, config: Mapping[str, Any], keras: Graph, pair_by: PairBy | None) -> Paired:
    """Lays a file on a model that is described beside it.

    Args:
        checkpoint: The file with the weights.
        config: The model's.
        keras: The graph in it.
        pair_by: What the person decides.

    Raises:
        MappingError: The arrays are not those of the model's layers.
        ArchitectureError: Order and names pair them in two ways; or the file lists other layers than the model has.
    """
    model = _Model(config, keras)
    names, assumed = _decided(checkpoint, model, pair_by)
    listed = layer_list_of(checkpoint)
    if listed is None:
        assumed = (*assumed, f"layers without arrays as {keras.name!r} has them: the file lists only those with arrays")
    else:
        in_order = names == _by_order(checkpoint, model)
        assumed = (*assumed, *_laid_on_list(checkpoint, listed, model, names, in_order=in_order))
    return Paired(checkpoint.with_names(names), assumed)


@dataclass(frozen=True)
class _Model:
    """A described model.

    Attributes:
        config: As a file holds it.
        keras: The graph in it.
    """

    config: Mapping[str, Any]
    keras: Graph
    needed: tuple[Needed, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "needed", needed_arrays(self.keras))

    def groups(self) -> Iterator[tuple[str, bool, tuple[Needed, ...]]]:
        """Yields each layer of the outermost model, whether it is a model, and the layers in it or itself."""
        for row in members(self.config):
            name = layer_name(row)
            inside = tuple(layer for layer in self.needed if layer.path == name)
            if inside or not members(row):
                yield str(name), False, inside
            else:
                yield str(name), True, tuple(layer for layer in self.needed if layer.path.startswith(f"{name}/"))


def _decided(checkpoint: Checkpoint, model: _Model, pair_by: PairBy | None) -> tuple[Names, tuple[str, ...]]:
    """The pairing that holds, and what is to be said of it."""
    by_order = None if pair_by == "name" else _by_order(checkpoint, model)
    if pair_by == "order":
        if by_order is None:
            raise MappingError(
                f"{checkpoint.path.name}: in the order of its layers its arrays are not those of model "
                f"{model.keras.name!r}. Expected the same number of layers with arrays, and each array of the same "
                "shape. Leave --pair-by order out, or give the description of this file's model."
            )
        return by_order, ("arrays paired by the order of the layers (you said so)",)
    if pair_by == "name" and checkpoint.names_are_counters:
        raise MappingError(f"{checkpoint.path.name}: it only counts its layers, by no names. Expected --pair-by order.")
    by_name = _by_name(checkpoint, model)
    if pair_by == "name" and by_name is not None:
        return by_name, ("arrays paired by the names of the layers (you said so)",)
    if by_order is not None and by_name is not None and by_order != by_name:
        raise _two_ways(checkpoint, by_order, by_name)
    if by_order is not None:
        said = "arrays paired by the order of the layers, as Keras's load_weights does: their names are others"
        return by_order, () if by_name is not None or checkpoint.names_are_counters else (said,)
    names = like(checkpoint, model.keras)  # or its words on what does not fit
    return names, ("arrays paired by the names of the layers: in their order they do not fit",)


def _two_ways(checkpoint: Checkpoint, by_order: Names, by_name: Names) -> ArchitectureError:
    differing = [name for name, array in by_order.items() if by_name[name] != array]
    lines = [f"{name}: by order {by_order[name]}, by name {by_name[name]}" for name in differing]
    return ArchitectureError(
        f"{checkpoint.path.name}: the order of its layers and their names pair {len(lines)} arrays with the model's "
        f"in two ways, and both fit:{listing(lines)}\nDecide with --pair-by order (as Keras's load_weights does) or "
        "--pair-by name."
    )


def _by_name(checkpoint: Checkpoint, model: _Model) -> Names | None:
    """By name, by counter where Keras chose the names; None where that does not fit, or names only count."""
    if checkpoint.names_are_counters:
        return None
    matched = match(Arrays.of(checkpoint), model.needed)
    return None if matched.problems else matched.names


def _by_order(checkpoint: Checkpoint, model: _Model) -> Names | None:
    """As Keras loads the file; None where it could not."""
    if checkpoint.container.startswith("legacy"):
        return _by_order_of_list(checkpoint, model)
    with contextlib.suppress(CheckpointError):
        named = checkpoint.named_by(model.config)
        matched = match(Arrays.of(named), model.needed)
        if not matched.problems:
            original = {array.place: array.name for array in checkpoint.arrays.values()}
            return {name: original[named.arrays[source].place] for name, source in matched.names.items()}
    return None


def _by_order_of_list(checkpoint: Checkpoint, model: _Model) -> Names | None:
    expected = [rows for _, nested, inside in model.groups() if (rows := list(_in_order(model, inside, nested)))]
    received = list(_file_groups(checkpoint).values())
    names: dict[str, str] = {}
    if [len(rows) for rows in expected] != [len(arrays) for arrays in received]:
        return None
    for rows, arrays in zip(expected, received, strict=True):
        for (name, shape), array in zip(rows, arrays, strict=True):
            if shape != array.shape:
                return None
            names[name] = array.name
    return names


def _file_groups(checkpoint: Checkpoint) -> dict[str, list[Array]]:
    """A legacy file's arrays by the layer that lists them, in the file's order."""
    groups: dict[str, list[Array]] = {}
    listed = set(checkpoint.layer_names)
    for array in checkpoint.arrays.values():
        group = array.name.rpartition("/")[0]
        while group not in listed and "/" in group:
            group = group.rpartition("/")[0]
        groups.setdefault(group, []).append(array)
    return groups


def _in_order(model: _Model, inside: tuple[Needed, ...], nested: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The arrays of one group as Keras lists them: of a model those that it trains before the others."""
    rows = [
        (layer, role, shape, bool(model.keras.listed[layer.path].config.get("trainable", True)))
        for layer in inside
        for role, shape in layer.weights.items()
    ]
    if nested:
        rows.sort(key=lambda row: not row[3] or row[1].startswith(MOVING))
    for layer, role, shape, _ in rows:
        yield f"{layer.path}/{role}", shape


def _laid_on_list(
    checkpoint: Checkpoint, listed: LayerList, model: _Model, names: Names, *, in_order: bool
) -> tuple[str, ...]:
    """Lays the file's list on the model's layers; returns what is to be said.

    Args:
        checkpoint: The file.
        listed: What it lists.
        model: The described model.
        names: Which array is which.
        in_order: Whether they are paired by order, so that the other layers are compared in order, too.

    Raises:
        ArchitectureError: They are others.
    """
    if listed.ordered and _describes_inside(listed, model, names):
        around = [entry.name for entry in listed.entries if entry.name not in listed.nested]
        left_out = f"; {', '.join(around)} around it is no part of the port" if around else ""
        return (f"the layers without arrays of {listed.nested[0]}: as described, the file lists none{left_out}",)
    if listed.ordered:
        expected = _outermost(checkpoint, model, names, listed)
        depths = _depths(model.keras) if in_order else None
        if depths is not None:
            layers = [dataclasses.replace(layer, depth=depths[name]) for name, layer in expected.items()]
            expected = dict(zip(expected, layers, strict=True))
        listed = dataclasses.replace(listed, nested=(), ordered=depths is not None)
        rows = sorted(expected.values(), key=lambda layer: -layer.depth)
    else:
        rows = expected_of(model.keras, model.needed, {}, listed)
    differences = listed.differences(rows)
    if differences:
        raise ArchitectureError(
            f"{checkpoint.path.name}: lists other layers than the model {model.keras.name!r} that is described beside "
            f"it has, so it holds another network:{listing(differences)}\nGive the description of this file's model."
        )
    beyond, lacking = listed.training_only(rows), listed.lacking(rows)
    return (
        *((left_out_line(beyond),) if beyond else ()),
        *((f"of the description alone, the file lists fewer: {', '.join(lacking)}",) if lacking else ()),
    )


def _describes_inside(listed: LayerList, model: _Model, names: Names) -> bool:
    """Whether the description is that of the one model inside the file's, which holds all its arrays."""
    if len(listed.nested) != 1 or any(nested for _, nested, _ in model.groups()):
        return False
    return all(array.startswith(f"{listed.nested[0]}/") for array in names.values())


def _outermost(checkpoint: Checkpoint, model: _Model, names: Names, listed: LayerList) -> dict[str, Expected]:
    """The layers of the outermost model by name, as a legacy file lists them; a model in it is one."""
    groups = {array.name: group for group, arrays in _file_groups(checkpoint).items() for array in arrays}
    of_layers = {name.rpartition("/")[0]: groups[array] for name, array in names.items()}
    inside_out = zip(model.keras.listed, expected_of(model.keras, model.needed, of_layers, listed), strict=True)
    plain = dict(inside_out)
    expected = {}
    for name, nested, inside in model.groups():
        if nested:
            group = next((of_layers[layer.path] for layer in inside if layer.path in of_layers), None)
            expected[name] = Expected("Functional", group, also=MODEL_KINDS)
        else:
            expected[name] = plain.get(name, Expected("InputLayer"))
    return expected


def _depths(keras: Graph) -> dict[str, int] | None:
    """Each layer's depth, by which Keras orders ``model.layers``; None with models inside or several calls."""
    reads = {**dict.fromkeys(keras.inputs, ()), **{call.value: call.inputs for call in keras.calls}}
    if reads.keys() != keras.listed.keys() or any("/" in path for path in keras.listed):
        return None
    return keras_depths(reads)
