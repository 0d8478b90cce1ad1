"""``weight-transfer inspect``: what a file is, before anything is done with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape
from rich.table import Table

from weight_transfer.checkpoint import Array, Checkpoint, read_checkpoint
from weight_transfer.cli import options
from weight_transfer.cli.applicability import Idle, of_a_converted_file, refuse_idle
from weight_transfer.cli.optimizers import optimizer_as_dict, optimizer_text
from weight_transfer.cli.terminal import bytes_text, facts, frozen_fact, input_facts, notes, out, print_json
from weight_transfer.conversion.description import describe as description_of
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import Converted, is_converted, read_converted
from weight_transfer.description import Description
from weight_transfer.errors import OptionError, TransferError
from weight_transfer.graph import Graph, read_graph
from weight_transfer.identified import Identified
from weight_transfer.keras_support import keras_support
from weight_transfer.layer_types import LAYER_TYPES
from weight_transfer.optimizer.from_keras import read_optimizer_state
from weight_transfer.optimizer.grammar import parse_optimizer
from weight_transfer.optimizer.state import OptimizerState, read_state_beside
from weight_transfer.overview import Part, parts_of, shape_text
from weight_transfer.resnet.dialects import DIALECTS
from weight_transfer.resnet.layout import network_to_dict
from weight_transfer.tensor_file import Tensor


@click.command(epilog="Example: weight-transfer inspect resnet50.h5")
@options.checkpoint_file
@click.option("--arrays", is_flag=True, help="List every array.")
@options.optimizer
@options.as_json
@options.about_the_file
def inspect(file: Path, arrays: bool, optimizer: str | None, json: bool, **said: Any) -> None:
    """Show what a checkpoint holds: container, architecture, stages, arrays, optimizer, hash."""
    converted = is_converted(file)
    refuse_idle(of_a_converted_file(converted, file, (*options.ABOUT_THE_FILE, "optimizer")))
    if converted:
        _show_converted(file, arrays, json)
        return
    with read_checkpoint(file) as checkpoint:
        hints = options.hints_of(**said)
        identified = _identify(checkpoint, hints)
        known = None if isinstance(identified, TransferError) else description_of(checkpoint, identified, hints)
        found = describe(checkpoint, identified, known)
        state = _optimizer(checkpoint, identified, optimizer, hints)
        refuse_idle(Idle(state is None, ("optimizer",), f"{file} holds no state of an optimizer"))
        if json:
            found["optimizer"] = {"why_not": str(state)} if isinstance(state, TransferError) else state
            if isinstance(state, OptimizerState):
                found["optimizer"] = optimizer_as_dict(state)
            print_json(found)
            return
        print_description(found, identified, known, state)
        if arrays:
            _print_arrays(checkpoint.arrays)


def _identify(checkpoint: Checkpoint, hints: Hints) -> Identified | TransferError:
    """A sound checkpoint of an unknown architecture is still worth showing."""
    try:
        return identify(checkpoint, hints)
    except OptionError:
        raise
    except TransferError as error:
        return error


def _optimizer(
    checkpoint: Checkpoint, identified: Identified | TransferError, said: str | None, hints: Hints
) -> OptimizerState | TransferError | None:
    """The optimizer's state, why it cannot be carried over, or None where there is none."""
    wanted = parse_optimizer(said)
    try:
        saved = checkpoint.optimizer
        if saved is None or not saved.arrays or isinstance(identified, TransferError):
            return None
        return read_optimizer_state(checkpoint, identified, wanted, hints.like)
    except TransferError as error:
        return error


def describe(
    checkpoint: Checkpoint, identified: Identified | TransferError, known: Description | None
) -> dict[str, Any]:
    """Returns everything about a checkpoint as JSON can hold it."""
    found: dict[str, Any] = {
        "file": checkpoint.path.name,
        "container": checkpoint.container,
        "keras_version": checkpoint.keras_version,
        "has_model_config": checkpoint.config is not None,
        "size_bytes": checkpoint.size_bytes,
        "sha256": checkpoint.sha256,
        "num_arrays": len(checkpoint.arrays),
        "skipped": list(checkpoint.skipped),
        "keras_support": keras_support(checkpoint, foreign_classes(checkpoint)),
        "arrays": _as_listed(checkpoint.arrays),
    }
    if isinstance(identified, TransferError) or known is None:
        return {**found, "network": None, "why_not": str(identified)}
    network = {**describe_network(identified.network), **known.input_as_dict()}
    return {**found, **network, "assumed": list(identified.assumed), "remarks": list(identified.remarks)}


def foreign_classes(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Classes of the file's layers that the table of layer types does not know."""
    if checkpoint.config is None:
        return ()
    try:
        found = {layer.class_name for layer in read_graph(checkpoint.config).listed.values()}
    except TransferError:
        return ()
    return tuple(sorted(name for name in found if name not in LAYER_TYPES and name != "InputLayer"))


def describe_network(network: Graph) -> dict[str, Any]:
    """Returns what follows from the network: its name, size, cost, parts and input contract."""
    parts = parts_of(network)
    costs = [part.multiply_adds for part in parts]
    return {
        "network": network_to_dict(network),
        "kind": "graph" if network.architecture is None else "native",
        "name": network.title,
        "inputs": {name: list(shape) for name, shape in network.inputs.items()},
        "num_parameters": sum(part.num_parameters for part in parts),
        "multiply_adds": None if None in costs else sum(cost or 0 for cost in costs),
        "parts": [dataclasses.asdict(part) for part in parts],
    }


def print_description(
    found: Mapping[str, Any],
    identified: Identified | TransferError,
    known: Description | None,
    optimizer: OptimizerState | TransferError | None = None,
) -> None:
    """Prints a checkpoint's facts, its optimizer's, and its parts."""
    writer = f"Keras {found['keras_version']}" if found["keras_version"] else "a Keras that left no version"
    lines: dict[str, object] = {
        "file": escape(found["file"]),
        "container": f"{found['container']}, {bytes_text(found['size_bytes'])}, written by {writer}",
        "sha256": found["sha256"],
        "arrays": f"{found['num_arrays']}"
        + (f", and {len(found['skipped'])} that are no weights, left out" if found["skipped"] else ""),
    }
    if isinstance(optimizer, OptimizerState):
        lines["optimizer"] = optimizer_text(optimizer)
    elif optimizer is not None:
        lines["optimizer"] = f"[yellow]cannot be carried over:[/] {escape(str(optimizer))}"
    support = found["keras_support"]
    lines["today's Kerases"] = "; ".join(f"{name} {verdict}" for name, verdict in support.items())
    if isinstance(identified, TransferError) or known is None:
        out.print(facts(lines))
        out.print(f"\n[yellow]not convertible:[/] {escape(str(identified))}")
        return
    assumed = [*identified.assumed, *(optimizer.assumed if isinstance(optimizer, OptimizerState) else ())]
    lines |= {**network_facts(identified.network), **notes(identified.remarks), **frozen_fact(known.frozen)}
    out.print(facts({**lines, **({"not in the file": ", ".join(assumed)} if assumed else {}), **input_facts(known)}))
    out.print(parts_table(parts_of(identified.network)))


def network_facts(network: Graph) -> dict[str, object]:
    """What a person wants to know of a network, by heading."""
    parts = parts_of(network)
    costs = [part.multiply_adds for part in parts]
    cost = "" if None in costs else f", {_cost(sum(c or 0 for c in costs))} multiply-adds"
    size = f"{sum(part.num_parameters for part in parts):,} parameters{cost}"
    backbone = network.architecture
    found: dict[str, object] = {}
    if backbone is not None:
        title = DIALECTS[backbone.dialect].title if backbone.dialect in DIALECTS else ""
        found = {
            "network": f"{network.title}, {backbone.block} blocks {list(backbone.block_counts)}, {size}",
            "names": f"{backbone.dialect}: {title}",
            "conventions": ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(backbone.conventions).items()),
        }
    else:
        blocks = sum(part.blocks for part in parts)
        what = f"imported graph of {len(network.layers)} layers, {blocks} residual blocks"
        found = {"network": f"{escape(network.name)}: {what}, {size}"}
    shapes = network.inputs.items()
    found["input"] = ", ".join(f"{escape(name)} {shape_text(shape)}" for name, shape in shapes)
    if network.resnet is None:
        shapes_of = network.shapes
        found["output"] = ", ".join(f"{escape(value)} {shape_text(shapes_of[value])}" for value in network.outputs)
    return found


def _cost(multiply_adds: int) -> str:
    """``3.86 x 10^9`` and ``12.5 x 10^6``, as papers count them."""
    exponent = 9 if multiply_adds >= 1e9 else 6
    return f"{multiply_adds / 10**exponent:,.2f} x 10^{exponent}"


def parts_table(parts: list[Part]) -> Table:
    """A row for the stem, each stage and the head."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("part", "blocks", "a block's layers", "output", "arrays", "parameters", "multiply-adds"):
        text = heading in ("part", "output", "a block's layers")
        table.add_column(heading, justify="left" if text else "right", no_wrap=heading != "a block's layers")
    for part in parts:
        table.add_row(
            part.name,
            str(part.blocks or ""),
            part.convolutions,
            shape_text(part.out_shape),
            str(part.num_arrays),
            f"{part.num_parameters:,}",
            "" if part.multiply_adds is None else _cost(part.multiply_adds),
        )
    return table


def _print_arrays(arrays: Mapping[str, Array | Tensor]) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("array", "shape", "dtype"):
        table.add_column(heading, overflow="fold")
    for name, array in arrays.items():
        table.add_row(escape(repr(name)[1:-1]), " x ".join(map(str, array.shape)), str(array.dtype))
    out.print(table)


def _as_listed(arrays: Mapping[str, Array | Tensor]) -> dict[str, Any]:
    return {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in arrays.items()}


def _show_converted(file: Path, arrays: bool, json: bool) -> None:
    converted = read_converted(file)
    tensors, saved = converted.stored, read_state_beside(converted)
    if saved is not None and saved.fingerprint != converted.fingerprint:
        saved = None  # left there by other weights
    state = None if saved is None else saved.state
    if json:
        found: dict[str, Any] = {"file": converted.path.name, "container": "converted safetensors"}
        found |= {"arrays": _as_listed(tensors), **converted.description.input_as_dict()}
        found["optimizer"] = None if state is None else optimizer_as_dict(state)
        found |= {"remarks": list(converted.description.remarks), "frozen": list(converted.description.frozen)}
        found["trained_in_pytorch"] = converted.description.training is not None
        print_json({**found, **describe_network(converted.network), "origin": dict(converted.origin.__dict__)})
        return
    lines: dict[str, object] = {
        "file": escape(converted.path.name),
        "container": f"converted safetensors, by version {converted.origin.tool_version}",
        "from": _source_text(converted),
        **({} if state is None else {"optimizer": optimizer_text(state)}),
        **network_facts(converted.network),
        **notes(converted.description.remarks),
        **frozen_fact(converted.description.frozen),
        **input_facts(converted.description),
    }
    out.print(facts(lines))
    out.print(parts_table(parts_of(converted.network)))
    if arrays:
        _print_arrays(tensors)


def _source_text(converted: Converted) -> str:
    origin = converted.origin
    if not origin.source:
        return "PyTorch"
    file = f"{escape(origin.source)} ({origin.container}, sha256 {origin.sha256})"
    return file if converted.description.training is None else f"{file}, trained on in PyTorch"
