"""A network as a Keras model again: the config that its file held, with what training has changed, and its arrays.

The config of the Keras file travels through the port whole. What is written back is that config: only the flags of
what learns and a dtype that was changed are set in it, and it must describe the network that the arrays belong to, in
every field that acts, or nothing is written. A network that no config came with is a ResNet: its recipe makes one.
"""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from weight_transfer.architecture import Architecture
from weight_transfer.atomic import check_output
from weight_transfer.checkpoint.layer_names import is_trainable, layer_name, layers_of, members
from weight_transfer.checkpoint.writing import (
    Array,
    LayerToWrite,
    ModelToWrite,
    check_container,
    write_model,
)
from weight_transfer.class_owners import without_owners
from weight_transfer.conversion.description import training_arguments
from weight_transfer.conversion.native import head_behind
from weight_transfer.conversion.structure import differences
from weight_transfer.description import Description
from weight_transfer.errors import SHOWN_AT_MOST, ArchitectureError, MappingError, TransferError, listing, nearest
from weight_transfer.graph import MODEL_CLASSES, Graph, read_graph
from weight_transfer.graph.precision import DTYPES as PRECISIONS
from weight_transfer.graph.precision import policy_name, precision_of
from weight_transfer.keras_schema import Container, Schema, compiled_in_schema, in_schema, schema_of
from weight_transfer.keras_schema.compiled import MODULES
from weight_transfer.keras_schema.layers import CLASSES
from weight_transfer.optimizer.classes import OPTIMIZERS
from weight_transfer.optimizer.state import OptimizerState
from weight_transfer.optimizer.to_keras import ForKeras, compile_config, for_keras3, for_tf_keras, training_config
from weight_transfer.resnet.keras_config import DTYPE, keras_config, legacy_keras_config
from weight_transfer.weight_mapping import mapping

Arrays = Mapping[str, Array]
Config = Mapping[str, Any]
Groups = Mapping[str, Mapping[str, Array]]  # arrays by layer and role

DTYPES = ("float16", "float32", "float64")
LEGACY_ENDINGS = (".h5", ".hdf5")
OPTIMIZER_KEYS = ("optimizer", "optimizer_config")  # what a .keras and a legacy file call the optimizer's config


def write_checkpoint(
    path: str | os.PathLike[str],
    description: Description,
    arrays: Arrays,
    *,
    weights_only: bool = False,
    optimizer: OptimizerState | None = None,
    schema: Schema | None = None,
) -> None:
    """Writes a network as a Keras checkpoint; see `write_model` for the containers.

    Args:
        path: The output file; it appears whole or not at all. Its name picks the container.
        description: The network, and the Keras config that it came with, where there is one.
        arrays: By ``layer/role`` of the network, in Keras's layout: kernels (kh, kw, c_in, c_out) and (c_in, c_out).
            The file keeps their dtype.
        weights_only: Leave the configuration out of a legacy file.
        optimizer: The state to train on with.
        schema: Which Keras is to load it; by default the one that wrote the file that the network came from.

    Raises:
        MappingError: Arrays are missing, unknown, misshapen or not float, or the optimizer's are another network's.
        ArchitectureError: No Keras config of the network is known.
        TransferError: The name fits no container, ``weights_only`` does not fit the container or an optimizer, Keras
            has no such optimizer, or the file cannot be written.

    Example:
        >>> write_checkpoint("resnet50.keras", description, {"conv/kernel": kernel, "conv/bias": bias, ...})
    """
    ending = check_container(path, weights_only=weights_only, with_optimizer=optimizer is not None)
    check_output(path)  # before the work, not after it
    _check_arrays(description.network, arrays)
    write_model(path, model_to_write(description, arrays, ending, optimizer, schema), weights_only=weights_only)


def model_to_write(
    description: Description,
    arrays: Arrays,
    ending: str,
    optimizer: OptimizerState | None = None,
    schema: Schema | None = None,
) -> ModelToWrite:
    """Gathers what a checkpoint holds; see `write_checkpoint`.

    Args:
        description: The network.
        arrays: Its arrays.
        ending: The container, a key of `CONTAINERS`.
        optimizer: The state to train on with.
        schema: Which Keras is to load it.
    """
    groups = _by_layer(description.network, arrays)
    config, schema = _config_and_schema(description, groups, ending, schema)
    compiled: dict[str, Any] | None = None
    made: ForKeras | None = None
    if description.compiled and description.keras_config is not None:
        said = without_owners(description.compiled)
        crosses = schema != schema_of(description.keras_config, description.origin.keras_version)
        compiled = _compiled_elsewhere(said, schema, ending) if crosses else _compiled(said, schema, ending)
    if optimizer is not None:
        mixed = "mixed_float16" in description.precision.policies.values()
        render = for_keras3 if schema == "keras3" else for_tf_keras
        made = render(optimizer, description.network, config, arrays, mixed=mixed)
        if ending in LEGACY_ENDINGS and (schema == "keras3" or made.scaled):
            who = "Keras 3" if schema == "keras3" else "tf_keras, where a LossScaleOptimizer is around it,"
            raise TransferError(
                f"{who} restores no optimizer from an .h5 file. Name a .keras or .weights.h5 file. "
                f"Received: a file *{ending} with an optimizer's state"
            )
        config = _with_flags(config, {*description.frozen, *made.frozen}, groups)
        rendered = training_config(made) if ending in LEGACY_ENDINGS else compile_config(made)
        given = {key: value for key, value in rendered.items() if value is not None}
        compiled = {**rendered, **(compiled or {}), **given}
    if compiled is not None and compiled.get(OPTIMIZER_KEYS[ending in LEGACY_ENDINGS]) is None:
        compiled = None  # without an optimizer no Keras loads a compiled model
    return ModelToWrite(
        name=_name(config),
        config=config,
        schema=schema,
        layers=tuple(_layers(config, groups)),
        compiled=compiled,
        optimizer_name=None if made is None else made.name,
        optimizer=() if made is None else (*made.scaling, *made.variables),
        inner_optimizer=made.variables if made is not None and made.scaled else (),
    )


def _compiled_elsewhere(said: Mapping[str, Any], schema: Schema, ending: str) -> dict[str, Any] | None:
    """The same in another generation's words; None, with a warning, where it has none for it."""
    try:
        return compiled_in_schema(said, schema, container=_container(ending))
    except TransferError as error:
        warnings.warn(f"the file does not say how the model is compiled: {error}", UserWarning, stacklevel=2)
        return None


def _compiled(said: dict[str, Any], schema: Schema, ending: str) -> dict[str, Any]:
    """How a model is compiled, as the container has it: each calls the optimizer's config otherwise.

    Source: get_compile_config in keras/src/trainers/trainer.py, keras 3.15.1; model_metadata in
        tf_keras/src/saving/legacy/saving_utils.py, tf_keras 2.21.0, where today's classes are registered as Custom.
    """
    inside, outside = OPTIMIZER_KEYS[:: -1 if ending in LEGACY_ENDINGS else 1]
    optimizer = said.get(inside)
    if optimizer is None and said.get(outside) is not None:
        config = said[outside]
        config = {"class_name": config, "config": {}} if isinstance(config, str) else config
        name = str(config.get("class_name")).rpartition(">")[2]
        name = next((known for known in OPTIMIZERS if known.lower() == name.lower()), name)
        own = {"class_name": name, "config": config.get("config", {})}
        if ending not in LEGACY_ENDINGS:
            optimizer = {"module": "keras.optimizers", **own, "registered_name": None}
        else:
            optimizer = own if schema == "keras3" else {**own, "class_name": f"Custom>{name}"}
    rest = {key: value for key, value in said.items() if key not in (inside, outside)}
    if ending not in LEGACY_ENDINGS:
        rest = {key: _with_module(value, MODULES.get(key)) for key, value in rest.items()}
    return {**rest, inside: optimizer}  # None where the file has none


def _with_module(value: Any, module: str | None) -> Any:
    """Losses or metrics with the module of each class beside its name."""
    if isinstance(value, list):
        return [_with_module(item, module) for item in value]
    if not isinstance(value, Mapping) or module is None:
        return value
    if not isinstance(value.get("class_name"), str):
        return {key: _with_module(item, module) for key, item in value.items()}
    return value if "module" in value else {"module": module, **value, "registered_name": None}


def _config_and_schema(
    description: Description, groups: Groups, ending: str, wanted: Schema | None
) -> tuple[dict[str, Any], Schema]:
    """The config to write: the file's own, where that describes the network; of a ResNet else its recipe's."""
    own, version = description.keras_config, description.origin.keras_version
    if own is not None and _describes(own, description):
        schema = wanted or schema_of(own, version)
        changed = _with_dtype(_with_flags(own, set(description.frozen), groups), description)
        return in_schema(changed, schema, container=_container(ending), keras_version=version), schema
    resnet = description.network.resnet
    if resnet is None:
        raise _no_config(description)
    wanted = wanted or ("keras2" if ending in LEGACY_ENDINGS else "keras3")
    recipe = _recipe(resnet, description, groups, wanted)
    return in_schema(recipe, wanted, container=_container(ending)), wanted


def _recipe(architecture: Architecture, description: Description, groups: Groups, schema: Schema) -> dict[str, Any]:
    """A ResNet's config made from its architecture."""
    wide = all(array.dtype == np.float64 for arrays in groups.values() for array in arrays.values())
    render = legacy_keras_config if schema == "keras2" else keras_config
    config = render(architecture, (), "float64" if wide else DTYPE)
    arguments = training_arguments(description)
    for layer in config["config"]["layers"]:
        layer["config"].update(arguments.get(layer["config"]["name"], {}))
    return config


def _container(ending: str) -> Container:
    return ".h5" if ending in LEGACY_ENDINGS else ".keras"


def _describes(config: Config, description: Description) -> bool:
    """Whether a config's graph is the network, in every field that acts."""
    network = description.network
    graph = read_graph(config, description.origin.keras_version).checked()
    if network.architecture is None:
        return bool(_as_json(graph) == _as_json(network))
    if network.own_head is None:
        return not differences(graph, network.architecture)
    if differences(graph, network.architecture, outputs=False):
        return False
    head = head_behind(network.architecture, graph)
    return head is not None and bool(_as_json(head) == _as_json(network.own_head))


def _as_json(graph: Graph) -> Any:
    return json.loads(json.dumps(graph.to_dict()))


def _no_config(description: Description) -> ArchitectureError:
    network = description.network
    kind = "a ResNet with its owner's own head" if network.own_head is not None else "an imported graph"
    if description.keras_config is None:
        return ArchitectureError(
            f"{network.title} is {kind}, and the Keras config that it had is not known: an earlier version "
            "converted it, or it was made in PyTorch. Convert the Keras checkpoint again."
        )
    return ArchitectureError(
        f"{network.title} is {kind}, and is no longer the network that its Keras config describes: layers were "
        "replaced in PyTorch. Only what the config says can be written back."
    )


def _name(config: Config) -> str:
    inside = config.get("config")
    name = inside.get("name") if isinstance(inside, Mapping) else None
    return name if isinstance(name, str) else str(config.get("class_name", "model")).lower()


def _by_layer(network: Graph, arrays: Arrays) -> dict[str, dict[str, Array]]:
    """The arrays by layer and by role, each layer's in Keras's order."""
    found: dict[str, dict[str, Array]] = {}
    for row in mapping(network):
        layer, _, role = row.keras.rpartition("/")
        found.setdefault(layer, {})[role] = arrays[row.keras]
    return found


def _leaves(model: Config) -> Iterator[tuple[str, Config]]:
    """The path and config of every layer that is no model."""
    return (("/".join(path), layer) for path, layer in layers_of(model))


def _is_model(layer: Config) -> bool:
    return layer.get("class_name") in MODEL_CLASSES or bool(members(layer))


def _key(path: str, groups: Mapping[str, Any]) -> str:
    """What the network calls a layer: its path, or its own name alone in a ResNet's own layout."""
    return path if path in groups else path.rpartition("/")[2]


def _layers(model: Config, groups: Groups, path: str = "") -> Iterator[LayerToWrite]:
    """The layers of ``model.layers``; a Sequential's input is none of them."""
    for layer in members(model):
        name, class_name = str(layer_name(layer)), str(layer.get("class_name", ""))
        if class_name == "InputLayer" and model.get("class_name") == "Sequential":
            continue
        trainable, here = is_trainable(layer), f"{path}{name}"
        if _is_model(layer):
            kind = "Sequential" if class_name == "Sequential" else "Functional"  # what the loader makes of a Model
            yield LayerToWrite(name, kind, {}, trainable, tuple(_layers(layer, groups, f"{here}/")))
        else:
            class_name = CLASSES.get(class_name, class_name)  # which its reader makes of TensorFlow 1's
            yield LayerToWrite(name, class_name, groups.get(_key(here, groups), {}), trainable)


def _with_flags(config: Config, frozen: set[str], groups: Groups) -> dict[str, Any]:
    """Returns a config of which exactly these layers do not learn; itself where that is what it says.

    Args:
        config: The model's.
        frozen: Layers with arrays, by the network's names.
        groups: Every layer with arrays.
    """
    whole = not is_trainable(config)
    said = {_key(path, groups) for path, layer in _leaves(config) if whole or not is_trainable(layer)}
    if said & groups.keys() == frozen & groups.keys():
        return dict(config)
    changed = copy.deepcopy(dict(config))
    _set_flags(changed, frozen, groups, "")
    return changed


def _set_flags(model: dict[str, Any], frozen: set[str], groups: Groups, path: str) -> bool:
    """Sets the flag of every layer with arrays, and of every model that holds one that learns; whether any does."""
    any_learns = False
    for layer in members(model):
        here = f"{path}{layer_name(layer)}"
        if _is_model(layer):
            learns = _set_flags(layer, frozen, groups, f"{here}/")  # type: ignore[arg-type]  # of a deep copy
        else:
            learns = (key := _key(here, groups)) in groups and key not in frozen
            if key in groups:
                layer["config"]["trainable"] = learns
        any_learns |= learns
    if any_learns and isinstance(model["config"], dict) and "trainable" in model["config"]:
        model["config"]["trainable"] = True
    return any_learns


def _with_dtype(config: dict[str, Any], description: Description) -> dict[str, Any]:
    """Returns a config whose layers compute in the network's dtype, where that was changed in PyTorch."""
    weighted = {row.keras.rpartition("/")[0] for row in mapping(description.network)}
    own, wanted = precision_of(read_graph(config), weighted).dtype, description.precision.dtype
    if own == wanted:
        return config
    changed = copy.deepcopy(config)
    for path, layer in _leaves(changed):
        if policy_name(path, layer["config"].get("dtype")) in (own, *(() if own != DTYPE else PRECISIONS)):
            layer["config"]["dtype"] = wanted
    return changed


def _check_arrays(network: Graph, arrays: Arrays) -> None:
    """Raises MappingError, once for all, unless the arrays are exactly the network's own."""
    rows = {row.keras: row for row in mapping(network)}
    problems = [f"{name}: missing" for name in rows.keys() - arrays.keys()]
    for number, name in enumerate(sorted(arrays.keys() - rows.keys())):
        hint = nearest(name, list(rows)) if number < SHOWN_AT_MOST else ""  # looking is slow, and no more are shown
        problems.append(f"{name}: not in the architecture{hint}")
    for name in rows.keys() & arrays.keys():
        array, row = arrays[name], rows[name]
        if array.shape != row.shape:
            problems.append(f"{name}: expected shape {row.shape}, received {array.shape}")
        if array.dtype.name not in DTYPES and not row.weight.whole:
            problems.append(f"{name}: expected one of {', '.join(DTYPES)}, received {array.dtype.name}")
    if problems:
        raise MappingError(f"the arrays are not those of the architecture:{listing(problems)}")
