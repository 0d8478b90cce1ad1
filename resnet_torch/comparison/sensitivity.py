"""What the gates see of known mistakes, planted one after the other in this very port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from resnet_torch.comparison.comparing import subject_for_comparison, tops_of
from resnet_torch.comparison.exact_runs import compare_exact_runs
from resnet_torch.comparison.explaining import explain
from resnet_torch.comparison.measuring import compare_inference, compare_training
from resnet_torch.comparison.mistakes import MISTAKES, Mistake, Site, chosen_sites, planted
from resnet_torch.comparison.rows import Collected, collecting, limits_of, rows_of
from resnet_torch.comparison.subject import Subject
from resnet_torch.loading import load_model
from weight_transfer.parity.exact_runs import logits_name
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.progress import OnProgress, steps
from weight_transfer.parity.protocol import SensitivityRequest, SensitivityResult
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.parity.report import Planted, Row, layer_of


def sensitivity(subject: Subject, recording: Recording, kinds: Iterable[str] = tuple(MISTAKES)) -> Iterator[Planted]:
    """Plants kind after kind and says what was seen.

    Args:
        subject: The correct port, in float64.
        recording: Of the reference.
        kinds: Keys of `MISTAKES`; those that this network has no place for are left out.
    """
    right = {name: tensor.detach().cpu().numpy().copy() for name, tensor in subject.model.state_dict().items()}
    for kind in kinds:
        mistake = MISTAKES[kind]
        if mistake.cause == "preprocessing" and not _shows_preprocessing(recording):
            continue
        sites = chosen_sites(subject, mistake)
        if sites:
            yield _plant_all(subject, recording, kind, mistake, sites, right)


def _shows_preprocessing(recording: Recording) -> bool:
    return recording.origin.channels == 3 and any(case.raw for case in recording.cases)


def _plant_all(
    subject: Subject, recording: Recording, kind: str, mistake: Mistake, sites: Sequence[Site], right: Any
) -> Planted:
    seen = named = by_float32 = by_top_1 = 0
    smallest, gate = float("inf"), 0.0
    for site in sites:
        broken = planted(subject, mistake, site)
        rows, changed_class = _rows(broken, recording)
        by_top_1 += changed_class
        failed = next((row for row in rows if not row.passed), None)
        if failed is None:
            smallest = 0.0
            continue
        seen += 1
        worst = max((row for row in rows if not row.passed), key=lambda row: row.errors["float64"])
        if worst.errors["float64"] <= smallest:
            smallest, gate = worst.errors["float64"], worst.limits["float64"]
        inference = [row for row in rows if row.check == "inference"]
        by_float32 += any(row.errors["float64"] > limits_of("inference", row.noise)["float32"] for row in inference)
        explanation = explain(broken, recording, failed, rows, right)
        named += explanation.found is not None and (
            explanation.found.cause == mistake.cause
            and layer_of(explanation.check, explanation.layer) in (site.layer, site.layer.removesuffix(logits_name("")))
        )
    layers = tuple(site.layer for site in sites)
    return Planted(kind, mistake.title, layers, seen, named, smallest, gate, by_float32, by_top_1)


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
    if all(row.passed for row in rows):  # no image shows it
        rows += compare_exact_runs(broken, recording, steps(0, lambda share: None)).rows
    return rows, changed_class


def _changes_class(broken: Subject, recording: Recording, case: Case, logits: Sequence[torch.Tensor]) -> bool:
    expected = recording.tops.get(case.name)
    actual = tops_of(broken, logits) if expected and logits else None
    return actual is not None and any(
        one[0][0] != other[0][0] for one, other in zip(actual, expected or (), strict=True)
    )


def plant_all(request: SensitivityRequest, on_progress: OnProgress) -> SensitivityResult:
    """Plants every kind in a port.

    Args:
        request: What to plant in which port.
        on_progress: Called with the share that is done.
    """
    recording = read_recording(request.reference)
    subject = subject_for_comparison(load_model(request.converted, unfreeze=True), recording, "cpu", "float64")
    kinds = tuple(MISTAKES) if request.kinds is None else request.kinds
    return SensitivityResult(tuple(sensitivity(subject, recording, _told(kinds, on_progress))))


def _told(kinds: Sequence[str], on_progress: OnProgress) -> Iterator[str]:
    """Yields the kinds, and tells when each is done."""
    for number, kind in enumerate(kinds, start=1):
        yield kind
        on_progress(number / len(kinds))
