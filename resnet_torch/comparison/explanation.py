"""The first divergence, explained: known mistakes tried as hypotheses on that layer alone."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.comparison.exact_runs import drawn_arrays, drawn_inputs, replacing
from resnet_torch.comparison.hypotheses import Divergence, Hypothesis
from resnet_torch.comparison.layer_errors import network_inputs, restored, training_mode
from resnet_torch.comparison.mistakes import MISTAKES
from resnet_torch.comparison.subject import Note, Stop, Subject, Tap
from resnet_torch.conv_norm import BATCH_NORMS
from resnet_torch.inference import inference
from weight_transfer.parity.exact_runs import ExpectedDigest, input_name, logits_name
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.recording import Entry, Recording
from weight_transfer.parity.report import Explanation, Row, Trial, layer_of
from weight_transfer.parity.sketch import Expected
from weight_transfer.parity.tolerances import TOLERANCES

SHOWN_TRIALS = 12
JUMP = 10  # times the error of what feeds a layer: more than rounding grows in one
ROUNDING = 2e-14  # of a correct port in float64, and a little more: 2e-15 to 4e-15 in every layer of a ResNet-50
Right = Mapping[str, np.ndarray]


def explain(
    subject: Subject,
    recording: Recording,
    failed: Row,
    rows: Sequence[Row],
    right: Right | None = None,
    *,
    as_it_is: bool = False,
) -> Explanation:
    """Says why the first row that failed did.

    Args:
        subject: The port, in float64.
        recording: Of the reference.
        failed: The first row beyond its limit.
        rows: All rows, for the errors of what feeds the layer.
        right: What the Keras file's arrays make, by name in the state dict.
        as_it_is: Whether inference ran in whatever mode the module is in.
    """
    known = right or {}
    for row in _jumps(recording, failed, rows):
        limit = row.errors["float64"] / JUMP
        earlier = _explained(subject, recording, row, rows, limit, known, as_it_is=as_it_is)
        if earlier.found is not None:
            return earlier
    limit = 0.0 if failed.limits["float64"] == 0.0 else TOLERANCES[failed.check]["float64"].error
    return _explained(subject, recording, failed, rows, limit, known, as_it_is=as_it_is)


def _explained(
    subject: Subject,
    recording: Recording,
    row: Row,
    rows: Sequence[Row],
    limit: float,
    right: Right,
    *,
    as_it_is: bool,
) -> Explanation:
    """Tries everything on one row, until its error is within the limit."""
    tried: list[Trial] = []
    if not row.errors["float64"] <= limit:
        if row.check in ("inference", "training", "exact"):
            tried = _try_layer(subject, recording, row, limit, right, as_it_is=as_it_is)
        elif row.check in ("statistics", "local statistics"):
            tried = _try_statistics(subject, recording, row, limit)
        elif row.check == "gradient":
            tried = _try_gradient(subject, row)
    found = tried[-1] if tried and tried[-1].error <= limit else None
    best = tuple(sorted(tried, key=lambda trial: trial.error))[:SHOWN_TRIALS]
    inputs = _errors_of_inputs(recording, row, rows)
    class_name = _class_name(subject, row)
    return Explanation(row.check, row.name, class_name, row.errors["float64"], inputs, found, best, len(tried))


def _errors_of_inputs(recording: Recording, row: Row, rows: Sequence[Row]) -> dict[str, float]:
    errors = {one.name: one.errors["float64"] for one in rows if one.check == row.check}
    return {name: errors[name] for name in recording.feeds.get(row.name, ()) if name in errors}


def _jumps(recording: Recording, failed: Row, rows: Sequence[Row]) -> Iterator[Row]:
    """Earlier layers that part by less than the limit, yet by far more than rounding and than what feeds them.

    A later layer may amplify what they do to beyond the limit.
    """
    if failed.check not in ("inference", "training"):
        return
    for row in rows:
        if row.name == failed.name and row.check == failed.check:
            return
        before = max(_errors_of_inputs(recording, row, rows).values(), default=0.0)
        if row.check == failed.check and row.errors["float64"] > max(ROUNDING, JUMP * before):
            yield row


def _try_layer(
    subject: Subject, recording: Recording, row: Row, limit: float, right: Right, *, as_it_is: bool
) -> list[Trial]:
    """Tries hypotheses on inputs that show the difference; on a second batch too, should one image say too little."""
    tried: dict[tuple[str, str], Trial] = {}
    shown = (
        _exact_divergences(subject, recording, row)
        if row.check == "exact"
        else _divergences(subject, recording, row, limit, right, as_it_is=as_it_is)
    )
    with closing(shown):
        for divergence in islice(shown, 2):
            trials = _try_all(divergence, limit)
            for trial in trials:
                tried.pop((trial.cause, trial.text), None)  # the last one tried stands last
                tried[trial.cause, trial.text] = trial
            if trials and trials[-1].error <= limit:
                break
    return list(tried.values())


def _class_name(subject: Subject, failed: Row) -> str:
    tap = subject.taps.get(layer_of(failed.check, failed.name))
    if tap is None or not tap.modules:
        return "no module"
    return type(subject.model.get_submodule(_main(subject, tap))).__name__


def _main(subject: Subject, tap: Tap) -> str:
    """The module of a chain that holds the arrays, if one does."""
    modules = [path for path in tap.modules if any(True for _ in subject.model.get_submodule(path).parameters())]
    return (modules or list(tap.modules))[0]


def _try_all(divergence: Divergence, limit: float) -> list[Trial]:
    """Tries hypothesis after hypothesis until one agrees."""
    tried: list[Trial] = []
    with torch.no_grad():
        for hypothesis in _hypotheses(divergence):
            tried.append(Trial(hypothesis.cause, hypothesis.text, _error(divergence, hypothesis)))
            if tried[-1].error <= limit:
                return tried
    return tried


def _hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Everything that may be wrong with a layer, mistake by mistake."""
    for cause, mistake in MISTAKES.items():
        for recognise in mistake.hypotheses:
            yield from (hypothesis for hypothesis in recognise(divergence) if hypothesis.cause == cause)


def _error(divergence: Divergence, hypothesis: Hypothesis) -> float:
    try:
        output = hypothesis.output()
    except (RuntimeError, ValueError, IndexError):  # a kernel that does not fit, a tensor of another rank
        return float("inf")
    if isinstance(output, float):
        return output
    return divergence.expected.error(divergence.subject.to_keras(output)).error


def _cases(recording: Recording, row: Row) -> list[tuple[Case, Entry]]:
    """The inputs of a row: first a raw picture, which shows how the input is prepared, then the largest batch."""
    found = [
        (case, entry)
        for case in recording.cases
        for entry in recording.of(case.name, row.check)
        if entry.name == row.name
    ]
    first, *rest = sorted(found, key=lambda pair: not pair[0].raw)
    return [first, *sorted(rest, key=lambda pair: -pair[1].shape[0])]


def _divergences(
    subject: Subject, recording: Recording, row: Row, limit: float, right: Right, *, as_it_is: bool
) -> Generator[Divergence]:
    """Runs the port up to the layer, on one batch after another that shows the difference."""
    tap = subject.taps.get(row.name)
    if tap is None:
        return
    training = row.check == "training"
    feeds = recording.feeds.get(row.name, ())
    for case, entry in _cases(recording, row):
        given = network_inputs(subject, case)
        outputs: dict[str, Tensor] = {}
        with _mode(subject.model, training=training, as_it_is=as_it_is):
            fed = _run_until(subject, tap, row.name, given, outputs)
        if row.name not in outputs:
            continue
        expected = recording.expected(entry)
        if expected.error(subject.to_keras(outputs[row.name])).error <= limit:
            continue
        inputs = _read(subject, row.name, fed, feeds, outputs)
        if not inputs:
            continue  # nothing that feeds it has a name here
        yield Divergence(
            subject=subject,
            layer=row.name,
            paths=tap.modules,
            inputs=inputs,
            actual=outputs[row.name],
            expected=expected,
            fed={name: outputs[name] for name in feeds if name in outputs},
            case=case,
            network_inputs=given,
            training=training,
            right=right,
            before=_before(subject, recording, row.name),
        )


def _exact_divergences(subject: Subject, recording: Recording, row: Row) -> Generator[Divergence]:
    """Runs one exact round after another in which the layer differs; the port has that round's arrays meanwhile."""
    tap, runs = subject.taps.get(row.name), recording.exact_runs
    if tap is None or runs is None:
        return
    feeds = runs.reads[row.name]
    entries = {entry.case: entry for entry in recording.entries if (entry.check, entry.name) == ("exact", row.name)}
    for one in runs.rounds:
        if row.name in one.digests:
            expected: Expected | ExpectedDigest = runs.expected(one, row.name)
        elif one.name in entries:
            expected = recording.expected(entries[one.name])
        else:
            continue
        given = drawn_inputs(subject, runs, one)
        outputs: dict[str, Tensor] = {input_name(number): tensor for number, tensor in enumerate(given)}
        with _mode(subject.model, training=False), drawn_arrays(subject, runs, one):
            try:
                fed = _run_until(subject, tap, row.name, given, outputs, replacing(subject, runs, one))
            except RuntimeError:  # an earlier layer does not take this size
                continue
            if row.name not in outputs or expected.error(subject.to_keras(outputs[row.name])).error == 0.0:
                continue
            read = {name: outputs[name] for name in feeds if name in outputs}
            inputs = _read(subject, row.name, fed, feeds, outputs)
            if inputs:
                yield Divergence(
                    subject=subject,
                    layer=row.name,
                    paths=tap.modules,
                    inputs=inputs,
                    actual=outputs[row.name],
                    expected=expected,
                    fed=read,
                    case=Case(one.name, (), raw=False),
                    network_inputs=given,
                    training=False,
                )


def _read(
    subject: Subject, layer: str, fed: tuple[Tensor, ...], feeds: Sequence[str], outputs: Mapping[str, Tensor]
) -> tuple[Tensor, ...]:
    """What a layer was fed: its first module; without one, or where the port ends otherwise, what Keras feeds it."""
    if layer in subject.endings and logits_name(layer) in outputs:
        return (outputs[logits_name(layer)],)
    return fed if subject.taps[layer].modules else tuple(outputs[name] for name in feeds if name in outputs)


def _before(subject: Subject, recording: Recording, layer: str) -> tuple[nn.Module, ...] | None:
    """The modules between the network's input and a layer; None where they branch, or hold parameters."""
    feeds = recording.feeds.get(layer, ())
    if not feeds:
        return ()
    tap = subject.taps.get(feeds[0])
    modules = tuple(subject.model.get_submodule(path) for path in tap.modules) if tap else ()
    if len(feeds) > 1 or any(True for module in modules for _ in module.parameters()):
        return None
    earlier = _before(subject, recording, feeds[0])
    return None if earlier is None else (*earlier, *modules)


def _run_until(
    subject: Subject,
    tap: Tap,
    name: str,
    given: Sequence[Tensor],
    outputs: dict[str, Tensor],
    replaced: Note = lambda layer, output: None,
) -> tuple[Tensor, ...]:
    """Runs up to a layer; keeps what the layers behind each tap read, and returns what its first module was fed."""

    def note(layer: str, output: Tensor) -> Tensor | None:
        outputs[layer] = output.detach().clone()
        if layer == name:
            raise Stop
        probe = replaced(layer, output)
        if probe is not None:
            outputs[layer] = probe
        return probe

    fed = _fed(subject, tap.modules[0] if tap.modules else None, given, note)
    return fed[min(tap.call, len(fed) - 1)] if fed else ()


def _fed(
    subject: Subject, path: str | None, given: Sequence[Tensor], note: Note = lambda layer, output: None
) -> list[tuple[Tensor, ...]]:
    """What a module was fed in a run, call by call: a shared layer has several."""
    fed: list[tuple[Tensor, ...]] = []
    if path is None:
        subject.run(given, note)
        return fed
    module = subject.model.get_submodule(path)
    handle = module.register_forward_pre_hook(lambda _module, inputs: fed.append(_clones(inputs)))
    try:
        subject.run(given, note)
    finally:
        handle.remove()
    return fed


def _clones(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(x.detach().clone() if isinstance(x, Tensor) else x for x in inputs)


@contextmanager
def _mode(model: nn.Module, *, training: bool, as_it_is: bool = False) -> Iterator[None]:
    """The mode that a check runs in, without gradients; the statistics are put back."""
    mode = training_mode(model) if training else nullcontext() if as_it_is else inference(model)
    with restored(model), mode, torch.no_grad():
        yield


def _try_statistics(subject: Subject, recording: Recording, failed: Row, limit: float) -> list[Trial]:
    """Runs the one batch norm's step by other rules, on what it was fed in the network's."""
    tap, row = subject.taps.get(layer_of(failed.check, failed.name)), subject.rows.get(failed.name)
    if tap is None or row is None:
        return []
    path, _, statistic = row.torch.rpartition(".")
    norm = subject.model.get_submodule(path)
    tried: list[Trial] = []
    if not isinstance(norm, BATCH_NORMS):
        return tried
    for moved in _moves(subject, recording, failed):
        with moved.arrays:
            with _mode(subject.model, training=True):
                fed = _fed(subject, path, moved.given, moved.replaced)
            with _mode(subject.model, training=True):
                for cause, text, changed, calls in _moved_otherwise(norm, fed):
                    for one in calls:
                        changed(*one)
                    value = row.to_keras(getattr(changed, statistic).cpu().numpy())
                    tried.append(Trial(cause, text, moved.expected.error(value).error))
                    if tried[-1].error <= limit:
                        return tried
    return tried


@dataclass(frozen=True)
class _Moved:
    """One training step in which statistics moved.

    Attributes:
        expected: Where Keras's are afterwards.
        given: The network's inputs.
        replaced: What layers read in place of what those before them gave.
        arrays: Gives the port the arrays of the step.
    """

    expected: Expected
    given: Sequence[Tensor]
    replaced: Note
    arrays: AbstractContextManager[None]


def _moves(subject: Subject, recording: Recording, failed: Row) -> Iterator[_Moved]:
    """The steps of a row: of batches of inputs, or that of exact runs."""
    runs = recording.exact_runs
    if failed.check == "statistics" or runs is None:
        for case, entry in _cases(recording, failed):
            yield _Moved(
                recording.expected(entry), network_inputs(subject, case), lambda layer, output: None, nullcontext()
            )
        return
    for one in (one for one in runs.rounds if one.is_training_step):
        for entry in (entry for entry in recording.of(one.name, failed.check) if entry.name == failed.name):
            yield _Moved(
                recording.expected(entry),
                drawn_inputs(subject, runs, one),
                replacing(subject, runs, one),
                drawn_arrays(subject, runs, one),
            )


def _moved_otherwise(norm: nn.Module, fed: Sequence[Any]) -> Iterator[tuple[str, str, nn.Module, Sequence[Any]]]:
    """Copies of a batch norm with another rule, and its calls; the right one with its calls in another order."""
    for mistake in MISTAKES.values():
        for recognise in mistake.statistics:
            for cause, text, change in recognise(norm):
                if MISTAKES[cause] is mistake:
                    changed = copy.deepcopy(norm)
                    change(changed)
                    yield cause, text, changed, fed
    if len(fed) > 1:
        yield "call order", "its calls in the other order", copy.deepcopy(norm), tuple(reversed(fed))


def _try_gradient(subject: Subject, failed: Row) -> list[Trial]:
    """Asks each mistake whether the parameter's gradient differs because of it."""
    row = subject.rows.get(failed.name)
    parameter = None if row is None else dict(subject.model.named_parameters()).get(row.torch)
    if row is None or parameter is None:
        return []
    said = {cause: says(parameter, row.torch) for cause, one in MISTAKES.items() for says in one.gradients}
    return [Trial(cause, text, 0.0) for cause, text in said.items() if text is not None]
