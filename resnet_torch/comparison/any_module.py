"""Anybody's module against a recording: all that it can be compared in, and what could not be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from torch import nn

from resnet_torch.comparison.arrays import array_differences, moved_buffers, unfreeze_as_recorded, variance_differences
from resnet_torch.comparison.explanation import explain
from resnet_torch.comparison.given_reference import ALONE, CUT_TO
from resnet_torch.comparison.layer_errors import (
    compare_as_it_is,
    compare_training,
    network_inputs,
    own_training_mode,
    precision,
)
from resnet_torch.comparison.memory_layouts import layout_difference
from resnet_torch.comparison.named_layers import (
    Asked,
    check_without,
    layers_with_arrays,
    network_of,
    only_what_both_name,
    standing_for_random,
    subject_of_any,
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
from resnet_torch.comparison.subject import Subject
from weight_transfer.errors import SHOWN_AT_MOST
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.recording import Recording
from weight_transfer.parity.report import Explanation, Row
from weight_transfer.parity.tolerances import TOLERANCES

DTYPES_COMPARED = ("float64", "float32")
OF_EARLIER_VERSIONS = (
    "which arrays there are, which layers are random, which sizes are free: the recording, of an earlier version, does "
    "not say. Record it again: weight-transfer record"
)


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
    check_without(whole, asked)
    subjects = {name: subject_of_any(model, whole, asked, name) for name in DTYPES_COMPARED}
    subject = subjects["float64"]
    recording, unnamed = only_what_both_name(subject, whole, asked)
    found = _Findings(left_out=[f"{name}: on purpose" for name in asked.without])
    _note_left_out(subject, whole, asked, found)
    network = whole.origin.network
    norms: list[nn.Module] = []
    if asked.training and not asked.outputs_only:
        found.left_out += [] if network else [OF_EARLIER_VERSIONS]
        found.differences += array_differences(subject, network_of(whole), asked.without, complete=network is not None)
        if network is not None:
            found.differences += variance_differences(model, subject, network, asked.without)
    if network is not None:
        norms = unfreeze_as_recorded(subject, network)
    mode = partial(own_training_mode, norms=norms)
    _run_all(subjects, recording, found, mode)
    rows = _rows(subjects, recording, found)
    taken = tuple(case for case in recording.cases if case.name not in found.refused)
    shown = [case for case in taken if case.check == "inference"]
    random = standing_for_random(subject, recording)
    if difference := layout_difference(subject, recording, shown, random, found.collected):
        found.differences.append(difference)
    _compare_draws(subject, whole, asked, rows, found)
    if asked.training:
        _compare_modes(subject, recording, rows, found)
        if not asked.outputs_only:
            _compare_buffers(subject, recording, asked, found)
    found.differences += _differs_in_float32_alone(rows)
    for_some_inputs = _cases_that_differ(rows, recording, found)
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


def _note_left_out(subject: Subject, recording: Recording, asked: Asked, found: _Findings) -> None:
    if asked.outputs_only:
        found.left_out.append("every layer and every array: outputs_only=True")
    elif not asked.training:
        unseen = [name for name in layers_with_arrays(recording) if name not in {*subject.taps, *asked.without}]
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
            with precision(name), held_still(subject.model, standing_for_random(subject, recording)) as held:
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


def _rows(subjects: Mapping[str, Subject], recording: Recording, found: _Findings) -> tuple[Row, ...]:
    """The rows, without those of modules that are never called, and of what proves nothing in Keras either."""
    device = subjects["float64"].placed.device.type
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


def _differs_in_float32_alone(rows: Sequence[Row]) -> Iterator[str]:
    """Says so of the first layer that differs, where that is how it is."""
    failed = next((row for row in rows if not row.passed), None)
    if failed is not None and failed.errors["float64"] <= failed.limits["float64"]:
        yield f"{failed.name} differs in float32 alone, by {failed.errors['float32']:.1e} of the peak"


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
        with held_still(subject.model, standing_for_random(subject, recording)):
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
    with held_still(subject.model, standing_for_random(subject, recording)):
        return explain(subject, recording, failed, rows, as_it_is=True)


def _activations_to_look_for(subject: Subject, recording: Recording, rows: Sequence[Row]) -> Iterator[str]:
    """Says which layers before the first that differs agree only with an activation that ``forward`` has to call."""
    failed = next((row for row in rows if row.check == "inference" and not row.passed), None)
    if failed is None or not any(subject.fused.values()):
        return
    plain = dataclasses.replace(subject, fused={})
    collected: Collected = {}
    with held_still(subject.model, standing_for_random(subject, recording)):
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
