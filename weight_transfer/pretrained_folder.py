"""The folder that `save_pretrained` writes in the Hugging Face form: ``model.safetensors`` and ``config.json``.

The tensors' file is a converted file, whose metadata say everything; the config says it once more, for people, the
Hub, and tensors that another tool wrote anew without their metadata.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from weight_transfer.checkpoint.json_text import parse_json
from weight_transfer.description import MADE_HERE
from weight_transfer.resnet.layout import KINDS

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def weights_file(path: str | os.PathLike[str]) -> Path:
    """Returns the tensors' file in such a folder; any other path as it is."""
    inside = Path(path) / WEIGHTS
    return inside if inside.is_file() else Path(path)


def config_beside(weights: Path) -> dict[str, Any] | None:
    """Returns what the config beside a tensors' file says, by the fields of `Description`; None where it says nothing.

    Args:
        weights: A file in the safetensors format.

    Raises:
        CheckpointError: The config is no JSON, or too large.
    """
    file = weights.with_name(CONFIG)
    if weights.name != WEIGHTS or not file.is_file():
        return None
    config = parse_json(str(file), file.read_bytes())
    if not isinstance(config, dict):
        return None
    # Version 0.1.0 wrote a network's own head beside its architecture, the rest under a key of its own, and no origin
    # of what was made here.
    values = {**MADE_HERE.__dict__, **config, **config.pop("description", {})}
    head = values.pop("own_head", None)
    if head is not None:
        values["headed"] = {"backbone": values.pop("architecture", None), "head": head}
    return values if not KINDS.isdisjoint(values) else None
