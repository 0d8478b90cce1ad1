"""The verdict of a verification in words, for the terminal, the page and a notebook."""

from __future__ import annotations

from collections.abc import Sequence

from weight_transfer.errors import SHOWN_AT_MOST
from weight_transfer.notebook import table_html
from weight_transfer.parity.groups import groups
from weight_transfer.parity.report import Verification

SHOWN = 3  # names in a sentence


def same_function(found: Verification) -> str:
    """Returns what was shown of a port that is the same function, the sizes and what is evidence only included."""
    exact = list(found.of("exact"))
    parts = [
        f"{found.wiring_total:,} of {found.wiring_total:,} outputs computed from the same outputs",
        f"{found.weights_equal:,} of {found.weights_total:,} arrays bit-equal",
        f"{found.num_exact:,} of {len(exact):,} layers bit-equal on integers",
    ]
    if found.inexact:
        worst = max(row.errors["float64"] for row in exact if row.name in found.inexact)
        parts.append(f"{listed(found.inexact)} within {worst:.1e}, which is evidence only")
    return f"at {', '.join(found.sizes)}: {', '.join(parts)}."


def exact_runs(found: Verification) -> str:
    """Returns how the exact runs went, in a few words."""
    exact = list(found.of("exact"))
    same = found.wiring_total - len(found.wiring_differing) - len(found.untraced)
    return (
        f"{sum(row.passed for row in exact):,} of {len(exact):,} layers agree at {', '.join(found.sizes)}, "
        f"{same:,} of {found.wiring_total:,} computed from the same layers"
    )


def what_is_missing(found: Verification) -> str:
    """Returns why a verification that found no difference proves nothing."""
    if not found.rows:
        return "nothing was compared"
    if found.doubt:
        return found.doubt
    names = [f"{row.name} ({row.check})" for row in found.unproven]
    return f"Keras gives no number but zero, or none at all, for {listed(names)}"


def where_it_differs(found: Verification) -> str:
    """Returns the first place where a port is not its file's network."""
    first = found.first_divergence
    if first is not None:
        return f"first at {first.name}"
    if found.weights_differing:
        return f"in the weights: {listed(found.weights_differing)}"
    one = (*found.wiring_differing, *found.fields_differing)[0]
    return f"in what it says of {one.layer}: {one.field}"


def listed(names: Sequence[str]) -> str:
    """Returns names for a sentence: of many the first, and how many more there are."""
    shown = SHOWN if len(names) > SHOWN_AT_MOST else len(names)
    return ", ".join(names[:shown]) + (f" and {len(names) - shown:,} more" if len(names) > shown else "")


def shortened(name: str, width: int) -> str:
    """Returns a name of at most so many characters: a longer one lacks its middle, as both ends tell it apart."""
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[: width - 1 - half]}…{name[-half:]}"


def verification_html(found: Verification) -> str:
    """Returns the verdict, and a row for each check of a verification."""
    words = {"SAME FUNCTION": same_function, "DIFFERS": where_it_differs, "NOT PROVEN": what_is_missing}
    text = words[found.verdict](found) if found.verdict in words else ""
    rows = []
    for group in groups(found):
        errors = [
            None if (row := group.worst(name)) is None else f"{row.errors[name]:.1e}" for name in ("float64", "float32")
        ]
        rows.append((group.title, group.device, f"{group.num_equal} of {len(group.rows)}", *errors))
    title = f"{found.verdict}: {found.converted} against {found.source}. {text}"
    return table_html(title, ("check", "device", "agree", "float64", "float32"), rows)
