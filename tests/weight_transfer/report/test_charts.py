"""What the charts show, read from their SVG."""

from __future__ import annotations

import dataclasses
import math
import re
from xml.etree import ElementTree

import matplotlib
import pytest

from weight_transfer.parity.groups import groups
from weight_transfer.report.charts import COLOURS, MOST_BANDS, chart


def texts(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


def draw(found, number=0):
    return chart(groups(found)[number], found)


@pytest.fixture(scope="module")
def passed(passing):
    return draw(passing)


@pytest.fixture(scope="module")
def failed(failing):
    return draw(failing)


def test_gates_are_drawn_and_named(passed):
    for svg in (passed.wide, passed.narrow):
        assert {"float64 gate 1e-12", "float32 gate 1e-05"} <= set(texts(svg))
        assert svg.count("stroke-dasharray") == 2


def test_a_gate_that_differs_from_row_to_row_says_from_where(passing):
    rows = tuple(
        dataclasses.replace(row, limits={"float32": 1e-6 * (1 + place)})
        for place, row in enumerate(passing.of("inference"))
    )
    drawn = draw(dataclasses.replace(passing, rows=rows))
    assert "float32 gate, from 1e-06" in texts(drawn.wide)
    assert not any("float64 gate" in text for text in texts(drawn.wide))


def test_every_error_is_a_point_in_the_colour_of_its_precision(passed, passing):
    root = ElementTree.fromstring(passed.wide)
    rows = len(list(passing.of("inference")))
    for series in ("var(--series-0)", "var(--series-1)"):
        points = [group for group in root.iter("g") if f"fill: {series}" in group.get("style", "")]
        assert sum(len(group.findall("use")) for group in points) == rows


def test_colours_are_the_pages(passed, failed):
    for drawn in (passed, failed):
        for svg in (drawn.wide, drawn.narrow):
            assert not [colour for colour in COLOURS if colour in svg]
            assert not re.search(r"(fill|stroke): #", svg)
            assert "var(--noise)" in svg


def test_stages_stand_above(passed):
    assert [text for text in texts(passed.wide) if "\u00d7" in text] == [
        f"{size} \u00d7 {size}" for size in (56, 28, 14, 7)
    ]


def test_parameters_are_drawn_under_the_stage_of_their_layer(passing):
    assert "14 \u00d7 14" in texts(draw(passing, number=2).wide)


def test_each_check_has_the_sizes_of_its_own_inputs(passing):
    rows = tuple(
        dataclasses.replace(row, shape=tuple(size // 4 + 1 for size in row.shape)) if row.check == "training" else row
        for row in passing.rows
    )
    found = dataclasses.replace(passing, rows=rows)
    inference, training, gradient = (texts(draw(found, number).wide) for number in range(3))
    assert "14 \u00d7 14" in inference
    assert "4 \u00d7 4" not in inference
    for under in (training, gradient):
        assert "4 \u00d7 4" in under
        assert "14 \u00d7 14" not in under


def test_layers_without_a_place_have_no_size(passing):
    rows = tuple(
        dataclasses.replace(row, shape=(2, 20, 32) if place < 60 else (2, 32))
        for place, row in enumerate(passing.of("inference"))
    )
    found = texts(draw(dataclasses.replace(passing, rows=rows)).wide)
    assert "20" in found
    assert "scalar" not in found


def test_sizes_that_change_all_the_time_are_no_stages(passing):
    rows = tuple(
        dataclasses.replace(row, shape=(1, place % 2, 5, 3)) for place, row in enumerate(passing.of("inference"))
    )
    assert len(rows) > MOST_BANDS
    assert not any("\u00d7" in text for text in texts(draw(dataclasses.replace(passing, rows=rows)).wide))


def test_the_first_divergence_is_marked(failed, passed):
    for svg in (failed.wide, failed.narrow):
        assert "first: bn3a_branch2b" in texts(svg)
        assert "var(--differs)" in svg
    assert [key.kind for key in failed.keys] == ["point", "point", "noise", "differs"]
    assert "var(--differs)" not in passed.wide
    assert [key.kind for key in passed.keys] == ["point", "point", "noise"]


def test_a_check_in_float64_only_draws_nothing_else(passing):
    drawn = draw(passing, number=1)
    assert [key.text for key in drawn.keys] == ["float64"]
    assert "float64 gate 1e-10" in texts(drawn.wide)
    assert not any("float32" in text for text in texts(drawn.wide))


def test_a_long_name_stays_within_the_chart(failing):
    long = "/".join(["backbone", *["block"] * 30, "batch_normalization_17"])
    rows = tuple(
        dataclasses.replace(row, name=long) if row.name == "bn3a_branch2b" else row for row in failing.of("inference")
    )
    drawn = draw(dataclasses.replace(failing, rows=rows))
    for svg, most in ((drawn.wide, 120), (drawn.narrow, 45)):
        told = next(text for text in texts(svg) if text.startswith("first: "))
        assert len(told) <= most
        assert told.startswith("first: backbone")
        assert told.endswith("normalization_17")
        assert "\u2026" in told
    assert long in drawn.caption


def test_pointing_at_a_tensor_tells_its_errors(passed, passing):
    links = list(ElementTree.fromstring(passed.wide).iter("a"))
    assert [link.get("href") for link in links] == [f"#row-{place}" for place in range(len(links))]
    row = next(passing.of("inference"))
    said = links[0].find("rect/title").text
    assert said == (
        f"1. conv1: float64 {row.errors['float64']:.1e}, float32 {row.errors['float32']:.1e}, "
        f"Keras\u2019s own float32 {row.noise:.1e}"
    )
    assert len(links) == len(list(passing.of("inference")))
    assert "<a" not in passed.narrow


def test_what_a_log_axis_lacks_has_a_place(passing):
    first, second, *others = passing.of("inference")
    rows = (
        dataclasses.replace(first, errors={"float64": 0.0, "float32": math.inf}, noise=None),
        dataclasses.replace(second, peak=0.0, errors={"float64": math.nan, "float32": 0.0}, noise=math.inf),
        *others,
    )
    drawn = draw(dataclasses.replace(passing, rows=rows))
    assert {"0", "∞"} <= set(texts(drawn.wide))
    assert not re.search(r"\bnan\b", drawn.wide)


def test_nothing_but_zeros_is_drawn_too(passing):
    rows = tuple(
        dataclasses.replace(row, errors={"float64": 0.0}, limits={}, noise=None)
        for row in list(passing.of("inference"))[:2]
    )
    assert "0" in texts(draw(dataclasses.replace(passing, rows=rows)).wide)


def test_precisions_without_a_gate_are_drawn_each_with_its_own_marker(passing):
    more = {"tf32": 1e-3, "bfloat16": 1e-2, "float16": 1e-3}
    rows = tuple(dataclasses.replace(row, errors={**row.errors, **more}) for row in passing.of("inference"))
    drawn = draw(dataclasses.replace(passing, rows=rows))
    assert [key.text for key in drawn.keys if key.kind == "point"] == ["float64", "float32", *more]
    assert "var(--series-3)" in drawn.wide


def test_hostile_names_are_text(hostile, hostile_texts):
    drawn = draw(hostile)
    assert "<script>" not in drawn.wide + drawn.narrow
    assert r"first: $\frac{1}{0}$ & a_b" in texts(drawn.wide)
    titles = [title.text for title in ElementTree.fromstring(drawn.wide).iter("title")]
    assert any(hostile_texts[0] in title for title in titles)
    assert any(r"\u202e" in title for title in titles)


def test_ids_differ_between_the_drawings_of_a_page(passing):
    drawn = [chart(group, passing) for group in groups(passing) if len(group.rows) > 1]
    ids = [re.findall(r' id="([^"]+)"', svg) for each in drawn for svg in (each.wide, each.narrow)]
    flat = [name for names in ids for name in names]
    assert len(flat) == len(set(flat))


def test_drawing_again_gives_the_same_whatever_the_users_style(passing, passed):
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        again = draw(passing)
        assert matplotlib.rcParams["font.size"] == 30
    assert (again.wide, again.narrow) == (passed.wide, passed.narrow)
