"""Numbers, shapes and names as the page shows them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

INFINITE = "∞"
TIMES = " \u00d7 "
LEAST_PLAIN = 0.1  # from here on, a number is easier to read without its power of ten
# Cc control, Cf direction marks and joiners, Cs lone surrogates, Zl and Zp line breaks: what a name may hide behind.
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def number(value: float) -> str:
    """Returns an error in two digits, as the command line prints it: ``4.4e-15``; ``0``, ``0.31`` and ``∞`` as such."""
    if not math.isfinite(value):
        return INFINITE
    return f"{value:.1e}" if 0 < value < LEAST_PLAIN else f"{value:.2g}"


def limit(value: float) -> str:
    """Returns a gate: as `number`, a round one without its zero: ``1e-12``."""
    return number(value).replace(".0e", "e")


def peak(value: float) -> str:
    """Returns a peak in three digits: ``3780``, ``1.23e+06``."""
    return f"{float(f'{value:.3g}'):g}" if math.isfinite(value) else INFINITE


def scores(values: Sequence[float]) -> list[str]:
    """Returns what a classifier gives: probabilities with four decimals, anything else in four digits."""
    probabilities = all(0 <= value <= 1 for value in values)
    return [f"{value:.4f}" if probabilities else f"{value:.4g}" for value in values]


def shape(sizes: Sequence[int]) -> str:
    """Returns ``2 × 56 × 56 × 64``; ``scalar`` for a single number."""
    return TIMES.join(map(str, sizes)) or "scalar"


def index(where: Sequence[int] | None) -> str:
    """Returns ``0, 12, 3, 40``; nothing where no place is known."""
    return "" if where is None else ", ".join(map(str, where))


def seconds(duration_s: float) -> str:
    """Returns ``48 s`` or ``2 min 5 s``."""
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest} s" if minutes else f"{duration_s:.2g} s"


def visible(text: str) -> str:
    """Returns a text from a file with nothing in it that a page hides, reorders or cannot hold: ``\\x1b``."""
    return "".join(_escape(letter) if unicodedata.category(letter) in INVISIBLE else letter for letter in text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
