"""``python -m resnet_torch``, as a person runs it."""

from __future__ import annotations

import runpy
import sys

import pytest


def test_a_persons_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["resnet_torch", "compare", "--input-size", "224"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("resnet_torch", run_name="__main__")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error: --input-size must be HxW, such as 224x224. Received: '224'\n"
