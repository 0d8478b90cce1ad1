"""What the gates see of known mistakes, planted one after the other in this very port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from resnet_torch.comparison.exact_runs import compare_exact_runs
from resnet_torch.comparison.explanation import explain
from resnet_torch.comparison.layer_errors import compare_inference, compare_training
from resnet_torch.comparison.mistakes import CAUSE_OF, KINDS, MISTAKES, Kind, Site, chosen_sites, planted
from resnet_torch.comparison.port_comparison import subject_for_comparison, tops_of
from resnet_torch.comparison.rows import Collected, collecting, limits_of, rows_of
from resnet_torch.comparison.subject import Subject
from resnet_torch.loading import load_model
from resnet_torch.wrappers import description_of_module, with_description
from weight_transfer.converted import read_converted
from weight_transfer.parity.exact_runs import logits_name
from weight_transfer.parity.fields import differing_fields
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.protocol import SensitivityRequest, SensitivityResult
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.parity.report import Planted, Row, layer_of
from weight_transfer.progress import OnProgress, steps

Right = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Seen:
    """What was seen of one planted mistake.

    Attributes:
        layer: Where it was seen first.
        cause: What was named as the cause.
        error: By how much it differs, at its worst; of fields and arrays, how many differ.
        gate: What that may be.
        by_float32: Whether the float32 gates would have seen it alone.
    """

    layer: str
    cause: str | None
    error: float
    gate: float
    by_float32: bool = False


def sensitivity(
    subject: Subject,
    recording: Recording,
    kinds: Iterable[str] = tuple(KINDS),
    choose: Callable[[Subject, Kind], Sequence[Site]] = chosen_sites,
) -> Iterator[Planted]:
    """Plants kind after kind and says what was seen.

    Args:
        subject: The correct port, in float64.
        recording: Of the reference.
        kinds: Keys of `KINDS`; those that this network has no place for are left out.
        choose: Of the places of a kind, those where it is planted.
    """
    right = {name: tensor.detach().cpu().numpy().copy() for name, tensor in subject.model.state_dict().items()}
    for key in kinds:
        if CAUSE_OF[key] == "preprocessing" and not _shows_preprocessing(recording):
            continue
        sites = choose(subject, KINDS[key])
        if sites:
            yield _plant_all(subject, recording, key, sites, right)


def _shows_preprocessing(recording: Recording) -> bool:
    return recording.origin.channels == 3 and any(case.raw for case in recording.cases)


def _plant_all(subject: Subject, recording: Recording, key: str, sites: Sequence[Site], right: Right) -> Planted:
    seen = located = named = by_float32 = by_top_1 = 0
    smallest, gate = float("inf"), 0.0
    for site in sites:
        broken = planted(subject, KINDS[key], site)
        found, changed_class = _look(subject, broken, recording, KINDS[key], site, right)
        by_top_1 += changed_class
        if found is None:
            smallest = 0.0
            continue
        seen += 1
        if found.error <= smallest:
            smallest, gate = found.error, found.gate
        by_float32 += found.by_float32
        here = found.layer in (site.layer, site.layer.removesuffix(logits_name("")))
        located += here
        named += here and found.cause == CAUSE_OF[key]
    layers = tuple(site.layer for site in sites)
    return Planted(key, KINDS[key].title, layers, seen, named, smallest, gate, by_float32, by_top_1, located)


def _look(
    subject: Subject, broken: Subject, recording: Recording, kind: Kind, site: Site, right: Right
) -> tuple[Seen | None, bool]:
    """Looks at what can show the mistake, the cheapest first; says too whether a picture's class changed."""
    if kind.evidence == "fields":
        return _in_fields(subject, broken), False
    rows, changed_class = _rows(broken, recording)
    if all(row.passed for row in rows):  # no image shows it
        found = _in_arrays(subject, broken, site)
        if found is not None:
            return found, changed_class
        rows += compare_exact_runs(broken, recording, steps(0, lambda share: None)).rows
    return _in_rows(broken, recording, rows, right), changed_class


def _in_fields(subject: Subject, broken: Subject) -> Seen | None:
    """What the port says otherwise than the right one does."""
    _, fields = differing_fields(*(description_of_module(one.model) for one in (subject, broken)))
    if not fields:
        return None
    causes = [cause for cause, mistake in MISTAKES.items() if fields[0].field in mistake.fields]
    return Seen(fields[0].layer, causes[0] if causes else None, float(len(fields)), 0.0)


def _in_arrays(subject: Subject, broken: Subject, site: Site) -> Seen | None:
    """The arrays that the port holds otherwise, or does not learn; the cause is what makes such of the right ones."""
    differing = _differing(subject, broken)
    if not differing:
        return None
    layer = differing[0].rpartition("/")[0]
    for key, kind in KINDS.items():
        if kind.evidence == "outputs" and site in kind.sites(subject):
            other = planted(subject, kind, site)
            if _differing(subject, other) == differing and not _differing(broken, other):
                return Seen(layer, CAUSE_OF[key], float(len(differing)), 0.0)
    return Seen(layer, None, float(len(differing)), 0.0)


def _differing(one: Subject, other: Subject) -> list[str]:
    """Keras names of the arrays that two ports hold otherwise, or that one of them alone learns."""
    ours, theirs = (subject.model.state_dict(keep_vars=True) for subject in (one, other))
    pairs = {name: (ours[row.torch], theirs[other.rows[name].torch]) for name, row in one.rows.items()}
    return [name for name, (a, b) in pairs.items() if a.requires_grad != b.requires_grad or not torch.equal(a, b)]


def _in_rows(broken: Subject, recording: Recording, rows: Sequence[Row], right: Right) -> Seen | None:
    """The first row that failed, explained."""
    failed = [row for row in rows if not row.passed]
    if not failed:
        return None
    worst = max(failed, key=lambda row: row.errors["float64"])
    by_float32 = any(
        row.errors["float64"] > limits_of("inference", row.noise)["float32"] for row in rows if row.check == "inference"
    )
    explanation = explain(broken, recording, failed[0], rows, right)
    layer = layer_of(explanation.check, explanation.layer)
    cause = None if explanation.found is None else explanation.found.cause
    return Seen(layer, cause, worst.errors["float64"], worst.limits["float64"], by_float32)


def _rows(broken: Subject, recording: Recording) -> tuple[list[Row], bool]:
    """Compares case by case, the smallest first, until one shows the mistake; and whether a picture's class changed."""
    collected: Collected = {}
    cases = sorted(
        recording.cases, key=lambda case: (case.check == "training", case.loading is not None, case.arrays[0].size)
    )
    changed_class = False
    rows: list[Row] = []
    used: list[Case] = []
    for case in cases:
        smallest_pictures = case.raw and case.check == "inference" and not any(one.raw for one in used)
        if any(not row.passed for row in rows) and not smallest_pictures:
            continue
        used.append(case)
        found = collecting(collected, "float64", case)
        if case.check == "training":
            compare_training(broken, recording, case, found)
        else:
            logits = compare_inference(broken, recording, case, found)
            changed_class |= _changes_class(broken, recording, case, logits)
        rows = rows_of(recording, "cpu", used, collected, precisions=("float64",))
    return rows, changed_class


def _changes_class(broken: Subject, recording: Recording, case: Case, logits: Sequence[torch.Tensor]) -> bool:
    expected = recording.tops.get(case.name)
    actual = tops_of(broken, logits) if expected and logits else None
    return actual is not None and any(
        one[0][0] != other[0][0] for one, other in zip(actual, expected or (), strict=True)
    )


def port_to_plant_in(port: Path, recording: Recording) -> Subject:
    """Loads a converted file, so that all of it learns, as in the reference; it says what its file says."""
    model = load_model(port, unfreeze=True)
    frozen = read_converted(port).description.frozen
    known = replace(description_of_module(model), frozen=frozen)
    return subject_for_comparison(with_description(model, known), recording, "cpu", "float64")


def plant_all(request: SensitivityRequest, on_progress: OnProgress) -> SensitivityResult:
    """Plants every kind in a port.

    Args:
        request: What to plant in which port.
        on_progress: Called with the share that is done.
    """
    recording = read_recording(request.reference)
    subject = port_to_plant_in(request.converted, recording)
    kinds = tuple(KINDS) if request.kinds is None else request.kinds
    return SensitivityResult(tuple(sensitivity(subject, recording, _told(kinds, on_progress))))


def _told(kinds: Sequence[str], on_progress: OnProgress) -> Iterator[str]:
    """Yields the kinds, and tells when each is done."""
    for number, kind in enumerate(kinds, start=1):
        yield kind
        on_progress(number / len(kinds))
