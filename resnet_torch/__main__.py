"""``python -m resnet_torch``: training and evaluating, and what to do with the networks themselves."""

from __future__ import annotations

import rich_click as click

from resnet_torch.anatomy.command import compare_command
from resnet_torch.training.options import OPTIONS
from weight_transfer.cli.running import run
from weight_transfer.training import training_commands


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Residual networks in PyTorch, as Keras has them."""


for command in (*training_commands("resnet_torch", "resnet_torch.training", OPTIONS), compare_command):
    app.add_command(command)

if __name__ == "__main__":
    run(app, "python -m resnet_torch")
