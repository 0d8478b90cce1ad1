"""The weights that an optimizer was built for, in its order: that of the model's trainable variables.

That is the order of ``model.layers``, which is not the order of arrays in any container. A file with the
model's config lists the layers so, and says which of them learn; a file without it says neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import Checkpoint
from weight_transfer.checkpoint.layer_names import is_trainable, layer_name, members
from weight_transfer.checkpoint.writing import STATISTICS
from weight_transfer.graph import Graph, keras_order
from weight_transfer.identified import Identified
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import Row, mapping


@dataclass(frozen=True)
class Variable:
    """One weight of a model that a gradient can move.

    Attributes:
        row: Its names and shapes on both sides.
        learns: Whether its layer is trainable.
        variable: What Keras called it, where the file says so.
    """

    row: Row
    learns: bool = True
    variable: str | None = None

    @property
    def layer(self) -> str:
        """The Keras layer's path."""
        return self.row.keras.rpartition("/")[0]

    @property
    def module(self) -> str:
        """The PyTorch module's path."""
        return self.row.torch.rpartition(".")[0]


def variables_of(checkpoint: Checkpoint, identified: Identified) -> tuple[Variable, ...] | None:
    """Returns the weights in the order of Keras's ``model.trainable_variables``, frozen ones included.

    Args:
        checkpoint: The file.
        identified: Its network.

    Returns:
        None where nothing tells the order: the model of a weights-only file that is known by its family.
    """
    layers = _layers_in_order(checkpoint, identified)
    if layers is None:
        return None
    rows = rows_by_layer(identified.network)
    names = {key: checkpoint.variables.get(array.name) for key, array in identified.arrays.items()}
    found: dict[str, Variable] = {}
    for path, learns in layers:
        layer = path if path in rows else path.rpartition("/")[2]
        for row in rows.get(layer, ()):
            found.setdefault(row.keras, Variable(row, learns, names.get(row.keras)))
    if len(found) != sum(map(len, rows.values())):
        return None
    return tuple(found.values())


def rows_by_layer(network: Graph) -> dict[str, list[Row]]:
    """The weights of each layer, in Keras's order, without statistics."""
    rows: dict[str, list[Row]] = {}
    for row in mapping(network):
        layer, _, role = row.keras.rpartition("/")
        if role not in STATISTICS:
            rows.setdefault(layer, []).append(row)
    return rows


def _layers_in_order(checkpoint: Checkpoint, identified: Identified) -> list[tuple[str, bool]] | None:
    if identified.own_config is not None:
        keras3 = (checkpoint.keras_version or "3").startswith("3")
        return list(_walk(identified.own_config, "", is_trainable(identified.own_config), keras3))
    if identified.network.resnet is not None:
        return [(layer.path, True) for layer in keras_order(identified.network)]
    return None


def layers_in_order(config: Mapping[str, Any], rows: Collection[str]) -> tuple[str, ...]:
    """Returns the layers of a config in the order of Keras's ``model.layers``, as the network names them.

    Args:
        config: The model's.
        rows: What the network calls its layers: by their path, or in a ResNet's layout by their own name.
    """
    paths = [path for path, _ in _walk(config, "", True, keras3=True)]
    return tuple(dict.fromkeys(path if path in rows else path.rpartition("/")[2] for path in paths))


def _walk(model: Mapping[str, Any], path: str, learns: bool, keras3: bool) -> Iterator[tuple[str, bool]]:
    """Yields each layer's path and whether it learns, in the order in which Keras lists them.

    A frozen model within the model freezes its layers when it is frozen. Keras 3 asks each variable from
    then on, earlier Kerases each model around it too.

    Source: trainable_variables in keras/src/layers/layer.py, keras 3.15.1; trainable_weights in
    tf_keras/src/engine/training.py, tf_keras 2.21.0.
    """
    for layer in members(model):
        name = layer_name(layer)
        if name is None:
            continue
        here = f"{path}/{name}" if path else name
        if members(layer):
            yield from _walk(layer, here, learns and (keras3 or is_trainable(layer)), keras3)
        else:
            yield here, learns and is_trainable(layer)


def other_order(variables: tuple[Variable, ...], architecture: Architecture) -> tuple[Variable, ...]:
    """Returns the same weights as Keras lists them where each addition names its branches the other way round."""
    names = dataclasses.replace(architecture.names, shortcut_first=not architecture.names.shortcut_first)
    layers = keras_order(resnet_graph(dataclasses.replace(architecture, names=names)))
    places = {layer.path: place for place, layer in enumerate(layers)}
    return tuple(sorted(variables, key=lambda variable: places[variable.layer]))
