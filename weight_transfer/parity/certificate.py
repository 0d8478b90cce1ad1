"""The certificate: what a verification found, for machines, and whether a file on disk is the one it speaks of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from weight_transfer.atomic import write_text
from weight_transfer.converted import read_converted
from weight_transfer.errors import VerificationError, quoted
from weight_transfer.parity.report import PASSING, Check, Verdict, Verification
from weight_transfer.version import __version__

FORMAT = 1
Match = Literal["file", "tensors", "none"]


def write_certificate(found: Verification, path: str | os.PathLike[str]) -> None:
    """Writes a verification as JSON: verdict, gates and error of every tensor, versions, hashes.

    Raises:
        TransferError: The output cannot be written.
    """
    values = found.to_dict()
    del values["predictions"]  # their pictures are for people
    text = json.dumps({"certificate": FORMAT, "tool_version": __version__, **values}, indent=1)
    write_text(path, text)


@dataclass(frozen=True)
class Checked:
    """Whether a certificate vouches for a file.

    Attributes:
        match: ``file``: it is the certified file, byte for byte. ``tensors``: another file with the same
            network, all that is known of it, and the same tensors. ``none``: another network or other numbers.
        verdict: What the certificate says of the port.
        source: The Keras checkpoint it was compared with.
        source_sha256: Of that.
        recorded: When the reference was recorded, ISO 8601.
        checks: What was compared, by the checks of `Row`.
        sizes: At which sizes the exact runs were.
        missing: What was required and was not compared, or not all of it.
        left_out: What a quick verification left out, in words.
    """

    match: Match
    verdict: Verdict
    source: str
    source_sha256: str
    recorded: str
    checks: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the file holds what was certified as equal, by all that was required."""
        return self.verdict in PASSING and self.match != "none" and not self.missing


def check_certificate(
    path: str | os.PathLike[str], model: str | os.PathLike[str], required: Sequence[str] = ()
) -> Checked:
    """Tells whether a converted file is the one that was certified.

    Args:
        path: The certificate.
        model: The converted file.
        required: Checks of `Row` that must have been made: a certificate of inference alone certifies inference alone.

    Raises:
        VerificationError: The certificate is none, or damaged; or there is no such check.
        CheckpointError: The model is no converted file.
    """
    if unknown := [name for name in required if name not in get_args(Check)]:
        raise VerificationError(
            f"there is no check {quoted(unknown[0])}. Expected some of {', '.join(get_args(Check))}"
        )
    values = _read(Path(path))
    port = read_converted(model)
    match: Match = "none"
    if values["converted_sha256"] == port.sha256:
        match = "file"
    elif values["port_digest"] == port.digest:
        match = "tensors"
    checks = tuple(dict.fromkeys(str(row["check"]) for row in values.get("rows", ())))
    left_out = tuple(map(str, values.get("left_out", ())))
    whole = [name for name in checks if name != "exact" or not left_out]
    return Checked(
        match,
        _verdict(values),
        values["source"],
        values["source_sha256"],
        values["recorded"],
        checks,
        tuple(values.get("sizes", ())),
        tuple(name for name in required if name not in whole),
        left_out,
    )


def _verdict(values: Mapping[str, Any]) -> Verdict:
    """Returns the verdict of a certificate; one from before there were more words has only whether it passed."""
    passed = values["passed"] is True
    said = values.get("verdict", "EQUAL" if passed else "DIFFERS")
    verdicts: tuple[Verdict, ...] = get_args(Verdict)
    return next((verdict for verdict in verdicts if verdict == said and (verdict in PASSING) == passed), "DIFFERS")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise VerificationError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise VerificationError(
            f"{path}: no certificate: no JSON ({error}). Expected what `verify --certificate` wrote."
        ) from error
    needed = {"certificate", "converted_sha256", "port_digest", "passed", "source", "source_sha256", "recorded"}
    missing = needed - set(values) if isinstance(values, dict) else needed
    if missing:
        raise VerificationError(
            f"{path}: no certificate, it lacks {', '.join(sorted(missing))}. "
            "Expected what `verify --certificate` wrote."
        )
    if values["certificate"] != FORMAT:
        raise VerificationError(
            f"{path}: a certificate of format {values['certificate']}, expected {FORMAT}. Verify again."
        )
    certificate: Mapping[str, Any] = values
    return certificate
