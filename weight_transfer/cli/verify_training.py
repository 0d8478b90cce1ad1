"""``weight-transfer verify-training``: the evidence that a port learns as Keras's model does."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape

from weight_transfer.atomic import check_output
from weight_transfer.cli import options
from weight_transfer.cli.running import BY_VERDICT, EXIT_CODES
from weight_transfer.cli.terminal import facts, out, print_json, progress
from weight_transfer.cli.verify import fitted_table
from weight_transfer.description import MovingVariance
from weight_transfer.errors import SHOWN_AT_MOST, VerificationError
from weight_transfer.input_files import protect_inputs
from weight_transfer.optimizer.grammar import parse_call, training_optimizer
from weight_transfer.optimizer.spec import call_text, spec_of_config
from weight_transfer.parity.groups import CHECKS, worst_of
from weight_transfer.parity.report import Row
from weight_transfer.parity.runner import Runner
from weight_transfer.parity.training import Training, verify_training
from weight_transfer.parity.training_report import TrainingVerification

MOST_STEPS = 1000


@click.command(
    "verify-training",
    epilog="Examples: weight-transfer verify-training resnet50.h5 resnet50.safetensors --optimizer 'Adam(clipnorm=1.0)'"
    f"\n\nweight-transfer verify-training resnet50.h5 --port-optimizer torch.optim.Adam\n\n{EXIT_CODES}",
)
@options.checkpoint_file
@click.argument("converted", type=options.PathOf, required=False)
@click.option(
    "--optimizer", default="Adam", show_default=True, help="As Keras writes it: 'SGD(momentum=0.9, clipnorm=1.0)'."
)
@click.option("--learning-rate", type=float, default=1e-3, show_default=True, help="The first one.")
@click.option("--schedule", help="As Keras writes it: 'CosineDecay(decay_steps=15, warmup_target=0.01, ...)'.")
@click.option("--steps", type=click.IntRange(1, MOST_STEPS), default=20, show_default=True, help="Of each side.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True, help="Images of a step.")
@click.option("--data", help="Images to draw from: an archive of CIFAR-10, .npz, folder of classes; else photographs.")
@click.option(
    "--port-optimizer",
    help="Train the port by another rule, to see what that does: torch.optim.Adam, 'mine.make(lr=0.1)'.",
)
@click.option(
    "--moving-variance",
    type=click.Choice(["keras3", "tf_keras"]),
    help="Train the port's batch norms by this rule, likewise.",
)
@click.option("--curves", type=options.PathOf, help="A picture of both losses to write, PNG or SVG.")
@options.as_json
@options.about_the_file_without("--image-loading", "--crop")
@options.with_runner
def verify_training_command(
    file: Path,
    converted: Path | None,
    optimizer: str,
    learning_rate: float,
    schedule: str | None,
    steps: int,
    batch_size: int,
    data: str | None,
    port_optimizer: str | None,
    moving_variance: MovingVariance | None,
    curves: Path | None,
    json: bool,
    runner: Runner,
    **said: Any,
) -> None:
    """Train Keras's model and the port side by side and compare them to the end.

    In float64, from the same weights on the same batches. Compared are the loss of each step and, after the last one,
    all weights, slots of the optimizer and moving statistics. Where they differ, known mistakes are tried.
    """
    hints = options.hints_of(**said)
    _check_picture(curves, [file, converted, data, *hints.files])
    if port_optimizer is not None:
        parse_call(port_optimizer)
    config = training_optimizer(optimizer, learning_rate, schedule).to_config()
    training = Training([config], steps, batch_size, data, port_optimizer, moving_variance)
    with progress(quiet=json) as bar:
        (found,) = verify_training(file, training, converted, hints, on_progress=bar, runner=runner)
    if curves is not None:
        from weight_transfer.report.loss_curves import write_loss_curves

        write_loss_curves(found, curves)
    if json:
        print_json(found.to_dict())
    else:
        print_training(found)
        out.print(f"wrote {escape(str(curves))}") if curves is not None else None
    if not found.passed:
        sys.exit(BY_VERDICT[found.verdict])


def _check_picture(path: Path | None, inputs: Sequence[Path | str | None]) -> None:
    """Refuses, before the long work, what could not be written after it."""
    if path is None:
        return
    check_output(path)
    protect_inputs([path], inputs)
    if path.suffix.lower() not in (".png", ".svg"):
        raise VerificationError(f"{path}: the picture is written as PNG or SVG. Name it .png or .svg.")
    if importlib.util.find_spec("matplotlib") is None:
        raise VerificationError(
            f"{path} is drawn with matplotlib, not installed here. Install: pip install 'keras-resnet-to-torch[report]'"
        )


def print_training(found: TrainingVerification) -> None:
    """Prints what was trained, a row per kind of thing compared, the explanation, and the verdict."""
    first, last = (found.losses["keras"][place] for place in (0, -1))
    out.print(
        facts(
            {
                "reference": escape(found.loaded_by),
                "optimizer": escape(in_words(found.optimizer)),
                **({} if found.port_optimizer is None else {"the port's": escape(found.port_optimizer)}),
                "steps": f"{len(found.losses['keras'])} in float64: {escape(found.batches)}",
                "loss": f"{first:.4f} to {last:.4f}",
                "weights": f"{found.weights_equal} of {found.weights_total} arrays bit-equal before the first step",
                **({"notes": escape("; ".join(found.notes))} if found.notes else {}),
            }
        )
    )
    _print_table(found.rows)
    failed = [row for row in found.rows if not row.passed]
    for row in failed[:SHOWN_AT_MOST]:
        out.print(f"  {escape(row.name)}: {row.errors['float64']:.1e}")
    if len(failed) > SHOWN_AT_MOST:
        out.print(f"  +{len(failed) - SHOWN_AT_MOST} more that differ (--json has every row)")
    if found.explanation is not None:
        out.print(f"\n[bold]Where they part[/]: {escape(found.explanation.sentence)}")
        for advice in found.explanation.advice:
            out.print(escape(advice))
        if found.explanation.tried and not found.explanation.found:
            nearest = ", ".join(f"{trial.text} ({trial.error:.1e})" for trial in found.explanation.tried[:3])
            out.print(f"The nearest were: {escape(nearest)}.")
    out.print(_verdict(found))


def _print_table(rows: Sequence[Row]) -> None:
    cells = []
    for check in dict.fromkeys(row.check for row in rows):
        here = [row for row in rows if row.check == check]
        worst, agree = worst_of(here, "float64"), sum(row.passed for row in here)
        if worst is not None:
            cells.append(
                (
                    CHECKS[check][0].lower(),
                    str(agree) if agree == len(here) else f"{agree} of {len(here)}",
                    f"{worst.errors['float64']:.1e}",
                    f"{worst.limits['float64']:.0e}",
                    worst.name,
                    "[green]equal[/]" if agree == len(here) else "[red]DIFFERS[/]",
                )
            )
    out.print(fitted_table(("check", "agree", "worst", "gate", "at", ""), cells, names=4))


def in_words(config: Mapping[str, Any]) -> str:
    """Returns an optimizer's config as a person writes it, without what changes nothing."""
    return call_text(spec_of_config(config).acting, lambda value: f"{value:g}")


def _verdict(found: TrainingVerification) -> str:
    worst = worst_of(found.rows, "float64")
    error = f"at most {worst.errors['float64']:.1e} of the peak ({escape(worst.name)})" if worst else ""
    if found.passed:
        return f"[bold green]EQUAL[/] step for step: {error}"
    if found.verdict == "NOT PROVEN":
        rounding = found.explanation is not None and found.explanation.by_rounding
        why = "rounding grows beyond the gate" if rounding else f"in Keras {found.unproven[0].name} is all zero"
        return f"[bold yellow]NOT PROVEN[/], {escape(why)}: {error}"
    first = found.first_divergence
    where = f"first at {escape(first.name)}" if first else f"in the weights: {', '.join(found.weights_differing[:3])}"
    return f"[bold red]DIFFERS[/], {where}: {error}"
