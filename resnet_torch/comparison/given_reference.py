"""The reference that somebody gives: a recording, or a Keras file or model that is recorded now."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.converted import is_converted
from weight_transfer.errors import TransferError, VerificationError
from weight_transfer.graph import read_graph
from weight_transfer.layer_types import Shape
from weight_transfer.parity.inputs import Case, save_cases
from weight_transfer.parity.protocol import ReferenceModel, ReferenceRequest
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.parity.runner import Runner
from weight_transfer.parity.sketch import LIVE

Arrays = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
ALONE, CUT_TO = "the first example alone", "examples cut to"


def recording_of(reference: Any, inputs: Arrays | None, training: bool, folder: Path, runner: Runner) -> Recording:
    """Returns a recording as it is, or of a Keras file or model, made in a process of its own.

    Args:
        reference: As `assert_parity` takes it.
        inputs: As `assert_parity` takes them.
        training: Whether to record a training step.
        folder: For what is written on the way; the recording is read from there.
        runner: What has Keras's side answer.
    """
    if not isinstance(reference, str | os.PathLike):
        if not hasattr(reference, "save"):
            raise VerificationError(
                "the reference must be a recording, the path of a Keras file, or a Keras model. "
                f"Received: {type(reference).__name__}"
            )
        model, reference = reference, folder / "model.keras"
        model.save(reference)
    path = Path(reference)
    if is_converted(path):
        if inputs is not None:
            raise VerificationError(f"{path}: a recording has its own inputs. Leave out inputs=.")
        recording = read_recording(path)
        return recording if training else _of_inference(recording)
    if inputs is None:
        raise VerificationError(f"{path}: inputs are needed: an array for each input of the Keras model.")
    given = [inputs] if hasattr(inputs, "shape") else inputs
    arrays = tuple(np.asarray(array, np.float32) for array in given)  # as Keras takes them, or both sides round apart
    with read_checkpoint(path) as checkpoint:
        sha256 = checkpoint.sha256
        shown = [Case("inputs", arrays, raw=False), *_variations(arrays, _input_shapes(checkpoint))]
    if training:
        shown.append(Case("inputs, training", arrays, raw=False, check="training"))
    save_cases(shown, folder / "inputs.safetensors")
    output = folder / "reference.safetensors"
    asked = ReferenceModel(checkpoint=path, sha256=sha256, reference="file", network=None)
    runner(ReferenceRequest(asked, folder / "inputs.safetensors", LIVE, output, of_a_port=False))
    return read_recording(output)


def _of_inference(recording: Recording) -> Recording:
    cases = tuple(case for case in recording.cases if case.check == "inference")
    return dataclasses.replace(recording, cases=cases)


def _input_shapes(checkpoint: Checkpoint) -> tuple[Shape, ...]:
    """The shapes that the file says; none where it cannot be read so, which the recording's network then shows."""
    try:
        graph = read_graph(checkpoint.config or {}, checkpoint.keras_version)
    except TransferError:
        return ()
    return tuple(graph.inputs.values())


def _variations(arrays: Sequence[npt.NDArray[Any]], shapes: Sequence[Shape]) -> Iterator[Case]:
    """The first example alone; two of them cut to other sizes, where sizes are free."""
    if any(len(array) > 1 for array in arrays):
        yield Case(ALONE, tuple(array[:1] for array in arrays), raw=False, tentative=True)
    if len(arrays) != len(shapes):
        return
    for smaller in (_one_less, _odd_in_every_stage):
        cut = [_cut(array, shape, smaller) for array, shape in zip(arrays, shapes, strict=True)]
        if any(own.shape[1:] != array.shape[1:] for own, array in zip(cut, arrays, strict=True)):
            sizes = ", ".join("x".join(map(str, array.shape[1:])) for array in cut)
            yield Case(f"{CUT_TO} {sizes}", tuple(cut), raw=False, tentative=True)


def _cut(array: npt.NDArray[Any], shape: Shape, smaller: Callable[[int, int], int]) -> npt.NDArray[Any]:
    if array.ndim != len(shape) + 1:
        return array
    known = enumerate(zip(array.shape[1:], shape, strict=True))
    sizes = [size if fixed else max(1, smaller(size, axis)) for axis, (size, fixed) in known]
    return array[(slice(0, 2), *map(slice, sizes))]


def _one_less(size: int, axis: int) -> int:
    return size - 1


def _odd_in_every_stage(size: int, axis: int) -> int:
    """A power of two and one, which stays odd however often it is halved; another one for every second axis."""
    power = max((size - 2).bit_length() - 1 - axis % 2, 0)
    return min((1 << power) + 1, size)
