"""TensorFlow's greetings, kept off a person's terminal; anything else that it says at its start comes through."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Written by C++ before any setting of Python's is read, on every machine without a GPU too.
GREETING = re.compile(rb"WARNING: All log messages before absl|I\d{4} |.*failed call to cuInit|.*oneDNN custom op")


@contextmanager
def quiet_start() -> Iterator[None]:
    """Holds back what is written to standard error, and gives it at the end without the greetings."""
    sys.stderr.flush()
    try:
        kept_stderr = os.dup(2)
    except OSError:  # closed: there is nobody to spare
        yield
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept_stderr, 2)
            os.close(kept_stderr)
            said.seek(0)
            for line in said:
                if not GREETING.match(line):
                    os.write(2, line)
