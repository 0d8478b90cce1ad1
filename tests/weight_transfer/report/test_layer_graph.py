"""The network as a drawing: where boxes stand, and in which colour."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from weight_transfer.parity.report import FieldDifference, NetworkLayer, Row
from weight_transfer.report import page
from weight_transfer.report.layer_graph import HEIGHT, LEGEND, WIDTH, evidence_of, layer_graph


def residual(num_blocks: int) -> list[NetworkLayer]:
    """A stem and blocks, each with a projection or with its input as it is."""
    layers, before = [NetworkLayer("stem", "Conv2D", ())], "stem"
    for number in range(num_blocks):
        branch = [f"b{number}_{name}" for name in ("conv1", "conv2", "conv3")]
        for name, fed in zip(branch, (before, *branch), strict=False):
            layers.append(NetworkLayer(name, "Conv2D", (fed,)))
        if number % 2:
            layers.append(NetworkLayer(f"b{number}_projection", "Conv2D", (before,)))
            before = f"b{number}_projection"
        layers.append(NetworkLayer(f"b{number}_add", "Add", (before, branch[-1])))
        before = f"b{number}_add"
    return layers


def row(check: str, name: str, error: float = 0.0, limit: float = 0.0, peak: float = 1.0) -> Row:
    return Row(check, name, "cpu", (1, 4), peak, {"float64": error}, {"float64": limit})


def drawn(passing, layers, rows=()):
    """The boxes by name, (class, x, y, title, link); and the lines."""
    found = dataclasses.replace(passing, layers=tuple(layers), rows=tuple(rows))
    root = ElementTree.fromstring(layer_graph(found))
    links = {id(group): link.get("href") for link in root.iter("a") for group in link}
    boxes = {}
    for group in root.iter("g"):
        corner = tuple(int(group.find("rect").get(axis)) for axis in "xy")
        title = group.find("title").text
        boxes[title.partition(" (")[0]] = (group.get("class"), *corner, title, links.get(id(group)))
    width, height = map(int, root.get("viewBox").split()[2:])
    assert all(x >= 0 and x + WIDTH <= width and y >= 0 and y + HEIGHT <= height for _, x, y, *_ in boxes.values())
    return boxes, [path.get("d") for path in root.iter("path")]


@pytest.mark.parametrize("num_blocks", [1, 4, 40])
def test_every_layer_has_a_place_of_its_own_below_what_it_reads(num_blocks, passing):
    layers = residual(num_blocks)
    boxes, lines = drawn(passing, layers)
    assert list(boxes) == [layer.name for layer in layers]
    assert len({(x, y) for _, x, y, *_ in boxes.values()}) == len(layers)
    assert len(lines) == sum(len(layer.inputs) for layer in layers)
    for layer in layers:
        for fed in layer.inputs:
            (_, x, y, *_), (_, fed_x, fed_y, *_) = boxes[layer.name], boxes[fed]
            assert fed_y < y or fed_x < x - WIDTH  # in a column before
    columns = {x for name, (_, x, *_) in boxes.items() if name.endswith("_add")}
    assert len(columns) == {1: 1, 4: 1, 40: 3}[num_blocks]


def test_a_network_without_a_narrow_place_stays_in_one_column(passing):
    layers = [NetworkLayer("image", "Conv2D", ())]
    for number in range(80):
        layers.append(NetworkLayer(f"d{number}", "Concatenate", ("image", layers[-1].name)))
    boxes, _ = drawn(passing, layers)
    assert len({x for _, x, *_ in boxes.values()}) == 1


@pytest.mark.parametrize(
    ("rows", "evidence"),
    [
        ([], "nothing"),
        ([row("exact", "a")], "exact"),
        ([row("exact", "a", 1e-16, 1e-12)], "rounded"),
        ([row("exact", "a", 0.1), row("inference", "a", 1e-3, 1e-12)], "differs"),
        ([row("exact", "a"), row("inference", "a", 1e-3, 1e-12)], "fed"),
        ([row("inference", "a", 1e-3, 1e-12)], "differs"),
        ([row("local gradient", "a/kernel", 1e-3, 1e-12)], "differs"),
        ([row("inference", "a", 1e-15, 1e-12)], "images"),
        ([row("inference", "a", 0.0, 1e-12, peak=0.0)], "nothing"),
    ],
)
def test_the_colour_is_of_the_best_evidence_or_of_a_difference(rows, evidence, passing):
    assert evidence_of(list(enumerate(rows))) == evidence
    assert evidence_of(list(enumerate(rows)), is_other=True) == "differs"
    boxes, _ = drawn(passing, [NetworkLayer("a", "Dense", ())], rows)
    assert boxes["a"][0] == evidence
    assert boxes["a"][4] == ("#row-0" if rows else None)
    assert LEGEND[evidence] in boxes["a"][3]


def test_a_difference_stands_at_its_layer_alone(passing):
    layers = residual(3)
    rows = [row("exact", layer.name, 0.5 if layer.name == "b1_conv2" else 0.0) for layer in layers]
    boxes, _ = drawn(passing, layers, rows)
    assert {name for name, (kind, *_) in boxes.items() if kind == "differs"} == {"b1_conv2"}
    assert boxes["b1_conv2"][4] == f"#row-{[layer.name for layer in layers].index('b1_conv2')}"
    held = dataclasses.replace(passing, weights_differing=("b2_conv1/kernel",))
    boxes, _ = drawn(held, layers, [row("exact", layer.name) for layer in layers])
    assert {name for name, (kind, *_) in boxes.items() if kind == "differs"} == {"b2_conv1"}
    wired = dataclasses.replace(passing, wiring_differing=(FieldDifference("b0_add", "reads", "a", "b"),))
    boxes, _ = drawn(wired, layers, [row("exact", layer.name) for layer in layers])
    assert {name for name, (kind, *_) in boxes.items() if kind == "differs"} == {"b0_add"}


def test_names_are_text_whatever_they_are(passing, hostile_texts):
    layers = tuple(NetworkLayer(name, name, ()) for name in hostile_texts)
    text = layer_graph(dataclasses.replace(passing, layers=layers))
    root = ElementTree.fromstring(text)
    assert {element.tag for element in root.iter()} <= {"svg", "g", "a", "rect", "text", "title", "path"}
    assert "<script" not in text


def test_the_page_shows_it_with_a_legend(passing):
    shown = page.render(dataclasses.replace(passing, layers=tuple(residual(2))))
    assert 'id="graph"' in shown
    for text in LEGEND.values():
        assert text in shown
    assert 'id="graph"' not in page.render(passing)


def test_five_kinds_of_evidence_stand_in_their_order_and_what_is_missing_is_said(passing):
    told = page.render(dataclasses.replace(passing, left_out=("other sizes", "other numbers")))
    glance = re.search(r'<table class="glance.*?</table>', told, re.DOTALL)[0]
    kinds = re.findall(r'<tr class="kind"><th[^>]*>\d\. ([^<]*)<', glance)
    assert kinds == ["Description", "Arrays", "Wiring and exact runs", "The owner\u2019s own model", "Photographs"]
    assert "Left out by --quick: other sizes; other numbers." in glance
    assert glance.count("Not part of this verification") == 1  # the owner's calls
    assert "<li>other sizes</li>" in told
