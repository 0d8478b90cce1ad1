"""Sweeps over many cases: some of them in every run, the others behind the marker ``slow``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest


def slow_but(usual: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases of a parametrization, all of them slow but the usual ones; a tuple is a case's several values."""
    cases = list(cases)
    unknown = [case for case in usual if case not in cases]
    assert not unknown, f"no such cases: {unknown}"
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if case in usual else pytest.mark.slow)
        for case in cases
    ]


def each_once(*values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Tuples in which each value occurs: the first with the first, and so on, the shorter ones over again."""
    return [tuple(one[i % len(one)] for one in values) for i in range(max(map(len, values)))]
