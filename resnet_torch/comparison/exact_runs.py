"""The port's side of exact runs: the same integers through the same layers, bit for bit the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet_torch.comparison.layer_errors import Found, restored, training_mode
from resnet_torch.comparison.rows import Collected, collecting, rows_of
from resnet_torch.comparison.subject import Note, Subject
from resnet_torch.imported import without_chance
from resnet_torch.inference import inference
from weight_transfer.parity.error import TapError
from weight_transfer.parity.exact_runs import ArrayDraw, ExactRuns, Round, input_name, logits_name
from weight_transfer.parity.memory import free_memory
from weight_transfer.parity.recording import Entry, Recording
from weight_transfer.parity.report import Check, FieldDifference, Row
from weight_transfer.parity.tolerances import TOLERANCES

Reads = dict[str, frozenset[str]]  # by layer output, the layer outputs and inputs that its value is computed from


def compare_exact(subject: Subject, recording: Recording, runs: ExactRuns, one: Round, found: Found) -> None:
    """Compares every layer's output of one round: bit for bit where Keras rounds nothing.

    Args:
        subject: The port, in float64, with the round's arrays.
        recording: Of the reference.
        runs: What the recording holds of exact runs.
        one: The round.
        found: Called with each comparison: the error is 0 where all bits agree.
    """
    entries = {entry.name: entry for entry in recording.of(one.name, "exact")}
    replaced = replacing(subject, runs, one)

    def note(name: str, output: Tensor) -> Tensor | None:
        if name not in runs.reads:
            return None
        array = subject.to_keras(output)
        if name in one.digests:
            found("exact", name, runs.expected(one, name).error(array))
        elif name in entries:
            found("exact", name, recording.expected(entries[name]).error(array))
        return replaced(name, output)

    model = subject.model
    with restored(model), inference(model), without_chance(model):
        try:
            subject.run(drawn_inputs(subject, runs, one), note)
        except RuntimeError as error:
            # Keras takes this size. What was not reached differs from what Keras gives there.
            if isinstance(error, torch.OutOfMemoryError) or "allocate" in str(error):
                raise


def compare_local_step(
    subject: Subject, recording: Recording, runs: ExactRuns, one: Round, found: Found, *, training: bool
) -> Reads:
    """Compares one training step in which every layer has inputs and cotangents of its own, so that each gradient is
    its own layer's.

    Args:
        subject: The port, in float64; with the round's arrays, where it is compared.
        recording: Of the reference.
        runs: What the recording holds of exact runs.
        one: The round.
        found: Called with each comparison.
        training: Whether to compare anything; else this only shows what each output is computed from.

    Returns:
        What each output was computed from, as autograd has it.
    """
    model = subject.model
    step = recording.entries if training else ()
    entries = {(entry.check, entry.name): entry for entry in step if entry.case == one.name}
    probes: dict[str, Tensor] = {}
    reads: Reads = {}
    state = dict(model.state_dict(keep_vars=True))
    arrays = _arrays_by_module(subject, entries)
    num_outputs = Counter(path for tap in subject.taps.values() for path in tap.modules)

    def compared_at_once(name: str) -> None:
        """The gradients of the modules that compute this output and no other, which make room for the next."""
        tap = subject.taps.get(name.removesuffix(logits_name("")))
        for path in () if tap is None else tap.modules:
            for array in arrays[path] if num_outputs[path] == 1 else ():
                tensor = state[subject.rows[array].torch]
                if tensor.grad is not None:
                    gradient = _after_step(subject, state, probes, "local gradient", array)
                    found("local gradient", array, recording.expected(entries["local gradient", array]).error(gradient))
                    tensor.grad = None
                    compared.add(array)

    compared: set[str] = set()

    def leaf(name: str, tensor: Tensor) -> Tensor:
        probes[name] = tensor.requires_grad_()
        return tensor.clone()  # which an operation may change in place

    def note(name: str, output: Tensor) -> Tensor | None:
        if name not in runs.reads:
            return None
        reads[name] = _leaves(output, probes)
        array = subject.to_keras(output)
        if ("local output", name) in entries:
            found("local output", name, recording.expected(entries["local output", name]).error(array))
        if training and output.requires_grad:  # of a port with other names it may not be
            # At once, which frees what lies behind it; kept while it runs, for two outputs may share an unnamed value.
            cotangent = subject.from_keras(runs.cotangent(one, name, array.shape))
            torch.autograd.backward(output, cotangent.to(output.dtype), retain_graph=True)
            compared_at_once(name)
        return leaf(name, subject.from_keras(runs.probe(one, name, array.shape)))

    with restored(model), training_mode(model), _learning(subject):
        given = [leaf(input_name(number), x) for number, x in enumerate(drawn_inputs(subject, runs, one))]
        model.zero_grad()
        subject.run(given, note)
        for (check, name), entry in entries.items():
            if name in compared and state[subject.rows[name].torch].grad is None:
                continue
            if check in ("local gradient", "local statistics"):
                array = _after_step(subject, state, probes, check, name)
                found(check, name, recording.expected(entry).error(array))
        model.zero_grad()
    return reads


def _arrays_by_module(subject: Subject, entries: Iterable[tuple[Check, str]]) -> Mapping[str, Sequence[str]]:
    """By the path of a module, its arrays of which a gradient is to be compared."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for check, name in entries:
        if check == "local gradient" and name in subject.rows:
            found[subject.rows[name].torch.rpartition(".")[0]].append(name)
    return found


def _after_step(
    subject: Subject, state: Mapping[str, Tensor], probes: Mapping[str, Tensor], check: str, name: str
) -> np.ndarray[Any, Any]:
    """A gradient or a statistic in Keras's layout; an empty array where there is none."""
    probe, row = probes.get(name.removesuffix("/output")), subject.rows.get(name)
    if check == "local gradient" and row is None:
        return np.empty(0) if probe is None or probe.grad is None else subject.to_keras(probe.grad)
    if row is None or row.torch not in state:
        return np.empty(0)
    tensor = state[row.torch]
    value = tensor.grad if check == "local gradient" else tensor
    return row.to_keras((torch.zeros_like(tensor) if value is None else value).detach().cpu().numpy())


def drawn_inputs(subject: Subject, runs: ExactRuns, one: Round) -> list[Tensor]:
    """Returns a round's inputs as the port takes them."""
    names = ((input_name(number), shape) for number, shape in enumerate(one.inputs))
    return [subject.from_keras(runs.probe(one, name, shape)) for name, shape in names]


def replacing(subject: Subject, runs: ExactRuns, one: Round) -> Note:
    """Returns what puts a round's probes in the place of the outputs that both sides name."""

    def note(name: str, output: Tensor) -> Tensor | None:
        if name not in runs.reads:
            return None
        return subject.from_keras(runs.probe(one, name, subject.to_keras(output).shape))

    return note


def _leaves(output: Tensor, probes: Mapping[str, Tensor]) -> frozenset[str]:
    """The probes that a tensor was computed from."""
    names = {id(tensor): name for name, tensor in probes.items()}
    found: set[str] = set()
    waiting: list[Any] = [output.grad_fn]
    met: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in met:
            continue
        met.add(node)
        variable = getattr(node, "variable", None)  # of a node that accumulates a leaf's gradient
        if variable is not None and id(variable) in names:
            found.add(names[id(variable)])
        waiting += [following for following, _ in node.next_functions]
    return frozenset(found)


@contextmanager
def drawn_arrays(subject: Subject, runs: ExactRuns, one: Round, *, restore: bool = True) -> Iterator[None]:
    """Gives the port the arrays of a round, which are those of every round of its regime, through the mapping of its
    weights; its own are put back afterwards.
    """
    state = subject.model.state_dict(keep_vars=True)
    kept: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for draw in _known(subject, runs.arrays):
                row = subject.rows[draw.name]
                tensor = state[row.torch]
                if restore:
                    kept[row.torch] = tensor.detach().clone()
                tensor.copy_(torch.from_numpy(row.to_torch(runs.array(one.regime, draw))))
        yield
    finally:
        with torch.no_grad():
            for name, values in kept.items():
                state[name].copy_(values)


def _known(subject: Subject, arrays: Sequence[ArrayDraw]) -> Iterator[ArrayDraw]:
    """The arrays that the port has, in the shape that Keras has them in."""
    for draw in arrays:
        row = subject.rows.get(draw.name)
        if row is not None and row.shape == draw.shape:
            yield draw


@contextmanager
def _learning(subject: Subject) -> Iterator[None]:
    """Lets every parameter learn meanwhile."""
    before = {parameter: parameter.requires_grad for parameter in subject.model.parameters()}
    try:
        for parameter in before:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, learns in before.items():
            parameter.requires_grad_(learns)


@dataclass(frozen=True)
class ExactComparison:
    """What exact runs found.

    Attributes:
        rows: One for each layer output, over all rounds; then those of the training step.
        wiring: Outputs that are not computed from what they are in Keras.
        num_wired: Outputs whose inputs were compared.
        untraced: Outputs of which autograd does not show what they are computed from, or for which Keras gives no
            number on any numbers drawn.
    """

    rows: tuple[Row, ...]
    wiring: tuple[FieldDifference, ...]
    num_wired: int
    untraced: tuple[str, ...]


def compare_exact_runs(
    subject: Subject, recording: Recording, progress: Iterator[None], *, training: bool = True, restore: bool = True
) -> ExactComparison:
    """Compares all rounds that a recording holds.

    Args:
        subject: The port, in float64.
        recording: Of the reference.
        progress: Asked for the next after each round.
        training: Whether to compare the training step; without it, autograd shows what each output is computed from,
            and nothing else of it is looked at.
        restore: Whether the port's own arrays are put back afterwards, for which they are kept.
    """
    runs = recording.exact_runs
    if runs is None:
        return ExactComparison((), (), 0, ())
    collected: Collected = {}
    reads: Reads = {}
    for _, rounds in groupby(runs.rounds, key=lambda one: one.regime):
        first, *others = rounds
        # What an output is computed from, autograd shows whatever the arrays are.
        only_wiring = first.is_training_step and not training
        with nullcontext() if only_wiring else drawn_arrays(subject, runs, first, restore=restore):
            for one in (first, *others):
                found = collecting(collected, "float64", one)
                if one.is_training_step:
                    free_memory()
                    reads = compare_local_step(subject, recording, runs, one, found, training=training)
                else:
                    compare_exact(subject, recording, runs, one, found)
                next(progress)
    steps = [one for one in runs.rounds if one.is_training_step and training]
    rows = (*_exact_rows(recording, runs, collected), *rows_of(recording, "cpu", steps, collected))
    differing, untraced, shown = [], [], {row.name for row in rows if row.check == "exact"}
    for name, expected in runs.reads.items():
        actual = reads.get(name, frozenset())
        if not actual <= set(expected):
            differing.append(FieldDifference(name, "computed from", ", ".join(expected), ", ".join(sorted(actual))))
        elif actual != set(expected) or name not in shown:
            untraced.append(name)
    return ExactComparison(rows, tuple(differing), len(runs.reads), tuple(untraced))


def _exact_rows(recording: Recording, runs: ExactRuns, collected: Collected) -> Iterator[Row]:
    """One row for each layer output: the worst of all rounds, which must be no difference where nothing rounds."""
    tolerance = TOLERANCES["exact"]["float64"].error
    entries: dict[str, list[Entry]] = {}
    run = {one.name for one in runs.rounds}
    for entry in recording.entries:
        if entry.check == "exact" and entry.case in run:
            entries.setdefault(entry.name, []).append(entry)
    missing = TapError(float("inf"), 1.0, ())
    for name in runs.reads:
        rounds = [entry.case for entry in entries.get(name, ())]
        rounds += [one.name for one in runs.rounds if name in one.digests]
        errors = [collected.get(("float64", "exact", name, one), missing) for one in rounds]
        if not errors:
            continue
        worst = max(errors, key=lambda error: error.error)
        peak = max((entry.peak for entry in entries.get(name, ())), default=1.0)
        limit = tolerance if name in entries else 0.0
        shape = errors[0].shape
        yield Row("exact", name, "cpu", shape, peak, {"float64": worst.error}, {"float64": limit}, None, worst.where)
