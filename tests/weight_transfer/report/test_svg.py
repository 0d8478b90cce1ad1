"""A drawing of matplotlib's as part of a page."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from weight_transfer.report.svg import Target, inline

DRAWING = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" viewBox="0 0 72 36" xmlns="http://www.w3.org/2000/svg">
 <metadata><about>made by</about></metadata>
 <defs><style type="text/css">*{stroke-linejoin: round}</style></defs>
 <g id="axes_1"><path id="dot" d="M 0.123456 1.98765 L -2.500000 3"/>
  <use xlink:href="#dot" x="1.123456" y="2" style="fill: #010101"/>
  <use xlink:href="#dot" x="3" y="4" style="fill: #010101"/>
  <g id="first"><text style="fill: #010101">x</text></g>
 </g>
</svg>"""


@pytest.fixture
def drawn():
    target = Target(1, 2, 3, 4, "#row-0", '<b> & "c"')
    return inline(DRAWING, 'a "label" <i>', {"#010101": "var(--ink)"}, {"first": "<script>x</script>"}, [target])


def test_nothing_of_its_own_is_left(drawn):
    for word in ("http", "xmlns", "metadata", "axes_1", 'id="first"', "#010101", "72pt", "<style"):
        assert word not in drawn


def test_markers_share_their_style_and_lose_decimals(drawn):
    root = ElementTree.fromstring(drawn)
    assert [dict(use.attrib) for use in root.iter("use")] == [
        {"href": "#dot", "x": "1.1", "y": "2"},
        {"href": "#dot", "x": "3", "y": "4"},
    ]
    assert root.find("g").get("style") == "fill: var(--ink)"
    assert root.find(".//path").get("d") == "M 0.1 2 L -2.5 3"


def test_texts_are_put_in_and_escaped(drawn):
    root = ElementTree.fromstring(drawn)
    assert root.find(".//text").text == "<script>x</script>"
    assert "<script>" not in drawn
    assert root.get("aria-label") == 'a "label" <i>'
    assert root.get("role") == "img"


def test_a_target_says_what_it_shows_and_leads_there(drawn):
    link = ElementTree.fromstring(drawn).find("a")
    assert link.get("href") == "#row-0"
    assert link.find("rect/title").text == '<b> & "c"'
