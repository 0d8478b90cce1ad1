"""Anybody's module against a recording: all that it can be compared in, and what could not be compared."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from resnet_torch.comparison.arrays import (
    array_differences,
    learn_as_recorded,
    moved_buffers,
    unfreeze_as_recorded,
    variance_differences,
)
from resnet_torch.comparison.comparing import learn_as_in_float64, subject_for_comparison
from resnet_torch.comparison.explaining import explain
from resnet_torch.comparison.measuring import (
    DTYPES,
    compare_as_it_is,
    compare_training,
    network_inputs,
    own_training_mode,
    precision,
)
from resnet_torch.comparison.randomness import (
    Draw,
    HeldStill,
    held_still,
    random_differences,
    same_numbers,
    unknown_draws,
)
from resnet_torch.comparison.rows import Collected, collecting, rows_of
from resnet_torch.comparison.subject import Subject, Tap, subject_of_module
from resnet_torch.model import PortedModel
from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.converted import is_converted
from weight_transfer.errors import SHOWN_AT_MOST, TransferError, VerificationError, nearest
from weight_transfer.graph import Graph, read_graph
from weight_transfer.layer_types import Shape
from weight_transfer.parity.exact_runs import logits_name
from weight_transfer.parity.inputs import Case, save_cases
from weight_transfer.parity.protocol import ReferenceModel, ReferenceRequest
from weight_transfer.parity.recorded_network import RecordedLayer, RecordedNetwork
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.parity.report import Explanation, Row
from weight_transfer.parity.runner import Runner
from weight_transfer.parity.sketch import LIVE
from weight_transfer.parity.tolerances import TOLERANCES

Arrays = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
DTYPES_COMPARED = ("float64", "float32")
ALONE, CUT_TO = "the first example alone", "examples cut to"
OF_EARLIER_VERSIONS = (
    "which arrays there are, which layers are random, which sizes are free: the recording, of an earlier version, does "
    "not say. Record it again: weight-transfer record"
)


@dataclass(frozen=True)
class Asked:
    """What a person asked for: the arguments of `assert_parity`."""

    names: Mapping[str, str]
    without: tuple[str, ...]
    outputs_only: bool
    training: bool
    gives_predictions: bool


@dataclass(frozen=True)
class Compared:
    """What came of it.

    Attributes:
        reference: In words.
        rows: The tensors that were compared.
        explanation: Of the first that differs, where one does.
        differences: What else differs, in words.
        left_out: What was not compared, in words.
        unnamed: Keras layers without arrays that no module has the name of, and layers whose modules are not called.
    """

    reference: str
    rows: tuple[Row, ...]
    explanation: Explanation | None
    differences: tuple[str, ...]
    left_out: tuple[str, ...]
    unnamed: tuple[str, ...]


# The reference


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
    runner(ReferenceRequest(asked, folder / "inputs.safetensors", LIVE, output, exact_runs=False))
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


# The comparison


@dataclass
class _Findings:
    """What is found on the way."""

    collected: Collected = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    draws: list[tuple[Case, HeldStill]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # names of inputs that the module cannot take


def compare_module(model: nn.Module, whole: Recording, asked: Asked) -> Compared:
    """Compares a module with a recording.

    Args:
        model: The module; it stays as it was.
        whole: The recording.
        asked: What to compare.

    Raises:
        VerificationError: They cannot be compared.
    """
    _check_without(whole, asked)
    subjects = {name: _subject(model, whole, asked, name) for name in DTYPES_COMPARED}
    subject = subjects["float64"]
    recording, unnamed = _only_what_both_name(subject, whole, asked)
    found = _Findings(left_out=[f"{name}: on purpose" for name in asked.without])
    _note_left_out(subject, whole, asked, found)
    network = whole.origin.network
    norms: list[nn.Module] = []
    if asked.training and not asked.outputs_only:
        found.left_out += [] if network else [OF_EARLIER_VERSIONS]
        found.differences += array_differences(subject, _network_of(whole), asked.without, complete=network is not None)
        if network is not None:
            found.differences += variance_differences(model, subject, network, asked.without)
    if network is not None:
        norms = unfreeze_as_recorded(subject, network)
    mode = partial(own_training_mode, norms=norms)
    _run_all(subjects, recording, found, mode)
    rows = _rows(subjects, recording, found)
    _compare_layouts(subject, recording, found)
    _compare_draws(subject, whole, asked, rows, found)
    if asked.training:
        _compare_modes(subject, recording, rows, found)
        if not asked.outputs_only:
            _compare_buffers(subject, recording, asked, found)
    for_some_inputs = _cases_that_differ(rows, recording, found)
    taken = tuple(case for case in recording.cases if case.name not in found.refused)
    explanation = _explanation(subject, dataclasses.replace(recording, cases=taken), rows)
    if not for_some_inputs:
        found.differences += _activations_to_look_for(subject, recording, rows)
    if (
        for_some_inputs
        and explanation is not None
        and explanation.found
        and explanation.found.cause == "last activation"
    ):
        explanation = dataclasses.replace(explanation, found=None)  # it would show whatever the inputs
    return Compared(
        reference=f"{recording.origin.source} ({recording.origin.loaded_by})",
        rows=rows,
        explanation=explanation,
        differences=tuple(found.differences),
        left_out=tuple(found.left_out),
        unnamed=tuple(unnamed) + _never_called(recording, found),
    )


def _check_without(recording: Recording, asked: Asked) -> None:
    known = _layer_names(recording)
    wrong = [f"{name}{nearest(name, known)}" for name in asked.without if name not in known]
    if wrong:
        raise VerificationError(f"without= names no layer of Keras's: {', '.join(wrong)}.")


def _layer_names(recording: Recording) -> list[str]:
    network = recording.origin.network
    layers = () if network is None else network.layers
    return list(dict.fromkeys([*recording.feeds, *(layer.name for layer in layers)]))


def _subject(model: nn.Module, recording: Recording, asked: Asked, precision_name: str) -> Subject:
    copied = copy.deepcopy(model).to(DTYPES[precision_name])
    if isinstance(copied, PortedModel) and not asked.names:
        device = str(next(copied.parameters()).device)
        subject = subject_for_comparison(copied, recording, device, precision_name)
        return _with_outputs(subject, copied.network, recording.origin.outputs)
    if recording.origin.network is not None:
        learn_as_recorded(copied, recording.origin.network)
    learn_as_in_float64(copied, recording)
    layers = _layer_names(recording)
    return subject_of_module(copied, asked.names, layers, recording.origin, gives_predictions=asked.gives_predictions)


def _with_outputs(subject: Subject, network: Graph, names: Sequence[str]) -> Subject:
    """A converted model as a recording of just any model sees it: its outputs have names beside the layers'.

    There a last layer with a softmax or sigmoid of its own shows what comes before it.
    """
    if set(names) <= set(subject.taps):
        return subject
    taps, endings = dict(subject.taps), dict(subject.endings)
    layers = {call.value: call.layer for call in network.calls}
    for position, (name, value) in enumerate(zip(names, network.outputs, strict=True)):
        ending = endings.get(value, (position, nn.Identity()))
        if value in endings and network.layers[layers[value]].fused_activation is not None:
            del endings[value]
            taps[value] = Tap(network.modules[layers[value]][:1])
        endings[name], taps[name] = ending, Tap(())
    return dataclasses.replace(subject, taps=taps, endings=endings)


def _only_what_both_name(subject: Subject, recording: Recording, asked: Asked) -> tuple[Recording, list[str]]:
    """The recording without what is left out or has no name in the module; and layers without arrays of that kind."""
    outputs = recording.origin.outputs
    known = {*subject.taps, *subject.rows, "loss"}
    if asked.outputs_only:
        known = {*outputs, "loss"}
    left_out = _left_out_names(recording, asked) - {*outputs}
    logits = {logits_name(name) for name in outputs}  # of last layers, which are compared with their activation
    layers = (entry.name for entry in recording.entries if entry.check == "inference" and entry.name not in logits)
    names = list(dict.fromkeys(layers))
    if not asked.outputs_only and not any(name in known and name not in outputs for name in names):
        modules = [path for path, _ in subject.model.named_modules() if path]
        hints = [f"{name}{nearest(name, modules)}" for name in names[:SHOWN_AT_MOST]]
        raise VerificationError(
            "no module has the name of a Keras layer. Give a map: names={'keras layer': 'path.of.the.module'}, or "
            "compare the outputs alone: outputs_only=True. "
            f"Keras's layers: {', '.join(hints)}{' ...' if len(names) > SHOWN_AT_MOST else ''}"
        )
    kept = {name for name in known if name not in left_out and name.rpartition("/")[0] not in left_out}
    entries = tuple(entry for entry in recording.entries if entry.name in kept)
    starts = {key: start for key, start in recording.starts.items() if key[2] in kept}
    with_arrays = {*_layers_with_arrays(recording)}
    unnamed = [name for name in names if name not in known and name not in with_arrays and name not in left_out]
    return dataclasses.replace(recording, entries=entries, starts=starts), [] if asked.outputs_only else unnamed


def _left_out_names(recording: Recording, asked: Asked) -> set[str]:
    """The layers left out on purpose, and what their calls are called."""
    network = recording.origin.network
    layers = () if network is None else network.layers
    return {*asked.without, *(call for layer in layers if layer.name in asked.without for call in layer.calls)}


def _layers_with_arrays(recording: Recording) -> list[str]:
    """Each layer that has arrays, as far as it is recorded."""
    return [layer.name for layer in _network_of(recording).layers if layer.arrays]


def _network_of(recording: Recording) -> RecordedNetwork:
    """The network; of a recording of an earlier version what its gradients and statistics show."""
    if recording.origin.network is not None:
        return recording.origin.network
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    learning: dict[str, list[str]] = {}
    for entry in recording.entries:
        if entry.check in ("gradient", "statistics"):
            layer, _, role = entry.name.rpartition("/")
            shapes.setdefault(layer, {})[role] = entry.shape
            learning.setdefault(layer, []).extend([role] if entry.check == "gradient" else [])
    return RecordedNetwork(
        (),
        tuple(
            RecordedLayer(name, "", {}, (), arrays, tuple(learning[name]), True, {name: None})
            for name, arrays in shapes.items()
        ),
    )


def _note_left_out(subject: Subject, recording: Recording, asked: Asked, found: _Findings) -> None:
    if asked.outputs_only:
        found.left_out.append("every layer and every array: outputs_only=True")
    elif not asked.training:
        unseen = [name for name in _layers_with_arrays(recording) if name not in {*subject.taps, *asked.without}]
        if unseen:
            shown = ", ".join(unseen[:SHOWN_AT_MOST]) + (" ..." if len(unseen) > SHOWN_AT_MOST else "")
            found.left_out.append(
                f"{len(unseen)} layers with arrays, because no module has the name: {shown}. Give names="
            )
    compared = {"gradient"} if asked.training else set()
    found.left_out += [
        f"{name}: {why}"
        for name, why in recording.origin.skipped.items()
        if name in compared or name.startswith((ALONE, CUT_TO))
    ]
    inference = [case for case in recording.cases if case.check == "inference"]
    if not any(case.loading or all(len(array) == 1 for array in case.arrays) for case in inference):
        found.left_out.append("one example alone: the recording has none")
    network = recording.origin.network
    cut = any(name.startswith(CUT_TO) for name in recording.origin.skipped)
    if network is not None and network.has_free_sizes and not cut:
        sizes = {tuple(array.shape[1:] for array in case.arrays) for case in inference if case.loading is None}
        if len(sizes) == 1:
            found.left_out.append("other sizes, which are free: the recording has one")


def _run_all(
    subjects: Mapping[str, Subject],
    recording: Recording,
    found: _Findings,
    mode: Callable[[nn.Module], AbstractContextManager[None]],
) -> None:
    for name, subject in subjects.items():
        for case in recording.cases:
            collect = collecting(found.collected, name, case)
            with precision(name), held_still(subject.model, _standing_for_random(subject, recording)) as held:
                if case.check == "training":
                    if name == "float64":
                        compare_training(subject, recording, case, collect, mode)
                else:
                    try:
                        compare_as_it_is(subject, recording, case, collect)
                    except (RuntimeError, ValueError, IndexError, TypeError) as error:
                        if not case.tentative:
                            raise
                        if case.name not in found.refused:
                            found.refused.add(case.name)
                            found.differences.append(f"{case.name}: {type(error).__name__}: {error}")
            if name == "float64":
                found.draws.append((case, held))


def _standing_for_random(subject: Subject, recording: Recording) -> list[str]:
    """Paths of the modules that have the names of random layers."""
    network = recording.origin.network
    layers = () if network is None else network.layers
    taps = [tap for layer in layers if layer.is_random for name in layer.calls if (tap := subject.taps.get(name))]
    return [path for tap in taps for path in tap.modules]


def _rows(subjects: Mapping[str, Subject], recording: Recording, found: _Findings) -> tuple[Row, ...]:
    """The rows, without those of modules that are never called, and of what proves nothing in Keras either."""
    device = next(subjects["float64"].model.parameters()).device.type
    seen = {name for _, _, name, _ in found.collected}
    rows = [
        row
        for row in rows_of(recording, device, recording.cases, found.collected, DTYPES_COMPARED)
        if row.name in seen or row.check not in ("inference", "training")
    ]
    silent = [row for row in rows if not row.proves and not row.differs]
    if silent:
        names = ", ".join(dict.fromkeys(row.name for row in silent))
        found.left_out.append(f"what is all zero or no number for these inputs, and proves nothing: {names}")
    return tuple(row for row in rows if row not in silent)


def _never_called(recording: Recording, found: _Findings) -> tuple[str, ...]:
    """Layers whose modules hold arrays, and are not what computes: a list or a dict of modules."""
    seen = {name for _, _, name, _ in found.collected}
    named = dict.fromkeys(entry.name for entry in recording.entries if entry.check == "inference")
    return tuple(name for name in named if name not in seen)


def _cases_that_differ(rows: Sequence[Row], recording: Recording, found: _Findings) -> bool:
    """Whether the first layer that differs does so for some of the inputs alone; which they are is noted."""
    failed = next((row for row in rows if row.check == "inference" and not row.passed), None)
    if failed is None:
        return False
    limit = failed.limits["float64"]
    errors = {
        case.name: error.error
        for case in recording.cases
        if (error := found.collected.get(("float64", "inference", failed.name, case.name))) is not None
    }
    differ, agree = ([name for name in errors if (errors[name] <= limit) is passed] for passed in (False, True))
    if differ and agree:
        found.differences.insert(0, f"{failed.name} differs for {', '.join(differ)}, and agrees for {', '.join(agree)}")
    return bool(differ and agree)


def _compare_layouts(subject: Subject, recording: Recording, found: _Findings) -> None:
    """The same inference with tensors that lie channels_last in memory."""
    laid_out = dataclasses.replace(subject, model=_channels_last(copy.deepcopy(subject.model)))
    collected: Collected = {}
    cases = [case for case in recording.cases if case.check == "inference" and case.name not in found.refused]
    random = _standing_for_random(subject, recording)
    for case in cases:
        collect = collecting(collected, "float64", case)
        given = [_in_channels_last(tensor) for tensor in network_inputs(laid_out, case)]
        try:
            with held_still(laid_out.model, random):
                compare_as_it_is(laid_out, recording, case, collect, given)
        except (RuntimeError, ValueError) as error:
            found.differences.append(f"with tensors that lie channels_last in memory: {type(error).__name__}: {error}")
            return
    for (_, check, name, case_name), one in collected.items():
        limit = TOLERANCES["inference"]["float64"].error
        contiguous = found.collected.get(("float64", check, name, case_name))
        if contiguous is not None and contiguous.error <= limit < one.error:
            found.differences.append(
                f"with tensors that lie channels_last in memory {name} differs by {one.error:.1e} of the peak "
                f"({case_name}), and otherwise it agrees"
            )
            return


def _channels_last(model: nn.Module) -> nn.Module:
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = _in_channels_last(tensor.data)
    return model


def _in_channels_last(tensor: Tensor) -> Tensor:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=formats[tensor.ndim]) if tensor.ndim in formats else tensor


def _compare_draws(subject: Subject, recording: Recording, asked: Asked, rows: Sequence[Row], found: _Findings) -> None:
    """Which random layers act, by which rate and where, in the mode of each run."""
    network = recording.origin.network
    if network is None or asked.outputs_only:
        return
    calls = [(name, layer, mode) for layer in network.layers if layer.is_random for name, mode in layer.calls.items()]
    wanted = [call for call in calls if call[0] not in asked.without and call[1].name not in asked.without]
    for check in ("inference", "training"):
        runs = [(case, held) for case, held in found.draws if case.check == check]
        if not runs:
            continue
        case, held = runs[0]
        acting = [(name, layer) for name, layer, mode in wanted if mode or (check == "training" and mode is None)]
        agree = all(row.passed for row in rows if row.check == check and row.name not in dict(acting))
        is_output = partial(_is_output, subject, recording, case) if agree else _is_anything
        differences = list(random_differences(held.draws, acting, is_output, len(calls) - len(wanted)))
        found.differences += [f"in {check}: {text}" for text in differences]
        if held.drew:
            found.differences.append(f"in {check} the module draws random numbers, and not by a layer that is known")
        unknown = [text for text in unknown_draws(held.draws) if f"how much {text} draws" not in found.left_out]
        found.left_out += [f"how much {text} draws, of a class that is not known" for text in unknown]


def _is_anything(name: str, draw: Draw) -> bool:
    return True


def _is_output(subject: Subject, recording: Recording, case: Case, name: str, draw: Draw) -> bool:
    """Whether a draw gave, held still, what a call in Keras did."""
    entry = next((one for one in recording.of(case.name, case.check) if one.name == name), None)
    if entry is None:
        return True
    expected, actual = recording.expected(entry), subject.to_keras(draw.value)
    limit = TOLERANCES["training"]["float64"].error
    if expected.error(actual).error <= limit:
        return True
    return (
        draw.class_name == "Dropout"
        and expected.whole
        and same_numbers(actual, expected.kept.reshape(expected.shape), limit)
    )


def _compare_modes(subject: Subject, recording: Recording, rows: Sequence[Row], found: _Findings) -> None:
    """Where a training step differs, says whether it is the module's own mode that makes the difference."""
    failed = [row for row in rows if row.check in ("training", "loss") and not row.passed]
    if not failed:
        return
    collected: Collected = {}
    cases = [case for case in recording.cases if case.check == "training"]
    for case in cases:
        with held_still(subject.model, _standing_for_random(subject, recording)):
            compare_training(subject, recording, case, collecting(collected, "float64", case))
    agree = rows_of(recording, failed[0].device, cases, collected, ("float64",))
    if all(row.passed for row in agree if row.check in ("training", "loss")):
        found.differences.append(
            "the module computes otherwise after train(), random layers held still, and as Keras does where its batch "
            "norms alone are in training mode: look at what depends on self.training"
        )


def _compare_buffers(subject: Subject, recording: Recording, asked: Asked, found: _Findings) -> None:
    case = next(case for case in recording.cases if case.check == "training")
    moved = moved_buffers(subject, network_inputs(subject, case), asked.without)
    if moved:
        found.differences.append(f"a step of training changes what is no array of Keras's: {', '.join(moved)}")


def _explanation(subject: Subject, recording: Recording, rows: Sequence[Row]) -> Explanation | None:
    """Why the first row that differs does."""
    failed = next((row for row in rows if not row.passed), None)
    if failed is None:
        return None
    with held_still(subject.model, _standing_for_random(subject, recording)):
        return explain(subject, recording, failed, rows, as_it_is=True)


def _activations_to_look_for(subject: Subject, recording: Recording, rows: Sequence[Row]) -> Iterator[str]:
    """Says which layers before the first that differs agree only with an activation that ``forward`` has to call."""
    failed = next((row for row in rows if row.check == "inference" and not row.passed), None)
    if failed is None or not any(subject.fused.values()):
        return
    plain = dataclasses.replace(subject, fused={})
    collected: Collected = {}
    with held_still(subject.model, _standing_for_random(subject, recording)):
        case = recording.cases[0]
        compare_as_it_is(plain, recording, case, collecting(collected, "float64", case))
    errors = {row.name: row.errors["float64"] for row in rows if row.check == "inference"}
    limit = TOLERANCES["inference"]["float64"].error
    for name in _compared_before(recording, failed.name, errors):
        found = collected.get(("float64", "inference", name, case.name))
        if errors[name] <= limit and found is not None and found.error > limit:
            yield f"{name} agrees where its activation is applied to it, as in Keras: is that called behind the module?"


def _compared_before(recording: Recording, name: str, compared: Collection[str]) -> list[str]:
    """The layers that were compared and that a layer reads, through others that were not."""
    found: dict[str, None] = {}
    left = [*recording.feeds.get(name, ())]
    while left:
        fed = left.pop()
        if fed in compared:
            found.setdefault(fed)
        else:
            left += recording.feeds.get(fed, ())
    return list(found)
