"""What the torch side has beyond the shared options; read without torch."""

from __future__ import annotations

import rich_click as click

from weight_transfer.training import SideOptions

_PANEL = "PyTorch"
_WORKERS = click.option(
    "--workers", type=click.IntRange(min=0), panel=_PANEL, help="Processes that make batches, for each device."
)
_ACCELERATOR = click.option(
    "--accelerator", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True, panel=_PANEL
)
_TRAIN = (
    click.option(
        "--precision",
        type=click.Choice(["full", "bf16", "fp16"]),
        default="full",
        show_default=True,
        panel=_PANEL,
        help="Of the computations; the weights keep --dtype.",
    ),
    click.option("--accumulate", type=int, default=1, panel=_PANEL, help="Compute each batch in so many parts."),
    click.option("--compile", is_flag=True, panel=_PANEL, help="Compile the network with torch.compile."),
    click.option("--channels-last", is_flag=True, panel=_PANEL, help="Lay images out in memory as Keras does."),
    click.option("--devices", type=int, panel=_PANEL, help="Processes on each machine; torchrun says it itself."),
    click.option("--nodes", type=int, panel=_PANEL, help="Machines; torchrun says it itself."),
    _ACCELERATOR,
    click.option(
        "--sync-batch-norm/--no-sync-batch-norm",
        default=True,
        show_default=True,
        panel=_PANEL,
        help="Batch norm over the batches of all processes.",
    ),
    click.option("--deterministic", is_flag=True, panel=_PANEL, help="Only operations that repeat bit for bit."),
    _WORKERS,
    click.option(
        "--checkpoint-every-steps", type=int, panel=_PANEL, help="Also write the last checkpoint within an epoch."
    ),
)

OPTIONS = SideOptions(train=_TRAIN, evaluate=(_ACCELERATOR, _WORKERS))
