"""The measurements as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from weight_transfer.cli.terminal import out
from weight_transfer.network_summary import (
    BLOCK_SIZE,
    INPUT_SIZE,
    OUTPUT_SIZES,
    Alternative,
    NetworkPart,
    NetworkSummary,
)
from weight_transfer.parity.protocol import SummaryRequest, SummaryResult

MILLION, BILLION = ("10^6", 1e6), ("10^9", 1e9)


def show(result: SummaryResult, request: SummaryRequest) -> None:
    """Prints table 1, then basic blocks against bottlenecks."""
    networks, blocks, alternatives = result.networks, result.blocks, result.alternatives
    out.print(
        f"[bold]Table 1, measured[/]: images of {_size(request.input_size)}, "
        f"bottlenecks stride in the {request.stride_in}"
    )
    out.print(table_1(networks))
    out.print(*("", *remarks(networks)), sep="\n", style="dim")
    out.print(f"\n[bold]Basic or bottleneck: one block[/] on {_size(BLOCK_SIZE)}")
    out.print(alternatives_table("convolutions", blocks, MILLION))
    out.print(_saving("As wide, the basic block", blocks[1], blocks[-1]))
    out.print(f"\n[bold]Basic or bottleneck: a network[/] on {_size(INPUT_SIZE)}, against ResNet-50")
    out.print(alternatives_table("blocks", alternatives, BILLION))
    out.print(_saving("As wide and as deep, the network of basic blocks", alternatives[1], alternatives[-1]))


def table_1(networks: Sequence[NetworkSummary]) -> Table:
    """A row for each of the paper's, a column for each depth, then the costs."""
    table = _table()
    table.add_column("", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for network in networks:
        table.add_column(f"{network.depth}-layer", no_wrap=True)
    for row in zip(*(network.parts for network in networks), strict=True):
        table.add_row(row[0].name, _size(row[0].output_size), *map(_cell, row))
    table.add_row()
    for label, (unit, size), digits, value in _COSTS:
        numbers = [value(network) for network in networks]
        if None not in numbers:
            table.add_row(label, unit, *(f"{(number or 0) / size:9.{digits}f}" for number in numbers))
    return table


# What, in which unit, to how many decimals, of which network.
_COSTS: Sequence[tuple[str, tuple[str, float], int, Callable[[NetworkSummary], float | None]]] = (
    ("parameters", MILLION, 1, lambda a: a.cost.num_parameters),
    ("  torchvision", MILLION, 1, lambda a: None if a.torchvision is None else a.torchvision.num_parameters),
    ("multiply-adds", BILLION, 2, lambda a: a.cost.multiply_adds),
    ("  the paper", BILLION, 1, lambda a: a.published_multiply_adds),
    ("  torchvision", BILLION, 2, lambda a: None if a.torchvision is None else a.torchvision.multiply_adds),
)


def _cell(part: NetworkPart) -> str:
    """A block's convolutions as in the paper; below, how many blocks, and the part's multiply-adds in 10^9."""
    times = f"x{part.num_blocks}" if part.num_blocks else ""
    return "\n".join([*part.convolutions, f"[dim]{times:<4}{part.multiply_adds / 1e9:5.2f}[/]"])


def remarks(networks: Sequence[NetworkSummary]) -> list[str]:
    """Why a figure is not the paper's, or not torchvision's, to the last digit."""
    found = ["Below the convolutions of a block: how many blocks, and multiply-adds of all of them x 10^9."]
    published = [a for a in networks if a.published_multiply_adds]
    if published and all(part.output_size == OUTPUT_SIZES[part.name] for a in published for part in a.parts):
        found.append("Every output size is the paper's.")
    basic = [a for a in published if a.block == "basic"]
    if basic:
        without = " and ".join(f"{(a.cost.multiply_adds - a.shortcut_multiply_adds) / 1e9:.2f}" for a in basic)
        which = " and ".join(str(a.depth) for a in basic)
        found.append(f"The paper's {which} layers have shortcuts without convolutions; ours without theirs: {without}.")
    if any(a.torchvision for a in networks if a.block == "bottleneck"):
        found.append("torchvision's bottlenecks stride in the 3x3, the paper's and Keras's in the first 1x1.")
    return found


def alternatives_table(what: str, rows: Sequence[Alternative], unit: tuple[str, float]) -> Table:
    """A row for each block or network that one could build."""
    table = _table()
    for heading in ("", what):
        table.add_column(heading, no_wrap=True)
    for heading in ("layers", "channels", "parameters", f"multiply-\nadds {unit[0]}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.num_layers, row.width, row.num_parameters)
        cost = f"{row.multiply_adds / unit[1]:,.2f}"
        table.add_row(row.title, ", ".join(map(str, row.parts)), *(f"{n:,}" for n in numbers), cost)
    return table


def _saving(what: str, bottleneck: Alternative, basic: Alternative) -> str:
    parameters = basic.num_parameters / bottleneck.num_parameters
    multiply_adds = basic.multiply_adds / bottleneck.multiply_adds
    return f"{what} has {parameters:.1f} times the parameters and {multiply_adds:.1f} times the multiply-adds."


def _table() -> Table:
    return Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)


def _size(size: tuple[int, int]) -> str:
    return " x ".join(map(str, size))
