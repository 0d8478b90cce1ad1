"""``weight-transfer inspect``: what a file is, before anything is done with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape
from rich.table import Table

from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.cli import options
from weight_transfer.cli.terminal import bytes_text, facts, out, print_json
from weight_transfer.conversion.identify import Hints, Identified, identify
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.dialects import DIALECTS
from weight_transfer.errors import TransferError
from weight_transfer.graph import Layer, layers


@click.command(epilog="Example: weight-transfer inspect resnet50.h5")
@options.checkpoint_file
@click.option("--arrays", is_flag=True, help="List every array.")
@options.as_json
@options.about_the_file
def inspect(file: Path, arrays: bool, json: bool, **said: Any) -> None:
    """Show what a checkpoint holds: container, architecture, stages, arrays, hash."""
    if is_converted(file):
        _show_converted(file, json)
        return
    with read_checkpoint(file) as checkpoint:
        identified = _identify(checkpoint, options.hints_of(**said))
        found = describe(checkpoint, identified)
        if json:
            print_json(found)
            return
        print_description(found, identified)
        if arrays:
            _print_arrays(checkpoint)


def _identify(checkpoint: Checkpoint, hints: Hints) -> Identified | TransferError:
    """A sound checkpoint of an unknown architecture is still worth showing."""
    try:
        return identify(checkpoint, hints)
    except TransferError as error:
        return error


def describe(checkpoint: Checkpoint, identified: Identified | TransferError) -> dict[str, Any]:
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
        "arrays": {
            name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in checkpoint.arrays.items()
        },
    }
    if isinstance(identified, TransferError):
        return {**found, "architecture": None, "why_not": str(identified)}
    return {**found, **describe_architecture(identified.architecture), "assumed": list(identified.assumed)}


def describe_architecture(architecture: Architecture) -> dict[str, Any]:
    """Returns what follows from the architecture: depth, size, cost, the parts' shapes."""
    rows = layers(architecture)
    costs = [row.multiply_adds for row in rows]
    return {
        "architecture": architecture.to_dict(),
        "name": f"ResNet-{architecture.depth}",
        "num_parameters": sum(row.num_parameters for row in rows),
        "multiply_adds": None if None in costs else sum(cost or 0 for cost in costs),
        "parts": [_part(name, part) for name, part in parts_of(rows).items()],
    }


def parts_of(rows: tuple[Layer, ...]) -> dict[str, list[Layer]]:
    """Returns the layers of the stem, each stage and the head, by name."""
    parts: dict[str, list[Layer]] = {}
    name = "stem"
    for row in rows[1:]:
        path = (row.module or row.tap or "").split(".")
        name = path[1] if path[0] == "stages" else path[0] or name
        parts.setdefault(name, []).append(row)
    return parts


def _part(name: str, rows: list[Layer]) -> dict[str, Any]:
    costs = [row.multiply_adds for row in rows]
    return {
        "name": name,
        "blocks": sum(row.class_name == "Add" for row in rows),
        "out_shape": list(rows[-1].out_shape),
        "arrays": sum(len(row.weights) for row in rows),
        "num_parameters": sum(row.num_parameters for row in rows),
        "multiply_adds": None if None in costs else sum(cost or 0 for cost in costs),
    }


def print_description(found: Mapping[str, Any], identified: Identified | TransferError) -> None:
    """Prints a checkpoint's facts and its parts."""
    writer = f"Keras {found['keras_version']}" if found["keras_version"] else "a Keras that left no version"
    lines: dict[str, object] = {
        "file": escape(found["file"]),
        "container": f"{found['container']}, {bytes_text(found['size_bytes'])}, written by {writer}",
        "sha256": found["sha256"],
        "arrays": f"{found['num_arrays']}"
        + (f", and {len(found['skipped'])} that are no weights, left out" if found["skipped"] else ""),
    }
    if isinstance(identified, TransferError):
        out.print(facts(lines))
        out.print(f"\n[yellow]architecture not told:[/] {escape(str(identified))}")
        return
    a = identified.architecture
    cost = f", {found['multiply_adds'] / 1e9:.2f} x 10^9 multiply-adds" if found["multiply_adds"] else ""
    lines |= {
        "architecture": f"{found['name']}, {a.block} blocks {list(a.block_counts)}, {found['num_parameters']:,} "
        f"parameters{cost}",
        "names": f"{a.dialect}: {DIALECTS[a.dialect].title}" if a.dialect in DIALECTS else a.dialect,
        "conventions": ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(a.conventions).items()),
        "not in the file": ", ".join(identified.assumed),
    }
    out.print(facts(lines))
    out.print(parts_table(found["parts"]))


def parts_table(parts: list[Mapping[str, Any]]) -> Table:
    """A row for the stem, each stage and the head."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("part", "blocks", "output", "arrays", "parameters", "multiply-adds"):
        table.add_column(heading, justify="left" if heading in ("part", "output") else "right")
    for part in parts:
        cost = part["multiply_adds"]
        table.add_row(
            part["name"],
            str(part["blocks"] or ""),
            " x ".join("?" if n is None else str(n) for n in part["out_shape"]),
            str(part["arrays"]),
            f"{part['num_parameters']:,}",
            "" if cost is None else f"{cost / 1e6:,.1f} M",
        )
    return table


def _print_arrays(checkpoint: Checkpoint) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("array", "shape", "dtype"):
        table.add_column(heading, overflow="fold")
    for name, array in checkpoint.arrays.items():
        table.add_row(escape(repr(name)[1:-1]), " x ".join(map(str, array.shape)), str(array.dtype))
    out.print(table)


def _show_converted(file: Path, json: bool) -> None:
    converted = read_converted(file)
    found = {
        "file": converted.path.name,
        "container": "converted safetensors",
        **describe_architecture(converted.architecture),
        "origin": dict(converted.origin.__dict__),
    }
    if json:
        print_json(found)
        return
    origin = converted.origin
    out.print(
        facts(
            {
                "file": escape(converted.path.name),
                "container": f"converted safetensors, by version {origin.tool_version}",
                "from": f"{escape(origin.source)} ({origin.container}, sha256 {origin.sha256})",
                "architecture": f"{found['name']}, {found['num_parameters']:,} parameters",
                "preprocessing": converted.architecture.conventions.preprocessing,
            }
        )
    )
    out.print(parts_table(found["parts"]))
