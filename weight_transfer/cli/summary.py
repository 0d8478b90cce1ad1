"""``summary``: the paper's table 1 from our own networks. What measures is imported when it runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import rich_click as click

from weight_transfer.architecture import DEPTHS, StrideIn
from weight_transfer.cli.applicability import Idle, refuse_idle
from weight_transfer.cli.options import as_json, image_size, with_runner
from weight_transfer.cli.summary_tables import show
from weight_transfer.cli.terminal import print_json, progress
from weight_transfer.parity.protocol import SummaryRequest
from weight_transfer.parity.runner import Runner, check_installed
from weight_transfer.progress import stage

EPILOG = "Example: weight-transfer summary --depth 50 --depth 101 --stride-in 3x3"


@click.command("summary", epilog=EPILOG)
@click.option(
    "--depth",
    "depths",
    multiple=True,
    type=click.Choice([str(depth) for depth in DEPTHS]),
    help="A network to show; may be given several times. All, if not given.",
)
@click.option("--input-size", metavar="HxW", default="224x224", show_default=True, help="Size of an image.")
@click.option(
    "--classes", type=click.IntRange(min=1), default=1000, show_default=True, help="Outputs of the classifier."
)
@click.option(
    "--stride-in",
    type=click.Choice(["1x1", "3x3"]),
    default="1x1",
    show_default=True,
    help="Which convolution of a bottleneck strides: the first 1x1 as in the paper and in Keras, or the 3x3 as in "
    "torchvision.",
)
@as_json
@with_runner
def summary_command(
    depths: tuple[str, ...], input_size: str, classes: int, stride_in: StrideIn, json: bool, runner: Runner
) -> None:
    """Show the paper's table 1 as our networks have it, and what the bottleneck saves over the basic block.

    Sizes and multiply-adds are measured in a forward pass on PyTorch's meta device, beside the published figures and
    torchvision's networks.
    """
    check_installed("resnet_torch")
    size = image_size(input_size)
    chosen = [int(depth) for depth in depths] or list(DEPTHS)
    only_basic = all(DEPTHS[depth][0] == "basic" for depth in chosen)
    refuse_idle(Idle(only_basic, ("stride_in",), "it is about bottlenecks, and the networks have basic blocks"))
    request = SummaryRequest(tuple(dict.fromkeys(chosen)), size, classes, stride_in)
    with progress(quiet=json) as bar:
        result = runner(request, stage(bar, "measuring"))
    if not json:
        show(result, request)
        return
    found: dict[str, Any] = {"input_size": size, "classes": classes, "stride_in": stride_in}
    for name, rows in (
        ("networks", result.networks),
        ("basic_or_bottleneck_blocks", result.blocks),
        ("basic_or_bottleneck_networks", result.alternatives),
    ):
        found[name] = [dataclasses.asdict(row) for row in rows]
    print_json(found)
