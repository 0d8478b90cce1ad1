"""Why residual learning: plain and residual networks of two depths on CIFAR-10, and a block that does nothing.

    python examples/residual_learning.py --data cifar-10-python.tar.gz
    python examples/residual_learning.py --data cifar10.npz --depths 20 56 --size 32 --images 50000

The paper's networks for CIFAR-10: a 3x3 convolution, three stages of n basic blocks with 16, 32 and
64 channels, 6n + 2 layers. The plain network is the residual one without its shortcuts. Writes a
picture and the history of every epoch. The three cases:

1. a shallow plain network;
2. the same with identity layers added: blocks whose F is zero, so that the function is the same;
3. the same with plain convolutions added: the training error rises. The shortcuts cure it.

Source: He et al. 2015 (arXiv:1512.03385), sections 3.1 and 4.2, figure 6.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from residual_learning_networks import NUM_CLASSES, Kind, network, scaled, with_identity_layers, without_shortcut
from residual_learning_picture import draw
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch import identity_block
from resnet_torch.optimizers import SGD
from weight_transfer.cli.terminal import out, print_json, progress
from weight_transfer.data import ImageStream, open_images
from weight_transfer.errors import TransferError

MOMENTUM = 0.9  # of SGD, section 4.2
NUM_BLOCKS = 24  # of the stack through which the gradient is sent
STRENGTHS = (0.0, 0.1, 0.25, 0.5)  # of F in that stack


@dataclass
class Run:
    """One network's training.

    Attributes:
        kind: ``plain`` or ``residual``.
        depth: Layers with weights.
        num_parameters: Weights and biases.
        losses: Mean of each epoch's training steps.
        errors: Share of each epoch's images whose class was wrong when they were trained on.
        gradients_at_start: Norm of the loss's gradient for the kernel of each 3x3, from the image on.
        gradients_at_end: The same after the last epoch.
        duration_s: Of the training.
    """

    kind: Kind
    depth: int
    num_parameters: int
    losses: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    gradients_at_start: list[float] = field(default_factory=list)
    gradients_at_end: list[float] = field(default_factory=list)
    duration_s: float = 0.0


def train(
    kind: Kind,
    x: Tensor,
    y: Tensor,
    depth: int,
    arguments: argparse.Namespace,
    on_progress: Callable[[str, float], None],
) -> tuple[Run, nn.Sequential]:
    """Trains one network on images ``x`` (N, 3, H, W) and their classes ``y`` (N,)."""
    torch.manual_seed(arguments.seed)
    model = network(kind, depth, arguments.width)
    run = Run(kind, depth, sum(parameter.numel() for parameter in model.parameters()))
    run.gradients_at_start = gradient_norms(model, x[:256], y[:256])
    optimizer = SGD(model.parameters(), lr=arguments.learning_rate, momentum=MOMENTUM)
    started = time.perf_counter()
    for epoch in range(arguments.epochs):
        order = torch.from_numpy(np.random.default_rng((arguments.seed, epoch)).permutation(len(x)))
        loss_sum, wrong = 0.0, 0
        for chosen in order.split(arguments.batch_size):
            logits = model(x[chosen])
            loss = F.cross_entropy(logits, y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(chosen)
            wrong += int((logits.argmax(1) != y[chosen]).sum())
        run.losses.append(loss_sum / len(x))
        run.errors.append(wrong / len(x))
        on_progress(f"{kind}-{depth}", (epoch + 1) / arguments.epochs)
    run.duration_s = time.perf_counter() - started
    run.gradients_at_end = gradient_norms(model, x[:256], y[:256])
    return run, model


def gradient_norms(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """Norm of the gradient of each 3x3's kernel for one batch, from the image on; changes no weight."""
    model = copy.deepcopy(model).train()  # a copy: the batch would move the statistics
    F.cross_entropy(model(x), y).backward()
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
    return [float(conv.weight.grad.norm()) for conv in convolutions if conv.weight.grad is not None]


@torch.no_grad()
def same_function(shallow: nn.Module, deep: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Cases 1 and 2: both errors in inference mode, and how far apart any two logits are."""
    logits = [torch.cat([model.eval()(part) for part in x.split(256)]) for model in (shallow, deep)]
    shallow_error, deep_error = (float((each.argmax(1) != y).float().mean()) for each in logits)
    return {
        "shallow_error": shallow_error,
        "deep_error": deep_error,
        "max_difference": float((logits[0] - logits[1]).abs().max()),
    }


def doing_nothing() -> dict[str, float]:
    """A block with F = 0 on a non-negative input: how far H(x) is from x, and its gradient from 1."""
    x = torch.rand(2, 64, 8, 8, requires_grad=True)
    y = scaled(identity_block(64, 3, (16, 16, 64), 2, "b"), 0.0)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return {
        "max_difference": float((y - x).detach().abs().max()),
        "max_gradient_difference": float((gradient - 1).abs().max()),
    }


def gradients_through_a_stack(kind: Kind, strength: float) -> list[float]:
    """Sends a gradient back through blocks in inference mode: its norm behind 0, 1, 2, ... of them, over that at 0."""
    torch.manual_seed(0)
    x = torch.rand(2, 64, 8, 8, dtype=torch.float64, requires_grad=True)  # float32 ends at 1e-45
    maps = [x]
    for _ in range(NUM_BLOCKS):
        block = scaled(identity_block(64, 3, (16, 16, 64), 2, "b"), strength).double().eval()
        maps.append((block if kind == "residual" else without_shortcut(block))(maps[-1]))
    sent = torch.randn_like(x)
    gradients = torch.autograd.grad(maps[-1], maps, sent)
    return [float(gradient.norm() / sent.norm()) for gradient in reversed(gradients)]


def main() -> None:
    """Runs the experiment; a `TransferError` is one message on stderr and exit code 2."""
    try:
        experiment(parse_arguments())
    except TransferError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def experiment(arguments: argparse.Namespace) -> None:
    """Trains the four networks, shows the figures, writes picture and history."""
    x, y = images_and_labels(arguments)
    kinds: tuple[Kind, ...] = ("plain", "residual")
    trained: dict[tuple[Kind, int], tuple[Run, nn.Sequential]] = {}
    with progress(quiet=arguments.json) as bar:
        for depth in arguments.depths:
            for kind in kinds:
                trained[kind, depth] = train(kind, x, y, depth, arguments, bar)
    runs = [run for run, _ in trained.values()]
    shallow, deep = arguments.depths
    case_1 = trained["plain", shallow][1]
    found = {
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()},
        "runs": [dataclasses.asdict(run) for run in runs],
        "identity_layers": same_function(case_1, with_identity_layers(case_1, deep, arguments.width), x, y),
        "block_with_zero_residual": doing_nothing(),
        "gradient_through_a_stack": {
            kind: {str(strength): gradients_through_a_stack(kind, strength) for strength in STRENGTHS} for kind in kinds
        },
    }
    draw(found, arguments.output)
    write_history(runs, arguments.history)
    print_json(found) if arguments.json else show(found)


def images_and_labels(arguments: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Returns (N, 3, size, size) of mean 0 and deviation 1 per channel, and (N,)."""
    images = open_images(str(arguments.data), "train")
    if isinstance(images, ImageStream):
        raise TransferError(f"{arguments.data}: a stream of shards. Expected images in memory, such as CIFAR-10's.")
    if len(images.class_names) > NUM_CLASSES:
        raise TransferError(f"{arguments.data}: {len(images.class_names)} classes. Expected CIFAR-10's {NUM_CLASSES}.")
    count = min(arguments.images, len(images))
    pixels = [images.image(index, "opencv") for index in range(count)]
    if len({image.shape for image in pixels}) > 1:
        raise TransferError(
            f"{arguments.data}: images of several sizes. Expected one size, such as CIFAR-10's 32 x 32."
        )
    x = torch.from_numpy(np.stack(pixels).astype(np.float32)).permute(0, 3, 1, 2)
    x = F.adaptive_avg_pool2d(x, arguments.size)  # means of whole squares, nothing where the size is the image's
    x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
    return x.contiguous(), torch.from_numpy(images.labels[:count])


def show(found: dict[str, Any]) -> None:
    """Prints the networks, the three cases, and what a block with F = 0 does."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for heading in (
        "network",
        "layers",
        "parameters",
        "training\nerror",
        "gradient at start\nfirst, last 3x3",
        "seconds",
    ):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for run in found["runs"]:
        start = run["gradients_at_start"]
        numbers = (f"{run['errors'][-1]:.1%}", f"{start[0]:.2g}, {start[-1]:.2g}", f"{run['duration_s']:.0f}")
        table.add_row(run["kind"], str(run["depth"]), f"{run['num_parameters']:,}", *numbers)
    out.print(table)
    shallow, deep = found["settings"]["depths"]
    same, block = found["identity_layers"], found["block_with_zero_residual"]
    out.print(
        f"plain-{shallow} with identity layers, {deep} layers: max |logits - logits| = {same['max_difference']:g}, "
        f"error {same['deep_error']:.1%} and {same['shallow_error']:.1%} in inference mode\n"
        f"a block with F = 0: max |H(x) - x| = {block['max_difference']:g}, max |dH/dx - 1| = "
        f"{block['max_gradient_difference']:g}\n"
        f"wrote {found['settings']['output']} and {found['settings']['history']}"
    )


def write_history(runs: Sequence[Run], path: Path) -> None:
    """Writes a row for each epoch of each network."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("network", "depth", "epoch", "loss", "training_error"))
        for run in runs:
            for epoch, (loss, error) in enumerate(zip(run.losses, run.errors, strict=True), start=1):
                rows.writerow((run.kind, run.depth, epoch, loss, error))


def positive(text: str) -> int:
    """Reads a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1. Received: {text}")
    return int(text)


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10: an archive of it, or an .npz file")
    parser.add_argument("--depths", type=int, nargs=2, default=(8, 32), help="two of 8, 14, 20, ... (default 8 32)")
    parser.add_argument("--images", type=positive, default=2048, help="how many to train on (default 2048)")
    parser.add_argument("--size", type=positive, default=16, help="of an image; at 32 four times as slow (default 16)")
    parser.add_argument("--width", type=positive, default=16, help="channels of the first stage (default 16)")
    parser.add_argument("--epochs", type=positive, default=12)
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("residual_learning.png"), help="the picture")
    parser.add_argument("--history", type=Path, default=Path("residual_learning.csv"), help="every epoch's error")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    shallow, deep = arguments.depths
    if not 8 <= shallow < deep or (shallow - 2) % 6 or (deep - 2) % 6:
        parser.error(f"--depths must be two of 8, 14, 20, ... (6n + 2), the shallow one first: {shallow} {deep}")
    return arguments


if __name__ == "__main__":
    main()
