"""Which network a checkpoint holds: a ResNet of a known dialect, its own graph, or a known family's network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weight_transfer.architecture import Architecture, Conventions
from weight_transfer.checkpoint import Array, Checkpoint, read_checkpoint, read_config
from weight_transfer.conversion.accounting import Accounting
from weight_transfer.conversion.candidates import Candidate, candidates_of
from weight_transfer.conversion.heads import with_own_head
from weight_transfer.conversion.heeding import check_heeded
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.importing import imported
from weight_transfer.conversion.listed import Listed, laid_on_list
from weight_transfer.conversion.mapping import mapping
from weight_transfer.conversion.pairing import paired
from weight_transfer.conversion.remarks import remarks_of
from weight_transfer.conversion.structure import check_called_once, differences
from weight_transfer.dialects import DIALECTS
from weight_transfer.errors import ArchitectureError, MappingError, TransferError, listing
from weight_transfer.families import FAMILIES, recognise
from weight_transfer.keras_graph import KerasGraph, keras_graph
from weight_transfer.layer_graph import LayerGraph, layer_graph
from weight_transfer.layer_list import Expected, layer_list_of, left_out_line
from weight_transfer.network import Network
from weight_transfer.precision import DTYPES, Precision, precision_of


@dataclass(frozen=True)
class Identified:
    """A checkpoint's network, and its arrays under that network's names.

    Attributes:
        network: What the file holds.
        arrays: The file's arrays by ``layer/role`` of the network.
        assumed: What the file does not show and a dialect, a family or a person supplied, in words.
        config: The Keras model's config, from the file or from beside it, where there is one.
        keras: The graph in that config.
        own_config: The same, but None where a family supplied it: then its order of layers is not the file's.
        precision: In what the network computes.
        remarks: What the port has otherwise than the file or its owner's Keras, in sentences.
    """

    network: Network
    arrays: Mapping[str, Array]
    assumed: tuple[str, ...]
    config: Mapping[str, Any] | None = None
    keras: KerasGraph | None = None
    own_config: Mapping[str, Any] | None = None
    precision: Precision = field(default_factory=Precision)
    remarks: tuple[str, ...] = ()


# Of weights alone, and of a config that names no modules, as Keras before 2.13 and every .h5 file writes it.
CLASSES_BY_NAME = "classes by their names alone: one of your own, called like one of Keras's, would look the same"

NO_LIST = "activations and pooling: the file lists only layers with arrays"


class _AnotherStructure(ArchitectureError):
    """The arrays are those of a ResNet whose graph is not the file's.

    Attributes:
        remark: In what they differ, in a line.
    """

    remark = ""


class _Ambiguous(ArchitectureError):
    """Several descriptions fit: a person decides, not the next attempt."""


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
    return dataclasses.replace(found, precision=precision, remarks=remarks)


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
    keras = None if config is None else keras_graph(config)
    if beside is None or keras is None:
        if hints.pair_by is not None:
            raise ArchitectureError("--pair-by is about a model beside the weights. Expected --config or --like.")
        return _of_graph(checkpoint, hints, config, keras)
    laid = paired(checkpoint, beside, keras, hints.pair_by)
    found = _of_graph(laid.checkpoint, hints, config, keras)
    return dataclasses.replace(found, assumed=(*found.assumed, *laid.assumed))


def _of_graph(
    checkpoint: Checkpoint, hints: Hints, config: Mapping[str, Any] | None, keras: KerasGraph | None
) -> Identified:
    """Identifies a checkpoint whose arrays have the names of the graph, where there is one."""
    if hints.import_as != "graph" and hints.family is None:
        try:
            found = _native(checkpoint, hints, keras)
            if keras is None and checkpoint.names_are_counters:
                _check_families(checkpoint, found, hints)
            return dataclasses.replace(found, config=config, keras=keras, own_config=config)
        except _Ambiguous:
            raise
        except (ArchitectureError, MappingError) as error:
            if hints.import_as == "native" or _asks_for_native(hints):
                raise
            reason: TransferError = error
    else:
        reason = ArchitectureError(f"{checkpoint.path.name}: a weights-only file of no known family carries no graph")
    if keras is not None:
        network, arrays = imported(checkpoint, keras)
        remarks = (reason.remark,) if isinstance(reason, _AnotherStructure) else ()
        return Identified(network, arrays, (), config, keras, own_config=config, remarks=remarks)
    return _of_a_family(checkpoint, hints, reason)


def _check_families(checkpoint: Checkpoint, found: Identified, hints: Hints) -> None:
    """Asks where a file that only counts its layers is a family's network as well: no name shows which.

    Raises:
        ArchitectureError: It is.
    """
    families = [] if _asks_for_native(hints) else recognise(checkpoint)
    if families and isinstance(found.network, Architecture):
        lines = [f"--dialect {found.network.dialect}: {found.assumed[0]}"]
        lines += [f"--family {one.family}: {one.title}" for one in families]
        raise _Ambiguous(
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
    keras = keras_graph(one.config)
    network, arrays = imported(checkpoint.with_names(one.names), keras)
    assumed = (f"{one.title}: {family.assumptions}",)
    return Identified(network, arrays, (*assumed, *_said_of_list(checkpoint, keras)), one.config, keras)


def _said_of_list(checkpoint: Checkpoint, keras: KerasGraph) -> tuple[str, ...]:
    """What a file lists beside a family's network, or that it lists nothing."""
    listed = layer_list_of(checkpoint)
    if listed is None:
        return (NO_LIST,)
    left_out = listed.training_only(Expected(layer.class_name) for layer in keras.layers.values())
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


def _native(checkpoint: Checkpoint, hints: Hints, keras: KerasGraph | None) -> Identified:
    """The one ResNet whose rendered names equal the checkpoint's."""
    graph = None if keras is None else layer_graph(keras, keras_version=checkpoint.keras_version)
    if graph is not None:
        check_called_once(graph)
    candidates = list(candidates_of(checkpoint, hints, graph))
    complete = [candidate for candidate in candidates if candidate.accounting.complete]
    exact = complete
    if graph is not None:
        exact = [candidate for candidate in complete if not differences(graph, candidate.architecture)]
    if not exact:
        headed = None
        if keras is not None and graph is not None:
            headed = _with_own_head(checkpoint, hints, candidates, keras, graph)
        if headed is not None:
            return headed
        if complete and graph is not None:
            raise _another_structure(checkpoint, complete, graph)
        raise _nothing_fits(checkpoint, candidates)
    if graph is not None:
        return _decided(checkpoint, exact, graph, hints)
    listed = layer_list_of(checkpoint)
    if listed is None:
        found = _decided(checkpoint, exact, graph, hints)
        return dataclasses.replace(found, assumed=(*found.assumed, NO_LIST))
    laid = [(candidate, laid_on_list(candidate.architecture, listed, hints)) for candidate in exact]
    fitting = [dataclasses.replace(one, architecture=on.architecture) for one, on in laid if not on.differences]
    if not fitting:
        raise _lists_another(checkpoint, *min(laid, key=lambda pair: len(pair[1].differences)))
    found = _decided(checkpoint, fitting, graph, hints)
    said = next(on.assumed for _, on in laid if on.architecture == found.network)
    return dataclasses.replace(found, assumed=(*found.assumed, *said))


def _decided(
    checkpoint: Checkpoint, fitting: Sequence[Candidate], graph: LayerGraph | None, hints: Hints
) -> Identified:
    """The one candidate, or the first of those that are the same network.

    Raises:
        ArchitectureError: They are different networks, or pair the file's arrays otherwise.
    """
    distinct = {_computation(candidate.architecture): candidate for candidate in reversed(fitting)}
    if len(distinct) > 1:
        raise _several_fit(checkpoint, list(reversed(distinct.values())))
    if len({_pairing(candidate.accounting) for candidate in fitting}) > 1:
        raise _Ambiguous(
            f"{checkpoint.path.name}: it only counts its layers, and which of two convolutions of one shape is the "
            "shortcut's, nothing in it shows. Give the model's description by --config or --like."
        )
    chosen = fitting[0]
    return Identified(chosen.architecture, chosen.accounting.arrays, _assumed(chosen.architecture, graph, hints))


def _pairing(accounting: Accounting) -> tuple[str, ...]:
    """The file's array of each row, in the network's order."""
    return tuple(accounting.arrays[row.keras].name for row in accounting.rows)


def _lists_another(checkpoint: Checkpoint, candidate: Candidate, laid: Listed) -> ArchitectureError:
    return ArchitectureError(
        f"{checkpoint.path.name}: its arrays are those of {candidate.dialect.title}, but it lists other layers, so it "
        f"is another network:{listing(laid.differences)}\n"
        "Give the model's own description by --config model.json or --like a full-model file of the same model."
    )


def _with_own_head(
    checkpoint: Checkpoint,
    hints: Hints,
    candidates: Sequence[Candidate],
    keras: KerasGraph,
    graph: LayerGraph,
) -> Identified | None:
    """A known ResNet up to its last stage, and behind it whatever the file's graph has."""
    for candidate in candidates:
        found = with_own_head(checkpoint, candidate.architecture, candidate.accounting.arrays, keras, graph)
        if found is not None:
            network, arrays = found
            return Identified(network, arrays, _assumed(network.backbone, graph, hints))
    return None


def _said(hints: Hints, name: str, value: Any, otherwise: str) -> str:
    return f"{name} {value} ({'you said so' if name in hints.conventions else otherwise})"


def _another_structure(checkpoint: Checkpoint, complete: list[Candidate], graph: LayerGraph) -> ArchitectureError:
    """The error for arrays that fit a ResNet whose graph is not the file's."""
    found = [(candidate, differences(graph, candidate.architecture)) for candidate in complete]
    candidate, different = min(found, key=lambda pair: len(pair[1]))
    error = _AnotherStructure(
        f"{checkpoint.path.name}: its layers have the names of {candidate.dialect.title}, but its model "
        f"computes something else:{listing(map(str, different))}"
    )
    more = f" (+{len(different) - 1} more)" if len(different) > 1 else ""
    error.remark = f"its own graph, and not {candidate.dialect.title}: {different[0]}{more}"
    return error


def _computation(architecture: Architecture) -> object:
    """What two candidates must share to be the same network."""
    a = architecture
    conventions = dataclasses.replace(a.conventions, kernel_initializer="he_normal")
    return (a.block, a.block_counts, a.filters, a.head, conventions)


def _assumed(architecture: Architecture, graph: LayerGraph | None, hints: Hints) -> tuple[str, ...]:
    """What neither names nor a graph show, with its value and who says so."""
    if graph is not None:
        return ()
    lines = [_said(hints, name, getattr(architecture.conventions, name), architecture.dialect) for name in _DECIDING]
    if architecture.head.classes is not None:
        lines.append(f"last activation {architecture.head.activation} ({architecture.dialect})")
    size = "x".join(str(n) for n in architecture.in_shape)
    return (*lines, f"in_shape {size} ({'you said so' if hints.in_shape else architecture.dialect})")


_DECIDING: Mapping[str, str] = {
    "epsilon": "--epsilon",
    "stride_in": "--stride-in",
    "stem_padding": "--stem-padding",
    "pool_padding": "--pool-padding",
}


def _several_fit(checkpoint: Checkpoint, candidates: Sequence[Candidate]) -> _Ambiguous:
    fields = [f.name for f in dataclasses.fields(Conventions) if f.name in _DECIDING]
    differing = [name for name in fields if len({getattr(c.architecture.conventions, name) for c in candidates}) > 1]
    lines = [
        f"--dialect {c.dialect.key}: "
        + ", ".join(f"{name} {getattr(c.architecture.conventions, name)}" for name in differing)
        + f"  ({c.dialect.title})"
        for c in candidates
    ]
    return _Ambiguous(
        f"{checkpoint.path.name}: {len(candidates)} descriptions fit its names and shapes, and a weights file "
        f"does not show which is meant. Decide with one of:{listing(lines)}"
    )


def _nothing_fits(checkpoint: Checkpoint, candidates: Sequence[Candidate]) -> Exception:
    if not candidates:
        first = ", ".join(list(checkpoint.arrays)[:3]) or "no arrays at all"
        known = "\n".join(f"  {d.key}: {d.names.stem_conv}, {d.names.conv}" for d in DIALECTS.values())
        return ArchitectureError(
            f"{checkpoint.path.name}: its names are those of no dialect. It starts with {first}. "
            f"Known dialects (--dialect) and their names:\n{known}"
        )
    best = min(candidates, key=lambda candidate: candidate.accounting.num_problems)
    a = best.architecture
    return best.accounting.error(
        f"{checkpoint.path.name}: not the ResNet-{a.depth} of dialect {best.dialect.key} that it comes closest to"
    )
