"""Which network a checkpoint holds: a ResNet of a known dialect, its own graph, or a known family's network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from weight_transfer.checkpoint import Checkpoint, read_checkpoint, read_config
from weight_transfer.conversion.array_accounts import imported
from weight_transfer.conversion.array_pairs import paired
from weight_transfer.conversion.hint_checks import check_heeded
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.native import native
from weight_transfer.conversion.remarks import remarks_of
from weight_transfer.errors import ArchitectureError, MappingError, TransferError, listing
from weight_transfer.families import FAMILIES, recognise
from weight_transfer.graph import Graph, read_graph
from weight_transfer.graph.precision import DTYPES, Precision, precision_of
from weight_transfer.identified import NO_LIST, Ambiguous, AnotherStructure, Identified
from weight_transfer.layer_list import Expected, layer_list_of, left_out_line
from weight_transfer.weight_mapping import mapping

# Of weights alone, and of a config that names no modules, as Keras before 2.13 and every .h5 file writes it.
CLASSES_BY_NAME = "classes by their names alone: one of your own, called like one of Keras's, would look the same"


def identify(checkpoint: Checkpoint, hints: Hints | None = None) -> Identified:
    """Finds what network a checkpoint holds.

    First the ResNets: the one architecture whose rendered names equal the checkpoint's. Else the
    graph in the file; else, for a weights-only file, the family whose names and shapes it has.

    Args:
        checkpoint: What `read_checkpoint` gave.
        hints: What the person knows.

    Raises:
        ArchitectureError: Nothing fits, or several that compute different things do; the message
            lists them and names the flag that decides. Or the graph has layers that are not supported.
        MappingError: One description nearly fits; the message lists what is missing and left over.
        OptionError: Hints are not about what was found.
    """
    hints, has_own_model = hints or Hints(), checkpoint.config is not None
    beside = _config_beside(hints)
    config = checkpoint.config if beside is None else beside
    if beside is not None:
        checkpoint = checkpoint.laid_out_by(beside)
    found = _identified(checkpoint, hints, config, beside)
    check_heeded(checkpoint.path.name, hints, found.network, has_own_model=has_own_model, has_model=config is not None)
    if config is None or "module" not in config:
        found = dataclasses.replace(found, assumed=(*found.assumed, CLASSES_BY_NAME))
    precision = _precision(found)
    remarks = remarks_of(found.arrays, found.keras, precision, checkpoint.backend)
    return dataclasses.replace(found, precision=precision, remarks=(*found.remarks, *remarks))


def _precision(found: Identified) -> Precision:
    """From the dtype policies in a file's own config; of weights alone, the widest of their types."""
    if found.own_config is not None and found.keras is not None:
        return precision_of(found.keras, {row.keras.rpartition("/")[0] for row in mapping(found.network)})
    types = [array.dtype for array in found.arrays.values() if array.dtype.kind == "f"]
    widest = np.result_type(*types).name if types else "float32"
    return Precision(next((dtype for dtype in DTYPES if dtype == widest), "float32"))


def _identified(
    checkpoint: Checkpoint, hints: Hints, config: Mapping[str, Any] | None, beside: Mapping[str, Any] | None
) -> Identified:
    """Identifies a checkpoint by a config, the file's own or one from beside it, or without any."""
    keras = None if config is None else read_graph(config, checkpoint.keras_version)
    if beside is None or keras is None:
        if hints.pair_by is not None:
            raise ArchitectureError("--pair-by is about a model beside the weights. Expected --config or --like.")
        return _of_graph(checkpoint, hints, config, keras)
    laid = paired(checkpoint, beside, keras, hints.pair_by)
    found = _of_graph(laid.checkpoint, hints, config, keras)
    return dataclasses.replace(found, assumed=(*found.assumed, *laid.assumed))


def _of_graph(
    checkpoint: Checkpoint, hints: Hints, config: Mapping[str, Any] | None, keras: Graph | None
) -> Identified:
    """Identifies a checkpoint whose arrays have the names of the graph, where there is one."""
    if hints.import_as != "graph" and hints.family is None:
        try:
            found = native(checkpoint, hints, keras)
            if keras is None and checkpoint.names_are_counters:
                _check_families(checkpoint, found, hints)
            return dataclasses.replace(found, config=config, keras=keras, own_config=config)
        except Ambiguous:
            raise
        except (ArchitectureError, MappingError) as error:
            if hints.import_as == "native" or _asks_for_native(hints):
                raise
            reason: TransferError = error
    else:
        reason = ArchitectureError(f"{checkpoint.path.name}: a weights-only file of no known family carries no graph")
    if keras is not None:
        network, arrays = imported(checkpoint, keras)
        remarks = (reason.remark,) if isinstance(reason, AnotherStructure) else ()
        return Identified(network, arrays, (), config, keras, own_config=config, remarks=remarks)
    return _of_a_family(checkpoint, hints, reason)


def _check_families(checkpoint: Checkpoint, found: Identified, hints: Hints) -> None:
    """Asks where a file that only counts its layers is a family's network as well: no name shows which.

    Raises:
        ArchitectureError: It is.
    """
    families = [] if _asks_for_native(hints) else recognise(checkpoint)
    if families and found.network.resnet is not None:
        lines = [f"--dialect {found.network.resnet.dialect}: {found.assumed[0]}"]
        lines += [f"--family {one.family}: {one.title}" for one in families]
        raise Ambiguous(
            f"{checkpoint.path.name}: it only counts its layers, and {len(lines)} descriptions fit their shapes. "
            f"Decide with one of:{listing(lines)}"
        )


def _asks_for_native(hints: Hints) -> bool:
    """Whether the person named what only a ResNet has: then its errors are the ones to hear."""
    return hints.dialect is not None or hints.depth is not None


def _of_a_family(checkpoint: Checkpoint, hints: Hints, reason: TransferError) -> Identified:
    """The family of a weights-only file; ``reason`` is why it is no ResNet of a known dialect."""
    found = [one for one in recognise(checkpoint) if hints.family in (None, one.family)]
    if not found:
        raise reason
    if len(found) > 1:
        lines = [f"--family {one.family}: {one.title}" for one in found]
        raise ArchitectureError(
            f"{checkpoint.path.name}: {len(found)} families fit its names and shapes. "
            f"Decide with one of:{listing(lines)}"
        )
    one, family = found[0], FAMILIES[found[0].family]
    keras = read_graph(one.config, checkpoint.keras_version)
    network, arrays = imported(checkpoint.with_names(one.names), keras)
    assumed = (f"{one.title}: {family.assumptions}",)
    return Identified(network, arrays, (*assumed, *_said_of_list(checkpoint, keras)), one.config, keras)


def _said_of_list(checkpoint: Checkpoint, keras: Graph) -> tuple[str, ...]:
    """What a file lists beside a family's network, or that it lists nothing."""
    listed = layer_list_of(checkpoint)
    if listed is None:
        return (NO_LIST,)
    left_out = listed.training_only(Expected(layer.class_name) for layer in keras.listed.values())
    return (left_out_line(left_out),) if left_out else ()


def _config_beside(hints: Hints) -> Mapping[str, Any] | None:
    """The model's description from another file, where the person names one."""
    if hints.config is not None:
        return read_config(hints.config)
    if hints.like is None:
        return None
    with read_checkpoint(hints.like) as other:
        if other.config is None:
            raise ArchitectureError(
                f"{hints.like}: holds no description of its model. Expected a full-model file for --like."
            )
        return other.config
