"""``verify``: the evidence, as tables, JSON, a page, JUnit, a certificate."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from weight_transfer.atomic import check_output
from weight_transfer.cli import options
from weight_transfer.cli.applicability import beside_a_recording, of_a_converted_file, refuse_idle
from weight_transfer.cli.running import BY_VERDICT, EXIT_CODES
from weight_transfer.cli.terminal import facts, out, print_json, progress
from weight_transfer.converted import is_converted
from weight_transfer.errors import SHOWN_AT_MOST, VerificationError
from weight_transfer.input_files import protect_inputs
from weight_transfer.parity.causes import CAUSES
from weight_transfer.parity.certificate import write_certificate
from weight_transfer.parity.groups import devices, groups, precisions, worst_of
from weight_transfer.parity.report import Row, Verification
from weight_transfer.parity.runner import Runner
from weight_transfer.parity.verdict_text import exact_runs, same_function, shortened, what_is_missing, where_it_differs
from weight_transfer.parity.verify import Device, verify

SHORTEST_NAME = 8  # characters
WIDE = 100  # columns, from which on shapes are shown

DEVICES: Mapping[str, tuple[Device, ...]] = {"cpu": ("cpu",), "cuda": ("cuda",), "all": ("cpu", "cuda")}


@click.command(
    "verify",
    epilog="Examples: weight-transfer verify resnet50.h5 resnet50.safetensors --report report.html\n\n"
    "weight-transfer verify resnet50.h5 resnet50.safetensors --reference recording.safetensors\n\n"
    "weight-transfer verify resnet50.safetensors --reference recording.safetensors\n\n" + EXIT_CODES,
)
@options.checkpoint_file
@click.argument("converted", type=options.PathOf, required=False)
@click.option("--reference", type=options.PathOf, help="A recording of FILE (weight-transfer record); needs no Keras.")
@click.option("--report", type=options.PathOf, help="A page to write, HTML without links to a network.")
@click.option("--certificate", type=options.PathOf, help="The same facts to write as JSON; see weight-transfer check.")
@click.option("--junit", type=options.PathOf, help="JUnit XML to write: a test case for each tensor.")
@click.option("--inference-only", is_flag=True, help="Leave out the training step: loss, gradients, statistics.")
@click.option(
    "--quick",
    is_flag=True,
    help="Leave out most of the integers: other sizes, other kinds of numbers, a training step of each layer.",
)
@click.option("--sensitivity", is_flag=True, help="Plant known mistakes in the port too: what do the gates see?")
@click.option("--layers", is_flag=True, help="Print every layer's row.")
@click.option(
    "--device",
    type=click.Choice(list(DEVICES)),
    default="all",
    show_default=True,
    help="Where the port runs; all takes what is there.",
)
@options.photographs
@options.as_json
@options.about_the_file_without("--crop")
@options.with_runner
def verify_command(
    file: Path,
    converted: Path | None,
    reference: Path | None,
    report: Path | None,
    certificate: Path | None,
    junit: Path | None,
    inference_only: bool,
    quick: bool,
    sensitivity: bool,
    layers: bool,
    device: str,
    photographs: int,
    json: bool,
    runner: Runner,
    **said: Any,
) -> None:
    """Run Keras and the port on the same inputs and compare every layer.

    CONVERTED is the port; left out, the checkpoint is converted on the way. With a recording FILE may be the port
    alone. Compared are each layer's output in
    inference and in training mode, the loss, the gradient of every parameter, the statistics after a step.
    """
    alone = reference is not None and converted is None and is_converted(file)
    refuse_idle(beside_a_recording(reference), of_a_converted_file(alone, file, options.ABOUT_THE_FILE))
    hints = options.hints_of(**said)
    _check_outputs(report, certificate, junit, inputs=[file, converted, reference, *hints.files])
    with progress(quiet=json) as bar:
        found = verify(
            file,
            converted,
            hints,
            DEVICES[device],
            photographs,
            reference=reference,
            training=not inference_only,
            with_sensitivity=sensitivity,
            on_progress=bar,
            runner=runner,
            quick=quick,
        )
    written = write_outputs(found, report, certificate, junit)
    if json:
        print_json(found.to_dict())
    else:
        print_verification(found, layers=layers)
        out.print("\n".join(f"wrote {escape(str(path))}" for path in written)) if written else None
    if not found.passed:
        sys.exit(BY_VERDICT[found.verdict])


def _check_outputs(
    report: Path | None, certificate: Path | None, junit: Path | None, inputs: Sequence[Path | None]
) -> None:
    """Refuses, before the long work, what could not be written after it, or would replace an input."""
    outputs = [path for path in (report, certificate, junit) if path is not None]
    for output in outputs:
        check_output(output)
    protect_inputs(outputs, inputs)
    for path, libraries in ((report, ("jinja2", "matplotlib")), (junit, ("junitparser",))):
        missing = [name for name in libraries if path is not None and importlib.util.find_spec(name) is None]
        if missing:
            raise VerificationError(
                f"{path} is made with {' and '.join(missing)}, not installed here. "
                "Install: pip install 'keras-resnet-to-torch[report]'"
            )


def write_outputs(
    found: Verification, report: Path | None = None, certificate: Path | None = None, junit: Path | None = None
) -> list[Path]:
    """Writes a verification for people and machines.

    Args:
        found: What to write.
        report: The page, if one is wanted.
        certificate: The certificate, likewise.
        junit: The JUnit XML, likewise.

    Returns:
        What was written.
    """
    if report is not None:
        from weight_transfer.report import write_report

        write_report(found, report)
    if certificate is not None:
        write_certificate(found, certificate)
    if junit is not None:
        from weight_transfer.report.junit import write_junit

        write_junit(found, junit)
    return [path for path in (report, certificate, junit) if path is not None]


def print_verification(found: Verification, *, layers: bool = False) -> None:
    """Prints what was compared, a row per check or per tensor, the explanation, and the verdict."""
    note = "" if found.reference == "file" else " (a weights-only file holds no model of its own)"
    out.print(
        facts(
            {
                "reference": escape(found.loaded_by) + note + f", recorded {found.recorded}",
                "inputs": escape("; ".join(found.inputs)),
                "weights": f"{found.weights_equal} of {found.weights_total} arrays bit-equal",
                "description": _description(found),
                **({"exact runs": exact_runs(found)} if found.sizes else {}),
                **({"left out": f"by --quick: {'; '.join(found.left_out)}"} if found.left_out else {}),
                **({"notes": escape("; ".join(found.assumed))} if found.assumed else {}),
            }
        )
    )
    out.print(_summary(found))
    failed = [row for row in found.rows if row.differs]
    if layers or failed:
        shown = list(found.rows) if layers else failed[:SHOWN_AT_MOST]
        out.print()
        out.print(_table(shown))
        if len(failed) > len(shown):
            out.print(f"+{len(failed) - len(shown)} more that differ (--layers shows every row)")
    _print_explanation(found)
    if found.fields_differing:
        out.print("\n[bold]What the port says otherwise than its file[/]:")
        for one in found.fields_differing[:SHOWN_AT_MOST]:
            out.print(f"  {escape(str(one))}", highlight=False)
        if len(found.fields_differing) > SHOWN_AT_MOST:
            out.print(f"  +{len(found.fields_differing) - SHOWN_AT_MOST} more (--json has all)")
    out.print(_verdict(found))


def _description(found: Verification) -> str:
    equal = found.fields_total - len(found.fields_differing)
    return f"{equal:,} of {found.fields_total:,} fields that act in inference or in training are the file's"


def _summary(found: Verification) -> Table:
    """One row per check and device: how many tensors agree, how far off the worst is and where."""
    rows = []
    for group in groups(found):
        noises = [row.noise for _, row in group.rows if row.noise is not None]
        worst = group.worst("float64"), group.worst("float32")
        rows.append(
            (
                group.check + (f" ({group.device})" if group.device != "cpu" else ""),
                f"{group.num_equal}" + (f" of {len(group.rows)}" if group.num_equal != len(group.rows) else ""),
                "" if worst[0] is None else f"{worst[0].errors['float64']:.1e}",
                "" if worst[0] is None else worst[0].name,
                "" if worst[1] is None else f"{worst[1].errors['float32']:.1e}",
                f"{max(noises):.1e}" if noises else "",
                _judged([row for _, row in group.rows]),
            )
        )
    return fitted_table(("check", "agree", "float64", "at", "float32", "Keras's", ""), rows, names=3)


def _table(rows: Sequence[Row]) -> Table:
    run, several = precisions(rows), len(devices(rows)) > 1
    narrow = out.width < WIDE
    headings = ("check", "layer", *(() if narrow else ("shape",)), "peak", *run, "Keras's", "")
    cells = [
        (
            row.check,
            row.name + (f" ({row.device})" if several else ""),
            *(() if narrow else (" x ".join(map(str, row.shape[1:] or row.shape)),)),
            f"{row.peak:.3g}",
            *(_number(row, precision) for precision in run),
            "" if row.noise is None else f"{row.noise:.1e}",
            _judged([row]),
        )
        for row in rows
    ]
    return fitted_table(headings, cells, names=1)


def _judged(rows: Sequence[Row]) -> str:
    """What is said of some rows together."""
    if any(row.differs for row in rows):
        return "[red]DIFFERS[/]"
    return "[green]equal[/]" if any(row.proves for row in rows) else "[yellow]says nothing[/]"


def fitted_table(headings: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> Table:
    """Returns a table without lines that fits the terminal: names are shortened in their middle, and figures never.

    Words stand left, numbers right.

    Args:
        headings: Of the columns.
        rows: The cells, in rich's markup but for the names.
        names: Which column holds names.
    """
    widths = [
        max(Text.from_markup(cell).cell_len for cell in (heading, *(row[column] for row in rows)))
        for column, heading in enumerate(headings)
    ]
    taken = sum(widths) - widths[names]
    padding = 2 if taken + len(widths) * 2 + SHORTEST_NAME <= out.width else 1
    room = max(SHORTEST_NAME, out.width - taken - padding * len(widths))
    table = Table(box=None, header_style="bold", padding=(0, padding, 0, 0))
    for column, heading in enumerate(headings):
        left = column == names or heading in ("check", "shape", "")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row[:names], escape(shortened(row[names], room)), *row[names + 1 :])
    return table


def _number(row: Row, precision: str) -> str:
    if precision not in row.errors:
        return ""
    error, limit = row.errors[precision], row.limits.get(precision)
    return f"{error:.1e}" if limit is None or error <= limit else f"[red]{error:.1e}>{limit:.1e}[/]"


def _print_explanation(found: Verification) -> None:
    explanation = found.explanation
    if explanation is None:
        return
    out.print(f"\n[bold]Where they part[/]: {escape(explanation.sentence)}")
    if explanation.found is not None:
        out.print(escape(CAUSES[explanation.found.cause].advice))
    elif explanation.tried:
        nearest = ", ".join(f"{trial.text} ({trial.error:.1e})" for trial in explanation.tried[:3])
        out.print(f"The nearest were: {escape(nearest)}.")


def _verdict(found: Verification) -> str:
    telling = [row for row in found.of("inference") if row.proves or row.differs]
    worst = {precision: worst_of(telling, precision) for precision in ("float64", "float32")}
    errors = [
        f"{name} at most {row.errors[name]:.1e} of the peak ({escape(row.name)})"
        if math.isfinite(row.errors[name])
        else f"{name} of another shape, or no number ({escape(row.name)})"
        for name, row in worst.items()
        if row
    ]
    summary = ", ".join(errors) or "no image was compared"
    if found.verdict == "SAME FUNCTION":
        return f"[bold green]SAME FUNCTION[/] {escape(same_function(found))} On the images: {summary}."
    if found.verdict == "EQUAL":
        return f"[bold green]EQUAL[/]: {summary}"
    if found.verdict == "NOT PROVEN":
        return f"[bold yellow]NOT PROVEN[/]: nothing differs, and {escape(what_is_missing(found))}; {summary}"
    return f"[bold red]DIFFERS[/], {escape(where_it_differs(found))}: {summary}"
