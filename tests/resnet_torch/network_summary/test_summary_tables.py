from __future__ import annotations

import re
from pathlib import Path

import pytest

from resnet_torch.network_summary import alternative_blocks
from weight_transfer.cli import terminal
from weight_transfer.cli.summary_tables import show
from weight_transfer.parity.protocol import SummaryRequest, SummaryResult


@pytest.fixture
def printed(summaries, choices, monkeypatch, capsys) -> str:
    monkeypatch.setattr(terminal.out, "width", 80)
    result = SummaryResult(tuple(summaries.values()), tuple(alternative_blocks()), tuple(choices.values()))
    show(result, SummaryRequest(tuple(summaries), (224, 224), 1000, "1x1"))
    return capsys.readouterr().out


def test_everything_fits_a_terminal_of_80_columns(printed):
    assert "…" not in printed
    for row in (
        "conv1          112 x 112  7x7 64",
        "x2   0.41  x6   1.34  1x1 1024   1x1 1024   1x1 1024",
        "multiply-adds  10^9            1.83       3.68       3.86       7.57      11.28",
        "  the paper    10^9             1.8        3.6        3.8        7.6       11.3",
        "  torchvision  10^9            1.81       3.66       4.09       7.80      11.51",
        "bottleneck      1x1 64, 3x3 64, 1x1 256       3       256      70,784     218.37",
    ):
        assert row in printed


def test_the_page_for_learners_shows_what_is_printed(printed):
    page = (Path(__file__).resolve().parents[3] / "docs" / "residual-learning.md").read_text()
    shown = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)[-1]
    assert [line.rstrip() for line in printed.strip().splitlines()] == shown.strip().splitlines()


def test_remarks_say_where_a_figure_is_not_the_papers(printed):
    words = " ".join(printed.split())
    assert "Every output size is the paper's." in words
    assert (
        "The paper's 18 and 34 layers have shortcuts without convolutions; ours without theirs: 1.79 and 3.64." in words
    )
    assert "torchvision's bottlenecks stride in the 3x3" in words
    assert "As wide, the basic block has 16.7 times the parameters and 16.9 times the multiply-adds." in words
