"""The page itself: a template filled with what a verification found."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from weight_transfer.atomic import atomic_write, check_output
from weight_transfer.errors import VerificationError
from weight_transfer.parity import groups
from weight_transfer.parity.report import Verification
from weight_transfer.parity.verdict_text import what_is_missing
from weight_transfer.report import formats, summary
from weight_transfer.report.layer_graph import LEGEND, layer_graph
from weight_transfer.version import __version__

NEEDED = ("jinja2", "matplotlib")
FILTERS = ("number", "limit", "peak", "scores", "shape", "index", "seconds")
NUMBER = re.compile(r"\b[\d.]+e-\d+")
SEPARATOR = re.compile(r"[/_](?=[^/_])")
LEAST_DRAWN = 2  # a single number, the loss, is no chart


def write_report(found: Verification, path: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> None:
    """Writes a verification as one HTML page that needs nothing else: no network, no other file.

    The same verification gives the same bytes.

    Args:
        found: The verification.
        path: The page; an earlier one is replaced, by the whole new one or not at all.
        class_names: Of the classifier, by class number; without them, and beyond them, numbers are shown.

    Raises:
        VerificationError: A library that the page is made with is missing.
        TransferError: The page cannot be written there.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise VerificationError(
            f"the report is made with {' and '.join(missing)}, not installed here. "
            "Install: pip install 'keras-resnet-to-torch[report]'"
        )
    check_output(path)
    content = render(found, class_names).encode()
    with atomic_write(path, size_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def render(found: Verification, class_names: Sequence[str] | None = None) -> str:
    """Returns the page.

    Args:
        found: The verification.
        class_names: As for `write_report`.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    from weight_transfer.report.charts import chart

    def prose(text: str) -> Markup:
        """A sentence whose numbers never break at their minus."""
        return Markup(NUMBER.sub(r'<span class="whole">\g<0></span>', str(escape(formats.visible(text)))))

    def breakable(name: str) -> Markup:
        """A long name that may go on in the next line behind its separators."""
        return Markup(SEPARATOR.sub(r"\g<0><wbr>", str(escape(formats.visible(name)))))

    def shown(value: Any) -> Any:
        """Every text that the template prints passes here, then the escaping; our own markup passes as it is."""
        return formats.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=shown, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({name: getattr(formats, name) for name in FILTERS}, prose=prose, breakable=breakable)
    together = groups.groups(found)
    script = _own("table.js")
    return environment.from_string(_own("template.html.jinja")).render(
        found=found,
        verdict=found.verdict,
        sentence=summary.sentence(found),
        groups=together,
        evidence=summary.evidence(found, together),
        devices=groups.devices(found.rows),
        precisions=groups.precisions(found.rows),
        gated=groups.gated(found.rows),
        cause=summary.cause,
        missing=what_is_missing(found),
        advice="" if found.explanation is None else summary.advice(found.explanation),
        tried=summary.tried,
        incomparable=summary.INCOMPARABLE,
        installed=summary.installed(found.environment),
        charts=[chart(group, found) for group in together if len(group.rows) >= LEAST_DRAWN],
        class_name=lambda number: _class_name(number, class_names),
        ranks=summary.ranks,
        same_classes=summary.same_classes,
        seen=summary.seen,
        svg=Markup,
        graph=layer_graph(found),
        legend=LEGEND,
        style=Markup(_own("style.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
    )


def _class_name(number: int, class_names: Sequence[str] | None) -> str:
    known = class_names is not None and 0 <= number < len(class_names)
    return class_names[number] if known and class_names is not None else f"class {number}"


def _own(name: str) -> str:
    """A file of this package."""
    return resources.files(__package__ or "weight_transfer.report").joinpath(name).read_text(encoding="utf-8")
