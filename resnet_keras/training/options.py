"""What the Keras side has beyond the shared options; read without Keras."""

from __future__ import annotations

import rich_click as click

from weight_transfer.training import SideOptions

WORKERS = click.option(
    "--workers", type=click.IntRange(min=0), default=1, show_default=True, help="Threads that read and prepare images."
)
DETERMINISTIC = click.option(
    "--deterministic", is_flag=True, help="TensorFlow's deterministic kernels: the same bits on the same machine."
)
OPTIONS = SideOptions(train=(WORKERS, DETERMINISTIC), evaluate=(WORKERS,))
