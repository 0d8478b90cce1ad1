"""JSON from a file, as data only."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from weight_transfer.checkpoint import limits
from weight_transfer.checkpoint.refusal import refusal
from weight_transfer.errors import quoted


def parse_json(label: str, text: str | bytes) -> Any:
    """Returns what a JSON text holds; nothing in it is imported, built or opened.

    Raises:
        CheckpointError: It is no JSON, too large, nested too deeply, names a key twice or holds NaN.
    """
    if len(text) > limits.JSON_BYTES:
        raise _bad(label, f"{len(text)} bytes is more than the {limits.JSON_BYTES} that are accepted")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise _bad(label, "nested too deeply") from error
    except ValueError as error:
        raise _bad(label, str(error)) from error
    _check_depth(label, value)
    return value


def _bad(label: str, problem: str) -> Exception:
    return refusal(label, f"its JSON cannot be used ({quoted(problem)})", "Save the model again with Keras.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return values


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_depth(label: str, value: Any) -> None:
    """Without recursion, so that what reads the value later may recurse."""
    level, depth = [value], 0
    while level:
        if depth > limits.JSON_DEPTH:
            raise _bad(label, f"nested more than {limits.JSON_DEPTH} deep")
        containers = (item for item in level if isinstance(item, (dict, list)))
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        depth += 1
