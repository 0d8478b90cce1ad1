"""The one table of tolerances: what it says of an error, and what docs/parity.md says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from weight_transfer.parity.report import OWNER_CHECKS, Check
from weight_transfer.parity.tolerances import TOLERANCES, Tolerance

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "parity.md").read_text()
FLOAT32 = TOLERANCES["inference"]["float32"]


def test_every_check_has_a_gate():
    assert tuple(TOLERANCES) == get_args(Check)
    assert {check for check, row in TOLERANCES.items() if "float64" not in row} == OWNER_CHECKS
    for check, row in TOLERANCES.items():
        if check in OWNER_CHECKS:  # in the precision of the owner's model
            continue
        assert 0 < row["float64"].error <= (1e-9 if check in ("step", "weights", "slots", "moving") else 1e-10)
        assert row["float64"].limit(noise=1e-3) == row["float64"].error  # the reference is the truth


@pytest.mark.parametrize(
    ("noise", "limit", "at_the_logits"),
    [(None, 1e-5, 1e-5), (1e-7, 1e-5, 3 * 2**-20), (2e-6, 1e-5, 6e-6), (1e-4, 3e-4, 3e-4)],
)
def test_keras_own_error_in_float32_is_the_measure(noise, limit, at_the_logits):
    assert FLOAT32.limit(noise) == pytest.approx(limit)
    assert FLOAT32.limit(noise, at_the_logits=True) == pytest.approx(at_the_logits)


def test_the_page_shows_the_table():
    gates = PAGE.partition("## The gates")[2].partition("\n## ")[0]
    shown = {
        row[0]: row[1:] for row in re.findall(r"^\| ([\w ]+) \| ([\d.e-]*) ?\| (.*?) ?\|$", gates, flags=re.MULTILINE)
    }
    assert list(shown) == list(TOLERANCES)
    for check, row in TOLERANCES.items():
        float64, float32 = shown[check]
        assert float(float64 or "nan") == row["float64"].error if "float64" in row else not float64
        assert ("float32" in row) == bool(float32)
    assert shown["inference"][1] == (
        f"1e-5, or {FLOAT32.noise_factor} times Keras's own float32 error where that is more"
    )
    assert Tolerance(1e-5, FLOAT32.noise_factor, FLOAT32.noise_floor) == FLOAT32
