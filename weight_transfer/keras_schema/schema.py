"""A whole model config in the schema of another Keras."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from weight_transfer.checkpoint.layer_names import layers_of
from weight_transfer.checkpoint.writing import Schema
from weight_transfer.class_owners import objects_in
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import read_graph
from weight_transfer.graph.config_reader import read_model
from weight_transfer.keras_schema.equality import check_equal
from weight_transfer.keras_schema.layers import KERAS_1_ARGUMENTS, KERAS_1_CLASSES
from weight_transfer.keras_schema.models import FUNCTIONAL, Translation, translated_model
from weight_transfer.keras_schema.operations import is_operation, module_of_operation
from weight_transfer.keras_schema.target import READERS, Container, Target
from weight_transfer.keras_schema.training import trainable_flags

ELLIPSIS = "__ellipsis__"  # as which either Keras serializes the index `...`
# Where a Keras reads none, and what to do. tf_keras cannot write one there either.
_NO_ELLIPSIS: Mapping[tuple[Schema, Container], str] = {
    ("keras3", ".h5"): "Keras 3 reads no index `...` from an .h5 file. Name a .keras file.",
    ("keras2", ".keras"): "tf_keras reads no index `...` from a .keras file. Name an .h5 file.",
}
# Keys and classes that one generation alone writes.
_KERAS_3_KEYS, _KERAS_2_KEYS = ("keras_history", "batch_shape"), ("batch_input_shape",)
_KERAS_3_CLASSES, _KERAS_2_CLASSES = ("DTypePolicy", "__keras_tensor__"), ("TFOpLambda", "SlicingOpLambda")
_KERAS_1_WORDS = frozenset(KERAS_1_ARGUMENTS) - {"length", "p", "bias", "stride"}  # which others use too


def schema_of(config: Mapping[str, Any], keras_version: str | None) -> Schema:
    """Returns which generation wrote a model config: by its form, and where that is the same in both by the version.

    Args:
        config: ``{"class_name": ..., "config": ...}``.
        keras_version: As the file says it; None where it does not.
    """
    for node in objects_in(config):
        class_name = node.get("class_name")
        if class_name in _KERAS_3_CLASSES or any(key in node for key in _KERAS_3_KEYS):
            return "keras3"
        if class_name in _KERAS_2_CLASSES or any(key in node for key in _KERAS_2_KEYS):
            return "keras2"
    return "keras3" if keras_version is None or keras_version.startswith("3") else "keras2"


def in_schema(
    config: Mapping[str, Any], schema: Schema, *, container: Container, keras_version: str | None = None
) -> dict[str, Any]:
    """Returns a model config as another generation of Keras reads it, with all that acts in inference and in training.

    tf_keras 2.21 loads ``keras2``, Keras 3.15 ``keras3``. A config that is already so is returned as it is. What
    compiled the model is left out of any other: it is written with the optimizer.

    Example:
        >>> config = json.loads(keras.Sequential([keras.Input((4,)), keras.layers.ReLU()]).to_json())
        >>> in_schema(config, "keras2", container=".h5")["config"]["layers"][0]["config"]["batch_input_shape"]
        [None, 4]

    Args:
        config: ``{"class_name": ..., "config": ...}`` of any Keras from 1 on.
        schema: What to write.
        container: Of what file the config becomes a part.
        keras_version: What wrote the config: some options mean another thing in another Keras.

    Returns:
        New at each call.

    Raises:
        ArchitectureError: The model cannot be read, or has what the schema cannot say; the message names the layers,
            the fields and the schema.
    """
    source = schema_of(config, keras_version)
    if source == schema and not _is_keras_1(config):
        return _in_container(config, schema, container)
    target = Target(schema, container)
    graph = read_graph(config, keras_version or READERS[source]).checked()
    flags = trainable_flags(config, graph, source, target)
    written = translated_model(config, read_model(config), Translation(target, source, graph, flags))
    check_equal(graph, read_graph(written, READERS[schema]).checked(), target)
    return written


def _in_container(config: Mapping[str, Any], schema: Schema, container: Container) -> dict[str, Any]:
    """A config with the modules that its reader needs beside the classes; all else stays as it is.

    A legacy file leaves modules out. In an archive the outermost model has one. Keras 3 reads a layer without one by
    its legacy reader, in any container, which knows no operation and drops an ``axis`` that is a list of several or
    of none, as a `Normalization` by one mean has it.

    Raises:
        ArchitectureError: An operation has an index ``...``, which the reader of this container reads no more.

    Source: keras/src/legacy/saving/saving_utils.py, model_from_config; keras/src/models/functional.py, process_layer,
        keras 3.15.1.
    """
    written, target = copy.deepcopy(dict(config)), Target(schema, container)
    if container == ".keras" and "module" not in config:
        inside = written["config"]
        written = target.object("Sequential", inside, "keras")
        if config["class_name"] != "Sequential":
            written = target.object("Functional", inside, FUNCTIONAL[schema], "Functional")
    no_ellipsis = _NO_ELLIPSIS.get((schema, container))
    for path, layer in layers_of(written):
        name, inside = str(layer.get("class_name")), layer.get("config")
        if not isinstance(layer, dict) or not isinstance(inside, dict):
            continue
        operation, axis = is_operation(name, inside), inside.get("axis")
        if operation and no_ellipsis and any(node.get("class_name") == ELLIPSIS for node in objects_in(layer)):
            raise ArchitectureError(f"layer {'/'.join(path)!r} ({name}): {no_ellipsis}")
        if schema == "keras2":
            continue
        if operation and "module" not in layer:
            layer.update(module=module_of_operation(name), registered_name=name)
        elif isinstance(axis, list) and len(axis) != 1 and "module" not in layer:
            layer.update(module="keras.layers", registered_name=None)
    return written


def _is_keras_1(config: Mapping[str, Any]) -> bool:
    """Whether a config has words that no later Keras reads."""
    return any(
        node.get("class_name") in ("Merge", *KERAS_1_CLASSES) or not _KERAS_1_WORDS.isdisjoint(node)
        for node in objects_in(config)
    )
