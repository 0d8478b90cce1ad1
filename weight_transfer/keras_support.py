"""Whether today's Kerases load a file as it is, told from the file alone, and why not.

Source: what keras 3.15.1 and tf_keras 2.21.0 did with 109 full-model files of public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weight_transfer.checkpoint import Checkpoint

KERASES = ("Keras 3", "tf_keras")
LOADS = "loads it"


def keras_support(checkpoint: Checkpoint, foreign: tuple[str, ...] = ()) -> dict[str, str]:
    """Returns, for each Keras of today, whether it loads the file with ``load_model``, and if not why.

    Args:
        checkpoint: The file.
        foreign: Layer classes of it that are not Keras's own.
    """
    return {keras: _verdict(checkpoint, keras, foreign) for keras in KERASES}


def _verdict(checkpoint: Checkpoint, keras: str, foreign: tuple[str, ...]) -> str:
    if checkpoint.config is None:
        return "does not load it: it holds weights and no model"
    reasons = [f"class {name} is not Keras's own" for name in foreign]
    reasons += _of_the_model(checkpoint, keras)
    if reasons:
        return f"does not load it: {'; '.join(reasons)}"
    training = sorted(set(_of_the_training(checkpoint.training or {}, keras)))
    return f"loads it with compile=False: {'; '.join(training)}" if training else LOADS


def _of_the_model(checkpoint: Checkpoint, keras: str) -> Iterator[str]:
    written_by_3 = (checkpoint.keras_version or "").startswith("3")
    if keras == "tf_keras" and written_by_3:
        yield "Keras 3 wrote it (batch_shape, dtype policies)"
    if keras == "Keras 3" and checkpoint.container == "keras-zip" and not written_by_3:
        yield "its class paths are those of an earlier Keras"


def _of_the_training(training: Mapping[str, Any], keras: str) -> Iterator[str]:
    """Both are Keras 3's refusals; tf_keras still knows the words."""
    if keras != "Keras 3":
        return
    for key, value in _pairs(training):
        if key == "lr":
            yield "optimizer argument lr"
        if key == "reduction" and value == "auto":
            yield "loss argument reduction=auto"


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value in a nest."""
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield str(key), inside
            yield from _pairs(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _pairs(inside)
