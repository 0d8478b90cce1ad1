"""The .keras archive: config.json, metadata.json and model.weights.h5 in a zip, read without extracting."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Any

from weight_transfer.checkpoint import limits
from weight_transfer.checkpoint.json_text import parse_json
from weight_transfer.checkpoint.parsing import Outer
from weight_transfer.checkpoint.refusal import refusal, refusing
from weight_transfer.checkpoint.sniff import EXPECTED
from weight_transfer.checkpoint.source import Source
from weight_transfer.errors import quoted

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

# RuntimeError: encrypted.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, RuntimeError, EOFError, ValueError)
LOCAL_HEADER_BYTES = 30  # without the name: APPNOTE.TXT 4.3.7
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def open_archive(source: Source) -> tuple[Source, Outer]:
    """Returns the weights in memory, and what the archive says of the model.

    Raises:
        CheckpointError: The archive is damaged, unsafe, or holds no Keras model.
    """
    label = source.label
    with refusing(label, "the zip reader", *ZIP_ERRORS), zipfile.ZipFile(source.stream) as archive:
        members = _members(label, archive)
        missing = [name for name in (CONFIG, WEIGHTS) if name not in members]
        if missing:
            raise _not_keras(label, members, missing)
        config = parse_json(f"{label}:{CONFIG}", _read(label, archive, members[CONFIG], limits.JSON_BYTES))
        metadata: Any = {}
        if METADATA in members:
            metadata = parse_json(f"{label}:{METADATA}", _read(label, archive, members[METADATA], limits.JSON_BYTES))
        weights = _read(label, archive, members[WEIGHTS], limits.TOTAL_BYTES)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(config, dict):
        raise refusal(label, f"{CONFIG} holds no model", "Save the model again with Keras.")
    return (
        Source.of_bytes(f"{label}:{WEIGHTS}", weights),
        Outer("keras-zip", config=config, keras_version=version if isinstance(version, str) else None),
    )


def _members(label: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by name with forward slashes (Keras on Windows wrote others); odd ones are refused."""
    entries = archive.infolist()
    if len(entries) > limits.ZIP_MEMBERS:
        raise refusal(label, f"{len(entries)} members; {limits.ZIP_MEMBERS} are accepted", EXPECTED)
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        if name in members:
            raise refusal(label, f"two members are both named {quoted(name)}", "Save the model again with Keras.")
        if name.startswith("/") or ":" in name or ".." in name.split("/"):
            raise refusal(label, f"member {quoted(name)} points outside the archive", "Do not unpack this file.")
        members[name] = entry
    _check_overlap(label, entries)
    return members


def _check_overlap(label: str, entries: list[zipfile.ZipInfo]) -> None:
    """Members that share bytes make a small archive unpack to a huge one (CVE-2024-0450)."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise refusal(label, f"member {quoted(entry.filename)} overlaps another", "Do not unpack this file.")
        end = entry.header_offset + LOCAL_HEADER_BYTES + len(entry.filename) + entry.compress_size


def _read(label: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """One member's bytes; the zip reader checks their CRC."""
    size, packed = entry.file_size, entry.compress_size
    if size > limit or size > max(limits.EXPANSION_FREE_BYTES, limits.EXPANSION * packed):
        raise refusal(label, f"member {quoted(entry.filename)} unpacks from {packed} to {size} bytes", EXPECTED)
    if entry.compress_type not in METHODS:
        raise refusal(label, f"member {quoted(entry.filename)} is neither stored nor deflated", EXPECTED)
    return archive.read(entry)


def _not_keras(label: str, members: dict[str, zipfile.ZipInfo], missing: list[str]) -> Exception:
    if any(name.rpartition("/")[2] == "data.pkl" for name in members):
        return refusal(label, "a PyTorch file, not a Keras checkpoint", EXPECTED)
    return refusal(label, f"a zip archive without {' and '.join(missing)}, so no .keras file", EXPECTED)
