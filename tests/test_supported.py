"""docs/supported.md says what the suite tests, no more and no less."""

from pathlib import Path

import supported

from resnet_torch.layers import LAYER_MODULES
from weight_transfer.layer_types import LAYER_TYPES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "supported.md"


def test_page_is_what_the_table_and_the_cases_give():
    assert PAGE.read_text() == supported.markdown(), "run: python tests/support/supported.py > docs/supported.md"


def test_both_halves_of_the_table_have_the_same_classes():
    assert set(LAYER_TYPES) == set(LAYER_MODULES)


def test_every_class_is_tested_somewhere():
    values = supported.tested()
    for line in PAGE.read_text().splitlines():
        if line.startswith("| ") and " below " in line:
            assert line.split("|")[1].strip() not in values
