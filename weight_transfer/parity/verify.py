"""Verification: the same inputs through Keras and through the port, everything both sides name compared."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import Converted, is_converted, read_converted
from weight_transfer.errors import TransferError, VerificationError
from weight_transfer.graph import Graph
from weight_transfer.identified import Identified
from weight_transfer.images import load_images
from weight_transfer.optimizer.from_keras import read_optimizer_state
from weight_transfer.optimizer.state import state_beside, state_content
from weight_transfer.parity.checkpoint_facts import CheckpointFacts, facts_of
from weight_transfer.parity.fault_injection import plant
from weight_transfer.parity.fields import differing_fields
from weight_transfer.parity.inputs import loaded
from weight_transfer.parity.protocol import ComparisonRequest
from weight_transfer.parity.recording import Origin, Recording, Tops, read_recording
from weight_transfer.parity.reference import check_same, record_checkpoint
from weight_transfer.parity.report import NetworkLayer, Planted, Prediction, Verification
from weight_transfer.parity.runner import Runner, check_installed, run_in_process, temporary_folder
from weight_transfer.parity.sketch import LIVE
from weight_transfer.progress import Progress, stage

Device = Literal["cpu", "cuda"]
REFERENCE_SHARE = 0.5  # of the progress bar
WITHOUT_FACTS = (
    "the recording does not hold what its checkpoint says, as an earlier version made it: record it again, or name the "
    "checkpoint too"
)


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
        source: The Keras checkpoint; or the port alone, beside a recording that keeps what the checkpoint says.
        converted: The port; by default the source is converted on the way.
        hints: What the checkpoint may not show.
        devices: Where the port runs; ``cuda`` is left out where there is none.
        num_photographs: Further photographs at the network's size, in one batch.
        reference: A recording of the checkpoint, from `record`; then Keras is not needed.
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
    if reference is None and converted is None and is_converted(source):
        raise VerificationError(
            f"{source}: a converted port alone. Expected what to compare it with: verify CHECKPOINT PORT, "
            "or verify PORT --reference RECORDING"
        )
    check_installed("resnet_torch")
    with temporary_folder() as folder, ExitStack() as opened:
        file = None
        if reference is None or converted is not None or not is_converted(source):
            form = None if converted is None else read_converted(converted).network
            file = _identified(opened.enter_context(read_checkpoint(source)), hints, form)
        if file is not None and reference is None:
            check_installed("resnet_keras")
            reference = folder / "reference.safetensors"
            record_checkpoint(
                file.checkpoint,
                file.identified,
                file.facts,
                Path(reference),
                LIVE,
                num_photographs,
                training,
                file.hints,
                stage(on_progress, "Keras", end=REFERENCE_SHARE),
                runner,
                quick=quick,
            )
        recording = read_recording(Path(reference or ""))
        if file is not None:
            check_same(recording, file.checkpoint)
            if converted is None:
                converted = convert(source, folder / "converted.safetensors", hints).output
        port = read_converted(source if converted is None else converted)
        _check_form(recording, port)
        facts = recording.facts if file is None else file.facts
        differing = [] if facts is None else facts.differing(port)
        right = None
        if differing and file is not None:
            right = Path(convert(source, folder / "right.safetensors", file.hints).output)
        request = ComparisonRequest(
            port.path,
            recording.path,
            tuple(devices),
            training,
            right,
            quick,
            _optimizer_state(file, port, folder / "optimizer.safetensors", recording),
        )
        result = runner(request, stage(on_progress, "PyTorch", REFERENCE_SHARE))
        planted: tuple[Planted, ...] = ()
        if with_sensitivity and all(row.passed for row in result.rows):
            planted = plant(port.path, recording.path, stage(on_progress, "planting"), runner=runner)
        converted_sha256, digest = port.sha256, port.digest
    if not result.rows:
        raise VerificationError("nothing was compared: no device that was asked for is there")
    origin, runs = recording.origin, recording.exact_runs
    if runs is not None and quick:
        runs = runs.quick()
    step_notes = () if recording.owner_step is None or quick or not training else recording.owner_step.notes
    num_fields, fields = (0, []) if facts is None else differing_fields(facts.described, port.description)
    num_arrays = 0 if facts is None else len(facts.digests)
    return Verification(
        title=port.network.title if facts is None else facts.described.network.title,
        source=origin.source if file is None else file.checkpoint.path.name,
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
        weights_equal=num_arrays - len(differing),
        weights_total=num_arrays,
        weights_differing=tuple(differing),
        fields_total=num_fields,
        fields_differing=tuple(fields),
        wiring_total=result.num_wired,
        wiring_differing=result.wiring,
        untraced=result.untraced,
        doubt=WITHOUT_FACTS if facts is None else origin.doubt,
        seed=None if runs is None else runs.seed,
        sizes=() if runs is None else runs.sizes,
        left_out=() if runs is None else runs.left_out,
        assumed=(*(() if facts is None else facts.assumed), *origin.skipped.values(), *result.notes, *step_notes),
        environment=environments(origin, result.environment),
        explanation=result.explanation,
        predictions=tuple(_predictions(recording, result.tops)),
        sensitivity=planted,
        layers=tuple(_layers(recording, port.network)),
        duration_s=round(time.monotonic() - started, 1),
    )


@dataclass(frozen=True)
class _File:
    """The Keras checkpoint, where it is there.

    Attributes:
        checkpoint: What was read.
        identified: What was found in it, in the form of the port.
        hints: What the person knows, and the form of the port.
        facts: What the port must say and hold.
    """

    checkpoint: Checkpoint
    identified: Identified
    hints: Hints | None
    facts: CheckpointFacts


def _identified(checkpoint: Checkpoint, hints: Hints | None, form: Graph | None) -> _File:
    """Finds a checkpoint's network in the form of a port: as a ResNet of our own, or as the file's own graph.

    Args:
        checkpoint: What was read.
        hints: What the person knows.
        form: Of the port, if there is one; a file that has no such form keeps its own, which then differs.
    """
    identified = identify(checkpoint, hints)
    said = hints or Hints()
    is_graph = form is not None and form.architecture is None
    if form is not None and said.import_as is None and is_graph != (identified.network.architecture is None):
        other = dataclasses.replace(said, import_as="graph" if is_graph else "native")
        with contextlib.suppress(TransferError):
            identified, hints = identify(checkpoint, other), other
    return _File(checkpoint, identified, hints, facts_of(checkpoint, identified, hints))


def _check_form(recording: Recording, port: Converted) -> None:
    if recording.facts is None:
        return
    is_graph = port.network.architecture is None
    if is_graph != (recording.facts.described.network.architecture is None):
        native, graph = "a ResNet of our own", "the file's own graph"
        raise VerificationError(
            f"{recording.path}: a recording of {native if is_graph else graph}. Expected one of "
            f"{graph if is_graph else native}, as the port {port.path.name} is. "
            f"Record again: weight-transfer record --as {'graph' if is_graph else 'native'}"
        )


def _optimizer_state(file: _File | None, port: Converted, output: Path, recording: Recording) -> Path | None:
    """The state of the optimizer that the owner's model goes on with: what lies beside the port, else what is in the
    file; None where there is none, or none is needed.
    """
    step = recording.owner_step
    if step is None or not step.iterations:
        return None
    if (beside := state_beside(port.path)).exists():
        return beside
    if file is None:
        return None
    try:
        like = (file.hints or Hints()).like
        state = read_optimizer_state(file.checkpoint, file.identified, None, like, [])
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


def _layers(recording: Recording, network: Graph) -> Iterator[NetworkLayer]:
    classes = {call.value: network.layers[call.layer].class_name for call in network.calls}
    for name, inputs in recording.feeds.items():
        yield NetworkLayer(name, classes.get(name, ""), tuple(inputs))


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
