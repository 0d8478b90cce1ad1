"""The maintainers' checkpoints and images, beside the checkout where they have them."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
