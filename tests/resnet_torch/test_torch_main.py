"""``python -m resnet_torch``, as a person runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_persons_mistake_is_one_line_and_exit_code_2():
    command = [sys.executable, "-m", "resnet_torch", "compare", "--input-size", "224"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --input-size must be HxW, such as 224x224. Received: '224'\n"
