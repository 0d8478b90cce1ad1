"""The README's blocks, and its commands run with this environment's programs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def sh(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line of the README with this environment's commands."""
    words = shlex.split(command, comments=True)
    words[0] = str(BIN / Path(words[0]).name)
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, timeout=600)
