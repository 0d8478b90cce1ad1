"""``python -m resnet_keras``: the tutorial's training and evaluation in Keras."""

from __future__ import annotations

import rich_click as click

from resnet_keras.training.options import OPTIONS
from weight_transfer.cli.running import run
from weight_transfer.training import training_commands


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Residual networks in Keras, as the tutorial trains them."""


for command in training_commands("resnet_keras", "resnet_keras.training", OPTIONS):
    app.add_command(command)

if __name__ == "__main__":
    run(app, "python -m resnet_keras")
