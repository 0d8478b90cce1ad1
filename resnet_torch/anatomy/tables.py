"""The measurements as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from resnet_torch.anatomy.bottleneck import BLOCK_SIZE, Choice
from resnet_torch.anatomy.networks import Anatomy, Part
from resnet_torch.anatomy.published import INPUT_SIZE, OUTPUT_SIZES
from weight_transfer.cli.terminal import out

MILLION, BILLION = ("10^6", 1e6), ("10^9", 1e9)


def show(
    anatomies: Sequence[Anatomy],
    input_size: tuple[int, int],
    stride_in: str,
    blocks: Sequence[Choice],
    networks: Sequence[Choice],
) -> None:
    """Prints table 1, then basic blocks against bottlenecks.

    Args:
        anatomies: The columns of table 1.
        input_size: (H, W) of its images.
        stride_in: Which convolution of its bottlenecks strides.
        blocks: As `bottleneck.blocks` gives them.
        networks: As `bottleneck.networks` gives them.
    """
    out.print(f"[bold]Table 1, measured[/]: images of {_size(input_size)}, bottlenecks stride in the {stride_in}")
    out.print(table_1(anatomies))
    out.print(*("", *remarks(anatomies)), sep="\n", style="dim")
    out.print(f"\n[bold]Basic or bottleneck: one block[/] on {_size(BLOCK_SIZE)}")
    out.print(choices("convolutions", blocks, MILLION))
    out.print(_saving("As wide, the basic block", blocks[1], blocks[-1]))
    out.print(f"\n[bold]Basic or bottleneck: a network[/] on {_size(INPUT_SIZE)}, against ResNet-50")
    out.print(choices("blocks", networks, BILLION))
    out.print(_saving("As wide and as deep, the network of basic blocks", networks[1], networks[-1]))


def table_1(anatomies: Sequence[Anatomy]) -> Table:
    """A row for each of the paper's, a column for each depth, then the costs."""
    table = _table()
    table.add_column("", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for anatomy in anatomies:
        table.add_column(f"{anatomy.depth}-layer", no_wrap=True)
    for row in zip(*(anatomy.parts for anatomy in anatomies), strict=True):
        table.add_row(row[0].name, _size(row[0].output_size), *map(_cell, row))
    table.add_row()
    for label, (unit, size), digits, value in _COSTS:
        numbers = [value(anatomy) for anatomy in anatomies]
        if None not in numbers:
            table.add_row(label, unit, *(f"{(number or 0) / size:9.{digits}f}" for number in numbers))
    return table


# What, in which unit, to how many decimals, of which network.
_COSTS: Sequence[tuple[str, tuple[str, float], int, Callable[[Anatomy], float | None]]] = (
    ("parameters", MILLION, 1, lambda a: a.cost.num_parameters),
    ("  torchvision", MILLION, 1, lambda a: None if a.torchvision is None else a.torchvision.num_parameters),
    ("multiply-adds", BILLION, 2, lambda a: a.cost.multiply_adds),
    ("  the paper", BILLION, 1, lambda a: a.published_multiply_adds),
    ("  torchvision", BILLION, 2, lambda a: None if a.torchvision is None else a.torchvision.multiply_adds),
)


def _cell(part: Part) -> str:
    """A block's convolutions as in the paper; below, how many blocks, and the part's multiply-adds in 10^9."""
    times = f"x{part.num_blocks}" if part.num_blocks else ""
    return "\n".join([*part.convolutions, f"[dim]{times:<4}{part.multiply_adds / 1e9:5.2f}[/]"])


def remarks(anatomies: Sequence[Anatomy]) -> list[str]:
    """Why a figure is not the paper's, or not torchvision's, to the last digit."""
    found = ["Below the convolutions of a block: how many blocks, and multiply-adds of all of them x 10^9."]
    published = [a for a in anatomies if a.published_multiply_adds]
    if published and all(part.output_size == OUTPUT_SIZES[part.name] for a in published for part in a.parts):
        found.append("Every output size is the paper's.")
    basic = [a for a in published if a.block == "basic"]
    if basic:
        without = " and ".join(f"{(a.cost.multiply_adds - a.shortcut_multiply_adds) / 1e9:.2f}" for a in basic)
        which = " and ".join(str(a.depth) for a in basic)
        found.append(f"The paper's {which} layers have shortcuts without convolutions; ours without theirs: {without}.")
    if any(a.torchvision for a in anatomies if a.block == "bottleneck"):
        found.append("torchvision's bottlenecks stride in the 3x3, the paper's and Keras's in the first 1x1.")
    return found


def choices(what: str, rows: Sequence[Choice], unit: tuple[str, float]) -> Table:
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


def _saving(what: str, bottleneck: Choice, basic: Choice) -> str:
    parameters = basic.num_parameters / bottleneck.num_parameters
    multiply_adds = basic.multiply_adds / bottleneck.multiply_adds
    return f"{what} has {parameters:.1f} times the parameters and {multiply_adds:.1f} times the multiply-adds."


def _table() -> Table:
    return Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)


def _size(size: tuple[int, int]) -> str:
    return " x ".join(map(str, size))
