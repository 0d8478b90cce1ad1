"""What the page says in words: the verdict, and what stands out of each check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weight_transfer.parity.causes import CAUSES
from weight_transfer.parity.groups import CHECKS, Group, devices, gated, precisions, worst_of
from weight_transfer.parity.report import LAYER_CHECKS, OWNER_CHECKS, Explanation, Planted, Prediction, Verification
from weight_transfer.parity.verdict_text import same_function, what_is_missing
from weight_transfer.report.formats import limit, number

OWN_FLOAT32 = "Keras\u2019s own float32"
INCOMPARABLE = "another shape or no number"  # an infinite error
LEAST_SCORE = 5e-5  # of a probability that four decimals show


@dataclass(frozen=True)
class Evidence:
    """One of the five kinds of evidence, and what was found of it.

    Attributes:
        title: In a few words.
        text: What it shows.
        counted: Of what is counted and not measured: what it is, how many agree, of how many.
        groups: The rows of its checks.
        missing: What of it there is not, in words; empty where there is all of it.
    """

    title: str
    text: str
    counted: tuple[tuple[str, int, int], ...] = ()
    groups: tuple[Group, ...] = ()
    missing: str = ""


def evidence(found: Verification, together: Sequence[Group]) -> list[Evidence]:
    """Returns the five kinds of evidence, in the order in which they say most of every input.

    Args:
        found: The verification.
        together: Its rows by check and device.
    """
    by_itself = tuple(group for group in together if group.check in LAYER_CHECKS)
    owners = tuple(group for group in together if group.check in OWNER_CHECKS)
    images = tuple(group for group in together if group.check not in LAYER_CHECKS | OWNER_CHECKS)
    fields = ("fields", found.fields_total - len(found.fields_differing), found.fields_total)
    wired = found.wiring_total - len(found.wiring_differing)
    wiring = ("outputs computed from the same ones", wired, found.wiring_total)
    return [
        Evidence(
            "Description",
            "What the port says of each layer, field by field, against what its file says.",
            (fields,) if found.fields_total else (),
            missing="" if found.fields_total else "What the file says was not recorded.",
        ),
        Evidence(
            "Arrays",
            "Every array that was read, against the one that the port holds.",
            (("arrays bit for bit the same", found.weights_equal, found.weights_total),),
        ),
        Evidence(
            "Wiring and exact runs",
            "What each output is computed from; each layer by itself on numbers that round nothing: no bit may differ.",
            (wiring,) if found.wiring_total else (),
            by_itself,
            f"Left out by --quick: {'; '.join(found.left_out)}." if found.left_out else _not_there(by_itself),
        ),
        Evidence(
            "The owner\u2019s own model",
            "The model as its Keras loads it, called and trained as its owner does, in its own precision.",
            groups=owners,
            missing=_not_there(owners),
        ),
        Evidence(
            "Photographs",
            "The whole network on images, layer by layer, and a training step.",
            groups=images,
            missing=_not_there(images),
        ),
    ]


def _not_there(rows: Sequence[Group]) -> str:
    return "" if rows else "Not part of this verification; what was compared says why."


def sentence(found: Verification) -> str:
    """Returns the verdict in one sentence, with the worst errors."""
    return "; ".join(part for part in (_agreement(found), _worst(found)) if part) + "." + _shown_by(found)


def _shown_by(found: Verification) -> str:
    """What makes it more than a comparison of samples."""
    return f" The same function {same_function(found)}" if found.verdict == "SAME FUNCTION" else ""


def _agreement(found: Verification) -> str:
    if found.passed:
        arrays = f"all {found.weights_total:,} arrays are bit for bit the same"
        fields = f", and all {found.fields_total:,} fields of its description are the file\u2019s"
        return f"All {len(found.rows):,} tensors agree with Keras and {arrays}{fields if found.fields_total else ''}"
    if found.verdict == "NOT PROVEN":
        return f"Nothing differs, and {what_is_missing(found)}"
    parts = []
    first = found.first_divergence
    if first is not None:
        differing = sum(row.differs for row in found.rows)
        check = "" if first.check == "inference" else CHECKS[first.check][0].lower()
        device = first.device if len(devices(found.rows)) > 1 else ""
        place = ", ".join(part for part in (check, device) if part)
        where = f"{first.name} ({place})" if place else first.name
        parts.append(f"{differing:,} of {len(found.rows):,} tensors differ from Keras, the first of them {where}")
    missing = found.weights_total - found.weights_equal
    if missing:
        parts.append(f"{missing:,} of {found.weights_total:,} arrays are not bit for bit the same")
    if found.fields_differing:
        of = f"{len(found.fields_differing):,} of {found.fields_total:,}"
        parts.append(f"{of} fields of its description are not the file\u2019s ({found.fields_differing[0]})")
    if found.wiring_differing:
        of = f"{len(found.wiring_differing):,} of {found.wiring_total:,}"
        parts.append(f"{of} outputs are not computed from the same ones ({found.wiring_differing[0]})")
    return ", and ".join(parts)


def _worst(found: Verification) -> str:
    """The largest errors: ``in inference, float64 differs by at most 4.4e-15 of the peak (res5a_relu), ...``."""
    rows = list(found.of("inference"))
    several = len(devices(rows)) > 1
    parts: list[str] = []
    for precision in gated(rows):
        row = worst_of(rows, precision)
        if row is None:
            continue
        place = f"{row.name}, {row.device}" if several else row.name
        error = row.errors[precision]
        if not math.isfinite(error):
            return f"in inference, {place} has {INCOMPARABLE}"
        differs, of_what = ("", "") if parts else (" differs", " of the peak")
        parts.append(f"{precision}{differs} by at most {number(error)}{of_what} ({place})")
    return f"in inference, {', '.join(parts)}" if parts else ""


def caption(group: Group) -> str:
    """Returns what a chart of the group shows, for whoever sees it and whoever does not."""
    total = len(group.rows)
    said = f"{group.num_equal:,} of {total:,} agree. "
    parts = []
    for precision in precisions([row for _, row in group.rows]):
        row = group.worst(precision)
        if row is not None:
            gate = f", gate {limit(row.limits[precision])}" if precision in row.limits else ", not gated"
            parts.append(f"{precision} {number(row.errors[precision])} at {row.name}{gate}")
    said += f"Largest errors: {'; '.join(parts)}." if parts else ""
    if group.first_divergence is not None:
        said += f" The first that differs: {group.rows[group.first_divergence][1].name}."
    return said


def cause(key: str) -> str:
    """Returns a kind of mistake in words; the key itself where `CAUSES` does not know it."""
    return CAUSES[key].title if key in CAUSES else key


def advice(explanation: Explanation) -> str:
    """Returns what to do about the cause that was found; nothing where none was."""
    found = explanation.found
    return CAUSES[found.cause].advice if found is not None and found.cause in CAUSES else ""


def tried(explanation: Explanation) -> str:
    """Returns what the table of hypotheses shows."""
    shown = len(explanation.tried)
    if explanation.num_tried > shown:
        nearest = f"The {shown} that came nearest of {explanation.num_tried:,} known mistakes"
        return f"{nearest}, each tried on this layer alone"
    return "Known mistakes, each tried on this layer alone, the nearest first"


@dataclass(frozen=True)
class Installed:
    """What one thing was on both sides.

    Attributes:
        name: Of a library, or of what a machine has.
        reference: Of Keras's side; empty where it has none.
        port: Of PyTorch's side.
    """

    name: str
    reference: str
    port: str


def installed(environment: Mapping[str, str]) -> list[Installed]:
    """Returns the environment side by side; what names no side stands on both."""
    sides: dict[str, dict[str, str]] = {}
    for key, value in environment.items():
        side, _, name = key.partition(" ")
        if side in ("reference", "port") and name:
            sides.setdefault(name, {})[side] = value
        else:
            sides.setdefault(key, {}).update(reference=value, port=value)
    return [Installed(name, known.get("reference", ""), known.get("port", "")) for name, known in sides.items()]


def ranks(prediction: Prediction) -> int:
    """Returns how many classes are shown: behind them no probability is left, and their order means nothing."""
    scores = [[value for _, value in side] for side in (prediction.reference, prediction.port)]
    shown = max(map(len, scores))
    if all(0 <= value <= 1 for side in scores for value in side):
        while shown > 1 and all(value < LEAST_SCORE for side in scores for value in side[shown - 1 : shown]):
            shown -= 1
    return shown


def same_classes(prediction: Prediction) -> str:
    """Returns whether both models name the same classes, in words."""
    shown, known = ranks(prediction), max(len(prediction.reference), len(prediction.port))
    ours = [number for number, _ in prediction.port[:shown]]
    theirs = [number for number, _ in prediction.reference[:shown]]
    others = " The others score 0.0000 in both." if shown < known else ""
    if ours == theirs:
        return (f"Same {len(ours)} classes, same order." if len(ours) > 1 else "Same class.") + others
    rank = next((rank for rank, pair in enumerate(zip(theirs, ours, strict=False), 1) if pair[0] != pair[1]), None)
    return f"They differ, first at rank {rank}." if rank else "They differ in number."


def seen(sensitivity: Sequence[Planted]) -> str:
    """Returns what the gates saw of all planted mistakes, in one sentence."""
    planted = sum(len(row.planted) for row in sensitivity)
    found = sum(row.seen for row in sensitivity)
    named = sum(row.named for row in sensitivity)
    return (
        f"Mistakes of {len(sensitivity)} {'kind' if len(sensitivity) == 1 else 'kinds'} were planted in this very "
        f"port, one at a time, {planted:,} in all: the gates saw {found:,}, and {named:,} were named right, layer "
        "and cause."
    )
