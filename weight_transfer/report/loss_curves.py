"""The losses of two training runs as a picture: the curves, and how far they are apart on a log axis."""

from __future__ import annotations

from pathlib import Path

from weight_transfer.atomic import atomic_write
from weight_transfer.parity.training_report import TrainingVerification

NAMES = {"keras": "Keras", "torch": "PyTorch"}
COLOURS = {"keras": "#d55e00", "torch": "#0072b2"}  # told apart by everyone: Okabe and Ito 2008
GATE_COLOUR = "#777777"
LEAST = 1e-17  # where equal losses are drawn
SIZE_INCHES = (7.0, 5.0)


def write_loss_curves(found: TrainingVerification, path: Path) -> None:
    """Draws the losses of both sides above, their relative difference below.

    Args:
        found: The comparison.
        path: The picture, ``.png`` or ``.svg``.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    steps = range(1, len(found.losses["keras"]) + 1)
    with rc_context({"svg.hashsalt": "loss curves"}):
        figure = Figure(SIZE_INCHES, layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        for side, style in (("keras", "-"), ("torch", "--")):
            above.plot(steps, found.losses[side], style, color=COLOURS[side], label=NAMES[side], linewidth=2)
        above.set_ylabel("loss")
        above.set_title(f"{found.title}, {found.optimizer['class_name']}, float64", fontsize=10, parse_math=False)
        above.legend(frameon=False)
        rows = [row for row in found.rows if row.check == "step"]
        below.semilogy(steps, [max(row.errors["float64"], LEAST) for row in rows], "o", color=COLOURS["torch"])
        below.axhline(rows[0].limits["float64"], color=GATE_COLOUR, linestyle=":", label="gate")
        below.set_ylim(bottom=LEAST / 2)
        below.set_ylabel("|difference| / largest loss")
        below.set_xlabel("step")
        below.xaxis.get_major_locator().set_params(integer=True)
        below.legend(frameon=False)
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)
