"""Numbers, shapes and names as the page shows them."""

from __future__ import annotations

import math

import pytest

from weight_transfer.report import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.41e-15, "4.4e-15"), (0.0213, "2.1e-02"), (0.31, "0.31"), (4.2, "4.2"), (0.0, "0"), (math.inf, "∞")],
)
def test_errors(value, text):
    assert formats.number(value) == text


def test_not_a_number_is_no_number():
    assert formats.number(math.nan) == formats.peak(math.nan) == "∞"


def test_peaks():
    assert [formats.peak(value) for value in (0.30512, 10.0, 3781.2, 4.5e8)] == ["0.305", "10", "3780", "4.5e+08"]


def test_a_round_gate_has_no_zero():
    assert [formats.limit(value) for value in (1e-12, 1e-5, 1.5e-6)] == ["1e-12", "1e-05", "1.5e-06"]


def test_shapes_and_places():
    assert formats.shape((2, 56, 64)) == "2 \u00d7 56 \u00d7 64"
    assert formats.shape(()) == "scalar"
    assert formats.index((0, 12)) == "0, 12"
    assert formats.index(None) == ""


def test_probabilities_have_four_decimals_and_logits_four_digits():
    assert formats.scores([0.5, 1e-6]) == ["0.5000", "0.0000"]
    assert formats.scores([12.34567, -3.0]) == ["12.35", "-3"]


def test_durations():
    assert [formats.seconds(value) for value in (0.42, 48.0, 125.0)] == ["0.42 s", "48 s", "2 min 5 s"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("res2a_branch2a", "res2a_branch2a"),
        ("畳み込み層", "畳み込み層"),
        ("\x1b[31mred\n\x00", r"\x1b[31mred\n\x00"),
        ("abc\u202ecba", r"abc\u202ecba"),
        ("lone \ud800", r"lone \ud800"),
        ("zero\u200bwidth\u2028", r"zero\u200bwidth\u2028"),
    ],
)
def test_a_name_hides_nothing(name, text):
    assert formats.visible(name) == text
    formats.visible(name).encode()
