"""Verification: the same inputs through Keras and through the port, everything both sides name compared."""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.conversion.convert import convert, tensors_of
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import Converted, read_converted
from weight_transfer.errors import TransferError, VerificationError
from weight_transfer.identified import Identified
from weight_transfer.images import load_images
from weight_transfer.optimizer.from_keras import read_optimizer_state
from weight_transfer.optimizer.state import state_beside, state_content
from weight_transfer.parity.fields import compared_fields
from weight_transfer.parity.inputs import loaded
from weight_transfer.parity.planting import plant
from weight_transfer.parity.progress import Progress, stage
from weight_transfer.parity.protocol import ComparisonRequest
from weight_transfer.parity.recording import Origin, Recording, Tops, read_recording
from weight_transfer.parity.reference import check_same, record_checkpoint
from weight_transfer.parity.report import Planted, Prediction, Verification
from weight_transfer.parity.runner import Runner, check_installed, run_in_process, temporary_folder
from weight_transfer.parity.sketch import LIVE
from weight_transfer.weight_mapping import mapping

Device = Literal["cpu", "cuda"]
REFERENCE_SHARE = 0.5  # of the progress bar


def verify(
    source: str | os.PathLike[str],
    converted: str | os.PathLike[str] | None = None,
    hints: Hints | None = None,
    devices: Sequence[Device] = ("cpu", "cuda"),
    num_photographs: int = 0,
    reference: str | os.PathLike[str] | None = None,
    training: bool = True,
    with_sensitivity: bool = False,
    on_progress: Progress = lambda stage, share: None,
    runner: Runner = run_in_process,
    *,
    quick: bool = False,
) -> Verification:
    """Compares a Keras checkpoint with its port: every layer that both sides name, in inference and in training
    mode, the loss, the gradients of all parameters, the statistics after a step.

    For a file that carries its model the reference is the model that Keras loads from it; for a
    weights-only file it is `resnet_keras`, or the family's network in Keras, with the file's
    weights. Keras and PyTorch run in two processes of their own.

    Args:
        source: The Keras checkpoint.
        converted: The port; by default the source is converted on the way.
        hints: What the checkpoint may not show.
        devices: Where the port runs; ``cuda`` is left out where there is none.
        num_photographs: Further photographs at the network's size, in one batch.
        reference: A recording of this checkpoint, from `record`; then Keras is not needed.
        training: Whether to compare a training step too.
        with_sensitivity: Whether to plant known mistakes in a port that is equal, which takes minutes.
        on_progress: Called with what is going on and the share that is done.
        runner: What has each side answer.
        quick: Whether to leave out most of the exact runs: other sizes, kinds of numbers, a training step of each layer
            by itself. What was left out is in the result, whose verdict is EQUAL at most.

    Raises:
        CheckpointError, ArchitectureError, MappingError: As `convert`.
        VerificationError: A framework is missing or failed, or the recording is of another checkpoint.
    """
    started = time.monotonic()
    check_installed("resnet_torch")
    with temporary_folder() as folder, read_checkpoint(source) as checkpoint:
        identified = identify(checkpoint, hints)
        if reference is None:
            check_installed("resnet_keras")
            reference = folder / "reference.safetensors"
            record_checkpoint(
                checkpoint,
                identified,
                Path(reference),
                LIVE,
                num_photographs,
                training,
                hints,
                stage(on_progress, "Keras", end=REFERENCE_SHARE),
                runner,
                quick=quick,
            )
        recording = read_recording(Path(reference))
        check_same(recording, checkpoint)
        if converted is None:
            converted = folder / "converted.safetensors"
            convert(source, converted, hints)
        port = read_converted(converted)
        num_fields, fields = compared_fields(checkpoint, identified, port.description, hints)
        differing = differing_arrays(identified, port)
        right = folder / "right.safetensors"
        if differing:
            convert(source, right, hints)
        request = ComparisonRequest(
            port.path,
            Path(reference),
            tuple(devices),
            training,
            right if differing else None,
            quick,
            _optimizer_state(checkpoint, identified, port, hints, folder / "optimizer.safetensors", recording),
        )
        result = runner(request, stage(on_progress, "PyTorch", REFERENCE_SHARE))
        planted: tuple[Planted, ...] = ()
        if with_sensitivity and all(row.passed for row in result.rows):
            planted = plant(port.path, Path(reference), stage(on_progress, "planting"), runner=runner)
        converted_sha256, digest = port.sha256, port.digest
    if not result.rows:
        raise VerificationError("nothing was compared: no device that was asked for is there")
    total = len(mapping(identified.network))
    origin, runs = recording.origin, recording.exact_runs
    if runs is not None and quick:
        runs = runs.quick()
    step_notes = () if recording.owner_step is None or quick or not training else recording.owner_step.notes
    return Verification(
        title=identified.network.title,
        source=checkpoint.path.name,
        source_sha256=origin.sha256,
        reference=origin.reference,
        loaded_by=origin.loaded_by,
        recorded=origin.recorded,
        detail=recording.detail.name,
        converted=port.path.name,
        converted_sha256=converted_sha256,
        port_digest=digest,
        inputs=tuple(case.name for case in recording.cases),
        rows=result.rows,
        weights_equal=total - len(differing),
        weights_total=total,
        weights_differing=tuple(differing),
        fields_total=num_fields,
        fields_differing=tuple(fields),
        wiring_total=result.num_wired,
        wiring_differing=result.wiring,
        untraced=result.untraced,
        doubt=origin.doubt,
        sizes=() if runs is None else runs.sizes,
        left_out=() if runs is None else runs.left_out,
        assumed=(*identified.assumed, *origin.skipped.values(), *result.notes, *step_notes),
        environment=environments(origin, result.environment),
        explanation=result.explanation,
        predictions=tuple(_predictions(recording, result.tops)),
        sensitivity=planted,
        duration_s=round(time.monotonic() - started, 1),
    )


def _optimizer_state(
    checkpoint: Checkpoint,
    identified: Identified,
    port: Converted,
    hints: Hints | None,
    output: Path,
    recording: Recording,
) -> Path | None:
    """The state of the optimizer that the owner's model goes on with: what lies beside the port, else what is in the
    file; None where there is none, or none is needed.
    """
    step = recording.owner_step
    if step is None or not step.iterations:
        return None
    if (beside := state_beside(port.path)).exists():
        return beside
    try:
        state = read_optimizer_state(checkpoint, identified, None, (hints or Hints()).like, [])
    except TransferError:
        return None
    state_content(state, "", port.origin).write(output)
    return output


KERAS = ("keras", "tf_keras", "tensorflow")  # installed beside the port, perhaps, and not at work there


def environments(origin: Origin, port: Mapping[str, str]) -> dict[str, str]:
    """Returns versions and machine of both sides, each without what was not at work there."""
    return {
        **{f"reference {name}": version for name, version in origin.environment.items() if name != "torch"},
        **{f"port {name}": version for name, version in port.items() if name not in KERAS},
    }


def _predictions(recording: Recording, tops: Mapping[str, Tops | None]) -> Iterator[Prediction]:
    """Both models' top classes of each picture."""
    for case in recording.cases:
        ported = tops.get(case.name)
        if case.name not in recording.tops or not ported:
            continue
        for number, picture in enumerate(loaded(case, recording.origin.channels, load_images)[0]):
            yield Prediction(
                picture=f"{case.name}, {number + 1}",
                png=_png(picture),
                reference=tuple((int(c), float(v)) for c, v in recording.tops[case.name][number]),
                port=tuple(ported[number]),
            )


def _png(picture: npt.NDArray[Any]) -> str:
    """PNG bytes in base64; the first channels of a picture that has more than three."""
    from PIL import Image

    shown = picture[..., 0] if picture.shape[-1] in (1, 2) else picture[..., :3]
    file = io.BytesIO()
    Image.fromarray(shown.astype(np.uint8)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def differing_arrays(identified: Identified, port: Converted) -> list[str]:
    """Arrays that are not bit for bit the same on both sides."""
    targets = {row.keras: row.torch for row in mapping(port.network)}
    differing = []
    for row, read in zip(mapping(identified.network), tensors_of(identified, []), strict=True):
        tensor = port.stored.get(targets.get(row.keras, ""))
        ours = read.read()
        if tensor is None or tensor.dtype != ours.dtype or not np.array_equal(tensor.read(), ours):
            differing.append(row.keras)
    return differing
