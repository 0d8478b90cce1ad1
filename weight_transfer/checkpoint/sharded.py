"""A JSON index beside several Keras 3 weight files; and the JSON files that are no checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weight_transfer.checkpoint import limits
from weight_transfer.checkpoint.json_text import parse_json
from weight_transfer.checkpoint.parsing import Outer
from weight_transfer.checkpoint.refusal import refusal
from weight_transfer.checkpoint.sniff import DOWNLOAD, EXPECTED, kind_of
from weight_transfer.checkpoint.source import Source, open_source
from weight_transfer.errors import quoted


def open_shards(path: Path, source: Source) -> tuple[list[Source], Outer]:
    """Opens every file that an index names, from the index's own folder.

    Source: keras/src/saving/saving_lib.py, ShardedH5IOStore.

    Raises:
        CheckpointError: The JSON is no such index, or a shard is missing or elsewhere.
    """
    if source.size_bytes > limits.JSON_BYTES:
        raise refusal(source.label, f"JSON of {source.size_bytes} bytes; {limits.JSON_BYTES} are accepted", EXPECTED)
    index = parse_json(source.label, bytes(source.read(0, source.size_bytes)))
    weight_map = _weight_map(source.label, index)
    names = sorted({name for shards in weight_map.values() for name in shards})
    if not 0 < len(names) <= limits.SHARDS:
        raise refusal(source.label, f"{len(names)} shards. Expected 1 to {limits.SHARDS}", EXPECTED)
    shards = [_open_shard(path, source.label, name) for name in names]
    positions = {name: position for position, name in enumerate(names)}
    return shards, Outer(
        "keras3-sharded",
        weight_map={group: tuple(positions[name] for name in files) for group, files in weight_map.items()},
    )


def _weight_map(label: str, index: Any) -> Mapping[str, list[str]]:
    if not isinstance(index, dict) or "weight_map" not in index:
        if isinstance(index, dict) and {"class_name", "config"} <= index.keys():
            raise refusal(
                label,
                "a model's architecture as JSON, without its weights",
                "Give the weights file that belongs to it (Keras: model.save_weights).",
            )
        raise refusal(label, "JSON, such as a server's error message, not a checkpoint", DOWNLOAD)
    weight_map = index["weight_map"]
    if isinstance(weight_map, dict):  # a file alone or a list of them
        weight_map = {group: [files] if isinstance(files, str) else files for group, files in weight_map.items()}
        if all(isinstance(f, list) and all(isinstance(name, str) for name in f) for f in weight_map.values()):
            return weight_map
    raise refusal(label, "its weight_map does not list file names by group", "Save the weights again with Keras.")


def _open_shard(path: Path, label: str, name: str) -> Source:
    shard = path.parent / name
    if not name or name in (".", "..") or set(name) & set("/\\:\0") or shard.resolve().parent != path.resolve().parent:
        raise refusal(
            label, f"shard {quoted(name)} is not a file beside the index", "Expected plain names such as '*_00000.h5'."
        )
    source = open_source(shard)
    if kind_of(source) != "hdf5":
        source.close()
        raise refusal(str(shard), "a shard that is no HDF5 file", EXPECTED)
    return source
