"""The rows of a comparison: of every tensor the worst error over all inputs, beside what it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resnet_torch.comparison.layer_errors import Found
from weight_transfer.parity.error import TapError
from weight_transfer.parity.exact_runs import Round
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.recording import Entry, Recording
from weight_transfer.parity.report import OWNER_CHECKS, Check, Row
from weight_transfer.parity.tolerances import TOLERANCES

PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("float64", "float32"),
    "cuda": ("float64", "float32", "tf32", "bfloat16"),
}
Collected = dict[tuple[str, str, str, str], TapError]  # by precision, check, name, case


def collecting(collected: Collected, precision_name: str, case: Case | Round) -> Found:
    """Returns what puts each error of one run among those collected."""

    def found(check: Check, name: str, error: TapError) -> None:
        collected[precision_name, check, name, case.name] = error

    return found


def rows_of(
    recording: Recording,
    device: str,
    cases: Sequence[Case | Round],
    collected: Collected,
    precisions: Sequence[str] | None = None,
    *,
    owners: bool = False,
) -> list[Row]:
    """Returns one row per check and name, the worst of some inputs, in the recording's order.

    Args:
        recording: What was compared with.
        device: Where.
        cases: Which inputs.
        collected: The errors found.
        precisions: In which inference was compared, by default all of the device.
        owners: Whether the owner's own calls were compared, or everything else.
    """
    names = {case.name for case in cases}
    by_row: dict[tuple[Check, str], list[Entry]] = {}
    for entry in recording.entries:
        if entry.case in names and (entry.check in OWNER_CHECKS) == owners:
            by_row.setdefault((entry.check, entry.name), []).append(entry)
    taps = [name for check, name in by_row if check == "inference"]
    logits = taps[-2] if len(taps) > 1 else taps[-1] if taps else ""  # the last before the output
    rows = []
    for (check, name), entries in by_row.items():
        compared: Sequence[str] = ("float32",) if check in OWNER_CHECKS else ("float64",)
        if check == "inference":
            compared = precisions or PRECISIONS[device]
        rows.append(_row(check, name, device, entries, collected, compared, at_the_logits=name == logits))
    return rows


def _row(
    check: Check,
    name: str,
    device: str,
    entries: Sequence[Entry],
    collected: Collected,
    precisions: Sequence[str],
    *,
    at_the_logits: bool,
) -> Row:
    noises = [entry.noise for entry in entries if entry.noise is not None]
    noise = max(noises) if noises else None
    missing = TapError(float("inf"), 0.0, ())  # what the port lacks is infinitely far off
    worst = {
        precision_name: max(
            (collected.get((precision_name, check, name, entry.case), missing) for entry in entries),
            key=lambda error: error.error,
        )
        for precision_name in precisions
    }
    limits = limits_of(check, noise, at_the_logits=at_the_logits)
    return Row(
        check=check,
        name=name,
        device=device,
        shape=entries[0].shape,
        peak=max(entry.peak for entry in entries),
        errors={precision_name: error.error for precision_name, error in worst.items()},
        limits={precision_name: limit for precision_name, limit in limits.items() if precision_name in worst},
        noise=noise,
        where=worst[precisions[0]].where,
    )


def limits_of(check: Check, noise: float | None, *, at_the_logits: bool = False) -> dict[str, float]:
    """Returns what an error may be by precision, of a tensor whose float32 reference has this error itself."""
    tolerances = TOLERANCES[check].items()
    return {name: tolerance.limit(noise, at_the_logits=at_the_logits) for name, tolerance in tolerances}
