from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from weight_transfer.cli.summary import summary_command
from weight_transfer.errors import ArchitectureError


def test_json_holds_what_was_asked_for():
    asked = ["--json", "--classes", "10", "--input-size", "64x96", "--stride-in", "3x3"]
    for depth in ("50", "18", "50"):
        asked += ["--depth", depth]
    done = CliRunner().invoke(summary_command, asked, catch_exceptions=False)
    found = json.loads(done.output)
    assert [network["depth"] for network in found["networks"]] == [50, 18]
    assert (found["input_size"], found["classes"], found["stride_in"]) == ([64, 96], 10, "3x3")
    fifty = found["networks"][0]
    assert fifty["parts"][-2]["output_size"] == [2, 3]
    assert fifty["published_multiply_adds"] is None
    assert fifty["cost"]["multiply_adds"] == fifty["torchvision"]["multiply_adds"]  # the stride has moved
    assert len(found["basic_or_bottleneck_networks"]) == 5


def test_a_size_that_is_none_is_refused():
    with pytest.raises(ArchitectureError, match="must be HxW"):
        CliRunner().invoke(summary_command, ["--input-size", "big"], catch_exceptions=False)


def test_a_depth_that_is_none_is_refused():
    done = CliRunner().invoke(summary_command, ["--depth", "20"])
    assert done.exit_code == 2
    assert "152" in done.output
