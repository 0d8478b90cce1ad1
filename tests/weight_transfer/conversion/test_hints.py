"""What a person may say."""

from __future__ import annotations

import pytest

from weight_transfer import ArchitectureError, Hints


def test_hints_are_checked():
    with pytest.raises(ArchitectureError, match="unknown dialect"):
        Hints(dialect="klingon")
    with pytest.raises(ArchitectureError, match="depth must be one of"):
        Hints(depth=51)
