"""The gate proves itself: known mistakes planted in a port, and what of them is seen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.hints import Hints
from weight_transfer.errors import VerificationError
from weight_transfer.parity.processes import check_installed, run_side
from weight_transfer.parity.recording import read_recording
from weight_transfer.parity.reference import check_same, record
from weight_transfer.parity.report import Planted, Row

RECORDING_SHARE = 0.1  # of the progress bar


def sensitivity(
    source: str | os.PathLike[str],
    hints: Hints | None = None,
    reference: str | os.PathLike[str] | None = None,
    kinds: Sequence[str] | None = None,
    on_progress: Callable[[str, float], None] = lambda stage, share: None,
) -> tuple[Planted, ...]:
    """Plants each known mistake at an early, a middle and a late layer of a checkpoint's port, and looks who sees it.

    Args:
        source: The Keras checkpoint.
        hints: What the checkpoint may not show.
        reference: A recording of this checkpoint; by default Keras runs now.
        kinds: Keys of `resnet_torch.comparison.mistakes.MISTAKES`, by default all.
        on_progress: Called with what is going on and the share that is done.

    Returns:
        One entry for each kind that the network has a place for.

    Raises:
        CheckpointError, ArchitectureError, MappingError: As `convert`.
        VerificationError: A framework is missing or failed, the recording is of another checkpoint, or the port
            differs before anything is planted in it.
    """
    check_installed("resnet_torch")
    with tempfile.TemporaryDirectory() as folder:
        if reference is None:
            reference = Path(folder) / "reference.safetensors"
            record(source, reference, hints, on_progress=lambda _, share: on_progress("Keras", share * RECORDING_SHARE))
        else:
            with read_checkpoint(source) as checkpoint:
                check_same(read_recording(Path(reference)), checkpoint)
        port = Path(folder) / "converted.safetensors"
        convert(source, port, hints)
        _check_equal(port, Path(reference))
        return plant(
            port,
            Path(reference),
            lambda share: on_progress("planting", RECORDING_SHARE + share * (1 - RECORDING_SHARE)),
            kinds,
        )


def _check_equal(port: Path, reference: Path) -> None:
    """Raises VerificationError where a port differs already: every mistake in it would count as seen."""
    request = {"converted": str(port), "reference": str(reference), "devices": ["cpu"], "training": True, "right": None}
    rows = run_side("resnet_torch.comparison", request, lambda share: None)["rows"]
    failed = next((row for row in (Row(**values) for values in rows) if not row.passed), None)
    if failed is not None:
        raise VerificationError(
            f"the port differs before a mistake is planted in it, first at {failed.name} ({failed.check}). "
            "Look at that first: weight-transfer verify"
        )


def plant(
    port: Path, reference: Path, on_progress: Callable[[float], None], kinds: Sequence[str] | None = None
) -> tuple[Planted, ...]:
    """Plants mistakes in a converted file that agrees with a recording."""
    request = {"converted": str(port), "reference": str(reference), "kinds": kinds}
    result = run_side("resnet_torch.comparison.sensitivity", request, on_progress)
    return tuple(Planted(**{**row, "planted": tuple(row["planted"])}) for row in result["planted"])
