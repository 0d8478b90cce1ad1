"""``compare``: the paper's table 1 from our own networks. What measures is imported when it runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import rich_click as click

from weight_transfer.architecture import DEPTHS
from weight_transfer.cli import options
from weight_transfer.cli.applicability import Idle, refuse_idle
from weight_transfer.cli.terminal import print_json, progress

EPILOG = "Example: python -m resnet_torch compare --depth 50 --depth 101 --stride-in 3x3"


@click.command("compare", epilog=EPILOG)
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
@options.as_json
def compare_command(depths: tuple[str, ...], input_size: str, classes: int, stride_in: str, json: bool) -> None:
    """Show the paper's table 1 as our networks have it, and what the bottleneck saves over the basic block.

    Sizes and multiply-adds are measured in a forward pass on PyTorch's meta device, beside the published figures and
    torchvision's networks.
    """
    from resnet_torch.anatomy import bottleneck
    from resnet_torch.anatomy.networks import dissect
    from resnet_torch.anatomy.tables import show

    size = options.image_size(input_size)
    chosen = [int(depth) for depth in depths] or list(DEPTHS)
    only_basic = all(DEPTHS[depth][0] == "basic" for depth in chosen)
    refuse_idle(Idle(only_basic, ("stride_in",), "it is about bottlenecks, and the networks have basic blocks"))
    anatomies = []
    with progress(quiet=json) as bar:
        for done, depth in enumerate(dict.fromkeys(chosen)):
            bar(f"ResNet-{depth}", done / len(chosen))
            anatomies.append(dissect(depth, size, classes, stride_in=stride_in))
    blocks, networks = bottleneck.blocks(), bottleneck.networks()
    if not json:
        show(anatomies, size, stride_in, blocks, networks)
        return
    found: dict[str, Any] = {"input_size": size, "classes": classes, "stride_in": stride_in}
    for name, rows in (
        ("networks", anatomies),
        ("basic_or_bottleneck_blocks", blocks),
        ("basic_or_bottleneck_networks", networks),
    ):
        found[name] = [dataclasses.asdict(row) for row in rows]
    print_json(found)
