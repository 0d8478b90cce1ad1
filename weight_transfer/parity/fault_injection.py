"""The gate proves itself: known mistakes planted in a port, and what of them is seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.hints import Hints
from weight_transfer.errors import VerificationError
from weight_transfer.parity.protocol import ComparisonRequest, SensitivityRequest
from weight_transfer.parity.recording import read_recording
from weight_transfer.parity.reference import check_same, record
from weight_transfer.parity.report import Planted
from weight_transfer.parity.runner import Runner, check_installed, run_in_process, temporary_folder
from weight_transfer.progress import OnProgress, Progress, stage

RECORDING_SHARE = 0.1  # of the progress bar


def sensitivity(
    source: str | os.PathLike[str],
    hints: Hints | None = None,
    reference: str | os.PathLike[str] | None = None,
    kinds: Sequence[str] | None = None,
    on_progress: Progress = lambda stage, share: None,
    runner: Runner = run_in_process,
) -> tuple[Planted, ...]:
    """Plants each known mistake at an early, a middle and a late layer of a checkpoint's port, and looks who sees it.

    Args:
        source: The Keras checkpoint.
        hints: What the checkpoint may not show.
        reference: A recording of this checkpoint; by default Keras runs now.
        kinds: Keys of `resnet_torch.comparison.mistakes.KINDS`, by default all.
        on_progress: Called with what is going on and the share that is done.
        runner: What has each side answer.

    Returns:
        One entry for each kind that the network has a place for.

    Raises:
        CheckpointError, ArchitectureError, MappingError: As `convert`.
        VerificationError: A framework is missing or failed, the recording is of another checkpoint, or the port
            differs before anything is planted in it.
    """
    check_installed("resnet_torch")
    with temporary_folder() as folder:
        if reference is None:
            reference = folder / "reference.safetensors"
            on_share = stage(on_progress, "Keras", end=RECORDING_SHARE)
            record(source, reference, hints, on_progress=lambda _, share: on_share(share), runner=runner)
        else:
            with read_checkpoint(source) as checkpoint:
                check_same(read_recording(Path(reference)), checkpoint)
        port = folder / "converted.safetensors"
        convert(source, port, hints)
        _check_equal(port, Path(reference), runner)
        return plant(
            port,
            Path(reference),
            stage(on_progress, "planting", RECORDING_SHARE),
            kinds,
            runner,
        )


def _check_equal(port: Path, reference: Path, runner: Runner) -> None:
    """Raises VerificationError where a port differs already: every mistake in it would count as seen."""
    rows = runner(ComparisonRequest(port, reference)).rows
    failed = next((row for row in rows if not row.passed), None)
    if failed is not None:
        raise VerificationError(
            f"the port differs before a mistake is planted in it, first at {failed.name} ({failed.check}). "
            "Look at that first: weight-transfer verify"
        )


def plant(
    port: Path,
    reference: Path,
    on_progress: OnProgress,
    kinds: Sequence[str] | None = None,
    runner: Runner = run_in_process,
) -> tuple[Planted, ...]:
    """Plants mistakes in a converted file that agrees with a recording."""
    request = SensitivityRequest(port, reference, None if kinds is None else tuple(kinds))
    return runner(request, on_progress).planted
