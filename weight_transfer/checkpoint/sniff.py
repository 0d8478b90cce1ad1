"""What kind of file this is, told by its first bytes and never by its name."""

from __future__ import annotations

from typing import Literal

from weight_transfer.checkpoint.refusal import refusal
from weight_transfer.checkpoint.source import Source
from weight_transfer.errors import quoted

Kind = Literal["hdf5", "zip", "json"]

HEAD_BYTES = 512
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
USER_BLOCK_BYTES = (512, 1024, 2048)  # where else HDF5 may begin: file format specification, II.A

EXPECTED = "Expected a Keras .h5, .hdf5, .keras, .weights.h5 or .weights.json file."
DOWNLOAD = "Download the file again; on a web site, use its 'raw' or 'download' link."

# First bytes, lower case, after white space and a byte-order mark; what they mean; what to do.
TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for", "Fetch it with `git lfs pull`."),
    (b"<!doctype html", "a saved web page", DOWNLOAD),
    (b"<html", "a saved web page", DOWNLOAD),
    (b"<?xml", "an XML document, as servers send for an expired or wrong link", DOWNLOAD),
    (b"<error", "an XML document, as servers send for an expired or wrong link", DOWNLOAD),
)
BINARIES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "compressed with gzip", "Unpack it first with `gunzip`."),
    (b"\x80\x02", "a Python pickle (perhaps an old PyTorch file)", EXPECTED),
    (b"\x80\x03", "a Python pickle", EXPECTED),
    (b"\x80\x04", "a Python pickle", EXPECTED),
    (b"\x80\x05", "a Python pickle", EXPECTED),
    (b"\x93NUMPY", "a NumPy array", EXPECTED),
)


def kind_of(source: Source) -> Kind:
    """Tells the container.

    Raises:
        CheckpointError: The file is something else; the message says what, where it is known.
    """
    head = bytes(source.read(0, min(HEAD_BYTES, source.size_bytes)))
    if not head:
        raise refusal(source.label, "the file is empty", DOWNLOAD)
    if head.startswith(HDF5_SIGNATURE):
        return "hdf5"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for known, candidates in ((head, BINARIES), (text.lower(), TEXTS)):
        for start, meaning, advice in candidates:
            if known.startswith(start):
                raise refusal(source.label, meaning, advice)
    if _is_safetensors(head, source.size_bytes):
        raise refusal(source.label, "a safetensors file, so not a Keras checkpoint", EXPECTED)
    if text.startswith((b"{", b"[")):
        return "json"
    for offset in USER_BLOCK_BYTES:
        if source.size_bytes >= offset + 8 and source.read(offset, 8) == HDF5_SIGNATURE:
            raise refusal(source.label, f"an HDF5 file with {offset} foreign bytes before it", EXPECTED)
    raise refusal(source.label, f"not a checkpoint: the file starts with {quoted(head[:16])}", EXPECTED)


def _is_safetensors(head: bytes, size_bytes: int) -> bool:
    """The header's length in 8 bytes, then the header, which is a JSON object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size_bytes - 8
