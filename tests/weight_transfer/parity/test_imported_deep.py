"""The deep networks of the zoo, in a file of their own so that two workers share them."""

from __future__ import annotations

import pytest
from zoo import DEEP, check, parameters

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("name", "family", "suffix"), parameters(DEEP))
def test_every_layer_computes_what_keras_computes(name, family, suffix, tmp_path, keras_side, runner):
    check(name, family, suffix, tmp_path, keras_side, runner=runner)
