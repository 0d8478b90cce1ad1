"""The fixture ``assert_parity``, in every pytest run where this package is installed.

It lies here, and not in `resnet_torch`, because pytest loads a plugin with the package around it: a
run without torch, or in no need of it, must not import it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def assert_parity() -> Callable[..., Any]:
    """`resnet_torch.testing.assert_parity`: a PyTorch module against a Keras model, layer by layer.

    Example:
        >>> def test_port(assert_parity):
        ...     assert_parity(port.eval(), "model.keras", images)
    """
    asserting: Callable[..., Any] = importlib.import_module("resnet_torch.testing").assert_parity
    return asserting
