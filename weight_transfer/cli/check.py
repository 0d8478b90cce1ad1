"""``check``: whether a file is the port that a certificate speaks of."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from rich.markup import escape

from weight_transfer.cli import options
from weight_transfer.cli.running import BY_VERDICT, DIFFERS, EXIT_CODES, NOT_PROVEN, PROVEN
from weight_transfer.cli.terminal import facts, out, print_json
from weight_transfer.parity.certificate import check_certificate
from weight_transfer.parity.report import Verdict

CERTIFIED: Mapping[Verdict, str] = {
    "SAME FUNCTION": "the same function as Keras's",
    "EQUAL": "equal to Keras",
    "DIFFERS": "DIFFERENT from Keras",
    "NOT PROVEN": "not proven: nothing differs, and something says nothing",
}


@click.command(
    "check", epilog=f"Example: weight-transfer check certificate.json --model resnet50.safetensors\n\n{EXIT_CODES}"
)
@click.argument("certificate", type=options.PathOf)
@click.option("--model", type=options.PathOf, required=True, help="The converted file.")
@click.option(
    "--require",
    metavar="CHECKS",
    default="",
    help="What must have been compared, with commas: exact,training,gradient. Without it the exit code is 3.",
)
@options.as_json
def check_command(certificate: Path, model: Path, require: str, json: bool) -> None:
    """Tell whether a file on disk is the port that a certificate speaks of, and proven there; another file exits 1."""
    checked = check_certificate(certificate, model, [name.strip() for name in require.split(",") if name.strip()])
    if json:
        print_json({**asdict(checked), "passed": checked.passed})
    else:
        said = {
            "file": "the certified file, byte for byte",
            "tensors": "another file with the certified network and tensors",
            "none": "not what was certified: another network or other numbers",
        }
        out.print(
            facts(
                {
                    "model": f"{escape(str(model))}: {said[checked.match]}",
                    "certified": CERTIFIED[checked.verdict],
                    "checks": ", ".join(checked.checks) or "not written in it",
                    **({"sizes": ", ".join(checked.sizes)} if checked.sizes else {}),
                    **({"left out": f"by --quick: {'; '.join(checked.left_out)}"} if checked.left_out else {}),
                    **({"not compared": ", ".join(checked.missing)} if checked.missing else {}),
                    "reference": f"{escape(checked.source)}, recorded {checked.recorded}",
                    "its sha256": checked.source_sha256,
                }
            )
        )
        out.print("[bold green]CERTIFIED[/]" if checked.passed else "[bold red]NOT CERTIFIED[/]")
    if not checked.passed:
        verdict = BY_VERDICT[checked.verdict]
        sys.exit(DIFFERS if checked.match == "none" else NOT_PROVEN if verdict == PROVEN else verdict)
