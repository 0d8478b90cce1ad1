"""The kinds of image file that are read, known by their first bytes, whatever a file's name says.

Pillow asks each of its plugins what a file is: PostScript called ``cat.png`` would run Ghostscript, and rare formats
bring rare decoders.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from weight_transfer.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

FIRST_BYTES: Mapping[str, bytes] = {  # by Pillow's names, as regular expressions
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "BMP": rb"BM",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF....WEBP",
    "TIFF": rb"II[*+]\x00|MM\x00[*+]",
    "PPM": rb"P[1-6][\s#]",
}
LONGEST = 12


def check_format(data: bytes) -> None:
    """Raises ImageError for what is none of the formats."""
    if not any(re.match(start, data[:LONGEST], re.DOTALL) for start in FIRST_BYTES.values()):
        *names, last = FIRST_BYTES
        raise ImageError(
            f"not a readable image (its first bytes are {data[:8]!r}). Expected {', '.join(names)} or {last}, "
            "whatever the file's name. Save it as PNG."
        )


def opened(data: bytes) -> Image.Image:
    """Opens a file's bytes by Pillow, by the decoders of these formats and no other."""
    from PIL import Image

    return Image.open(io.BytesIO(data), formats=tuple(FIRST_BYTES))
