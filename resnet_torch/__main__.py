"""``python -m resnet_torch``: what to do with the networks themselves."""

from __future__ import annotations

import rich_click as click

from resnet_torch.anatomy.command import compare_command
from weight_transfer.cli.running import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Residual networks in PyTorch, as Keras has them."""


app.add_command(compare_command)

if __name__ == "__main__":
    run(app, "python -m resnet_torch")
