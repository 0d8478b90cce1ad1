"""From a config to its graph: models, the layers that they list, and models within models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weight_transfer.class_owners import is_own, with_owners
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph.call_order import resolved, sequential
from weight_transfer.graph.flat_model import Model, Row, flattened
from weight_transfer.graph.graph import INPUT, Graph
from weight_transfer.graph.references import as_mapping, as_text, ends, inbounds, malformed, shown

MODEL_CLASSES = ("Functional", "Model", "Sequential")
# Limits that no real model comes near. Source: the reference reader's, in which 196 of 196 hostile files were held.
MAX_LAYERS = 10_000
MAX_NESTING = 32  # models within models


def read_graph(config: Mapping[str, Any], keras_version: str | None = None) -> Graph:
    """Reads the graph of a model config, in the schema of any Keras; no class is imported, and nothing of it runs.

    ``training`` of a nested model's call is that of the calls inside it.

    Example:
        >>> graph = read_graph(read_checkpoint("resnet50.keras").config)
        >>> graph.layers["conv1_conv"].class_name
        'Conv2D'

    Args:
        config: ``{"class_name": ..., "config": ...}``, as `Checkpoint.config` holds it or
            ``json.loads(model.to_json())`` gives it.
        keras_version: What wrote it: some layers compute otherwise in another Keras.

    Returns:
        The graph. Where it cannot be imported it says why: `Graph.checked` raises that.

    Raises:
        ArchitectureError: The config is malformed, no graph, or beyond the limits.

    Source: functional_from_config in keras/src/models/functional.py, keras 3.15.1; reconstruct_from_config in
        tf_keras/src/engine/functional.py, tf_keras 2.21.0.
    """
    return flattened(read_model(config), keras_version)


def read_model(config: Mapping[str, Any]) -> Model:
    """Reads a model config as its file lists it, nested models whole, every reference resolved.

    Args:
        config: As `read_graph` takes it.

    Raises:
        ArchitectureError: The config is malformed, no graph, or beyond the limits.
    """
    return _Reader().model(as_mapping(with_owners(config), "the model config"), "", 0)


class _Reader:
    """Reads models, counting layers."""

    def __init__(self) -> None:
        self.num_layers = 0

    def model(self, row: Mapping[str, Any], path: str, depth: int) -> Model:
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
        config = as_mapping(config, f"the config of {where}")
        rows = self._rows(_listed_rows(config, where), path, depth, chained=class_name == "Sequential")
        name = as_text(config.get("name", row.get("name", class_name.lower())), f"the name of {where}")
        if class_name == "Sequential":
            return sequential(name, path, where, rows, config)
        both = []
        for key in ("input_layers", "output_layers"):
            if key not in config:
                raise malformed(where, f"it lacks {key!r}")
            both.append(ends(config[key], f"{key} of {where}"))
        return resolved(name, where, rows, *both)

    def _rows(self, rows: Sequence[Any], path: str, depth: int, chained: bool) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for position, item in enumerate(rows):
            row = as_mapping(item, f"layer {position} of {path or 'the model'}")
            name = _name(row, position)
            if name in found:
                raise ArchitectureError(f"two layers of {path or 'the model'} are both named {name!r}.")
            found[name] = self._row(row, f"{path}/{name}" if path else name, depth, chained)
        return found

    def _row(self, row: Mapping[str, Any], path: str, depth: int, chained: bool) -> Row:
        self.num_layers += 1
        if self.num_layers > MAX_LAYERS:
            raise ArchitectureError(f"the model has more than {MAX_LAYERS} layers.")
        where = f"layer {path!r}"
        class_name = _class_name(row, where)
        inbound = () if chained else inbounds(row.get("inbound_nodes", ()), where)
        if class_name in MODEL_CLASSES or _is_model(row.get("config")):
            return Row(path, class_name, {}, inbound, self.model(row, path, depth + 1))
        config = as_mapping(row.get("config"), f"the config of {where}")
        if class_name == INPUT and inbound:
            raise ArchitectureError(f"{where} (InputLayer) is called on other layers, and an input reads none.")
        return Row(path, class_name, config, inbound)


def _is_model(config: Any) -> bool:
    """Whether a config is a functional model's, whatever its class: a user's own is refused as such."""
    return isinstance(config, Mapping) and "layers" in config and "input_layers" in config


def _listed_rows(config: Mapping[str, Any], where: str) -> Sequence[Any]:
    rows = config.get("layers")
    if not isinstance(rows, (list, tuple)):
        raise malformed(where, f"its layers are {shown(rows)}, expected a list")
    return rows


def _name(row: Mapping[str, Any], position: int) -> str:
    """A layer's name: beside its config or in it; Keras 1 gave a Sequential in a Sequential none."""
    config = row.get("config")
    inner = config.get("name") if isinstance(config, Mapping) else f"sequential_{position + 1}"
    return as_text(row.get("name") or inner, f"the name of layer {position}")


def _class_name(row: Mapping[str, Any], where: str) -> str:
    """The bare class of ``package>Class`` and ``module.Class``; a foreign package's is left as it is, to be refused."""
    what = f"the class of {where}"
    text = as_text(row.get("class_name"), what)
    package, _, name = text.rpartition(">")
    if package and not is_own(package):
        return text
    return as_text(name.rpartition(".")[2], what)
