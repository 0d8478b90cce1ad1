"""The reference of a verification: Keras, run once in a process of its own, written down in a recording."""

from __future__ import annotations

import os
from pathlib import Path

from weight_transfer.atomic import check_output
from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.conversion.description import describe, with_input
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.conversion.structure import can_resize
from weight_transfer.errors import VerificationError
from weight_transfer.identified import Identified
from weight_transfer.input_files import protect_inputs
from weight_transfer.parity.checkpoint_facts import CheckpointFacts, facts_of
from weight_transfer.parity.inputs import cases, save_cases
from weight_transfer.parity.protocol import ReferenceModel, ReferenceRequest
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.parity.runner import Runner, check_installed, run_in_process, temporary_folder
from weight_transfer.parity.sketch import COMPACT, Detail
from weight_transfer.progress import OnProgress, Progress, stage
from weight_transfer.resnet.layout import network_to_dict


def record(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    hints: Hints | None = None,
    detail: Detail = COMPACT,
    num_photographs: int = 0,
    on_progress: Progress = lambda stage, share: None,
    runner: Runner = run_in_process,
    *,
    quick: bool = False,
) -> Recording:
    """Runs Keras once on a checkpoint and writes down what it gives, for machines that have no Keras.

    Args:
        source: The Keras checkpoint.
        output: The recording, a safetensors file.
        hints: What the checkpoint may not show.
        detail: How much of each tensor to keep.
        num_photographs: Further photographs at the network's size, in one batch.
        on_progress: Called with what is going on and the share that is done.
        runner: What has Keras's side answer.
        quick: Whether to run on integers at the network's own size alone, of one kind, and without a training step.

    Raises:
        CheckpointError, ArchitectureError, MappingError: As `convert`.
        VerificationError: Keras is missing or failed.
        TransferError: The output cannot be written.
    """
    check_installed("resnet_keras")
    check_output(output)
    protect_inputs([output], [source, *(hints or Hints()).files])
    with read_checkpoint(source) as checkpoint:
        identified = identify(checkpoint, hints)
        record_checkpoint(
            checkpoint,
            identified,
            facts_of(checkpoint, identified, hints),
            Path(output),
            detail,
            num_photographs,
            training=True,
            hints=hints,
            on_progress=stage(on_progress, "Keras"),
            runner=runner,
            quick=quick,
        )
    return read_recording(Path(output))


def record_checkpoint(
    checkpoint: Checkpoint,
    identified: Identified,
    facts: CheckpointFacts,
    output: Path,
    detail: Detail,
    num_photographs: int,
    training: bool,
    hints: Hints | None,
    on_progress: OnProgress,
    runner: Runner,
    *,
    quick: bool = False,
) -> None:
    """Runs Keras on an open checkpoint and writes the recording; arguments as for `record`.

    Args:
        checkpoint: The Keras checkpoint.
        identified: Its network.
        facts: What it says and holds, to be kept in the recording.
        output: The recording.
        detail: How much of each tensor to keep.
        num_photographs: Further photographs at the network's size, in one batch.
        training: Whether to record a training step too.
        hints: What the checkpoint may not show, such as how image files are loaded.
        on_progress: Called with the share that is done.
        runner: What has Keras's side answer.
        quick: As for `record`.
    """
    loading = (hints or Hints()).image_loading or "keras"
    shown = cases(
        identified.network, any_size=takes_any_size(identified), num_photographs=num_photographs, loading=loading
    )
    shown = [case for case in shown if training or case.check == "inference"]
    with temporary_folder() as folder:
        inputs = folder / "inputs.safetensors"
        save_cases(shown, inputs)
        model = reference_model(checkpoint, identified, hints)
        runner(ReferenceRequest(model, inputs, detail, output, quick=quick, facts=facts), on_progress)


def reference_model(checkpoint: Checkpoint, identified: Identified, hints: Hints | None) -> ReferenceModel:
    """Returns what Keras's side needs to know of a checkpoint to load its model.

    Raises:
        TransferError: The hints contradict what is known of the network's images.
    """
    said, place = hints or Hints(), checkpoint.path.name
    known = describe(checkpoint, identified)
    known = with_input(known, place, said.preprocessing, said.image_loading, said.crop)
    return ReferenceModel(
        checkpoint=checkpoint.path,
        sha256=checkpoint.sha256,
        reference="twin" if checkpoint.config is None else "file",
        network=network_to_dict(identified.network),
        arrays={name: array.name for name, array in identified.arrays.items()},
        preprocessing=known.preprocessing,
        config=None if checkpoint.config is not None else identified.config,
    )


def check_same(recording: Recording, checkpoint: Checkpoint) -> None:
    """Raises VerificationError where a recording is of another checkpoint."""
    if recording.origin.sha256 != checkpoint.sha256:
        raise VerificationError(
            f"{recording.path}: a recording of another checkpoint. Expected one of {checkpoint.path.name}, sha256 "
            f"{checkpoint.sha256}. Received one of {recording.origin.source}, sha256 {recording.origin.sha256}. "
            "Record this checkpoint: weight-transfer record"
        )


def takes_any_size(identified: Identified) -> bool:
    """Whether the reference can be rebuilt for other sizes: imported graphs are shown their own."""
    if identified.network.resnet is None:
        return False
    return identified.keras is None or can_resize(identified.keras)
