"""A drawing of matplotlib's as part of a page: no namespaces, no ids of its own, colours from the page's style."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

DECIMALS = 1  # of a pixel: matplotlib writes six
LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}")
REFERENCE = re.compile(r"#([\w.-]+)")
COORDINATES = ("d", "x", "y", "width", "height", "transform")


@dataclass(frozen=True)
class Target:
    """A column of the drawing that tells what it shows and leads to it.

    Attributes:
        x: Left edge, in the drawing's units.
        y: Upper edge.
        width: Of it.
        height: Of it.
        href: Where a click leads, within the page.
        text: What is said when the pointer rests there.
    """

    x: float
    y: float
    width: float
    height: float
    href: str
    text: str


def inline(
    drawing: str,
    label: str,
    colours: Mapping[str, str],
    texts: Mapping[str, str],
    targets: Sequence[Target] = (),
) -> str:
    """Returns a drawing as an ``<svg>`` element to stand in a page.

    Args:
        drawing: What matplotlib wrote.
        label: What the picture shows, for those who do not see it.
        colours: The page's name of each colour that the drawing uses: ``#010203`` to ``var(--ink)``.
        texts: What to write in the place of a text, by its gid: a name may hold letters that the font of
            matplotlib lacks.
        targets: What can be pointed at.
    """
    root = ElementTree.fromstring(drawing)
    _strip(root)
    for group in root.iter("g"):
        written = group.find("text") if group.get("id") in texts else None
        if written is not None:
            written.text = texts[str(group.get("id"))]
    _drop_ids(root)
    for element in root.iter():
        _lighten(element, colours)
    for target in targets:
        root.append(_link(target))
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _strip(root: ElementTree.Element) -> None:
    """Takes off namespaces (a page needs none), metadata, and a style that would be the whole page's."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None
        for child in list(element):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                element.remove(child)


def _drop_ids(root: ElementTree.Element) -> None:
    """Drops the ids that nothing refers to: several drawings on one page share them."""
    values = (value for element in root.iter() for value in element.attrib.values())
    used = {name for value in values for name in REFERENCE.findall(value)}
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)


def _lighten(element: ElementTree.Element, colours: Mapping[str, str]) -> None:
    """Writes colours by name, coordinates shorter, and what all markers of a group share once."""
    for name in COORDINATES:
        if name in element.attrib:
            element.set(name, LONG_NUMBER.sub(_short, element.attrib[name]))
    style = element.attrib.get("style", "")
    for colour, variable in colours.items():
        style = style.replace(colour, variable)
    if style:
        element.set("style", style)
    styles = {child.get("style") for child in element if child.tag == "use"}
    if element.tag == "g" and len(styles) == 1 and (shared := styles.pop()):
        for child in element.findall("use"):
            del child.attrib["style"]
        element.set("style", shared)
        _lighten(element, colours)


def _short(match: re.Match[str]) -> str:
    return f"{float(match[0]):.{DECIMALS}f}".removesuffix(".0")


def _link(target: Target) -> ElementTree.Element:
    # Not a stop of the keyboard's: hundreds of them, and the table below holds the same.
    link = ElementTree.Element("a", {"href": target.href, "tabindex": "-1"})
    place = {name: f"{getattr(target, name):.{DECIMALS}f}" for name in ("x", "y", "width", "height")}
    rectangle = ElementTree.SubElement(link, "rect", {"class": "target", **place})
    ElementTree.SubElement(rectangle, "title").text = target.text
    return link
