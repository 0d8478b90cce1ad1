"""Holds a port to Keras in CI: every layer, gradient and statistic, on a machine that needs no Keras.

weight-transfer record resnet50.h5 -o reference.safetensors       # once, where Keras is
PORT=resnet50.safetensors REFERENCE=reference.safetensors pytest examples/test_parity.py
"""

from __future__ import annotations

import os
from collections.abc import Callable

from resnet_torch import load_model


def test_the_port_is_keras_s_network(assert_parity: Callable[..., object]) -> None:
    """The fixture comes with the package; any `torch.nn.Module` can stand in for the model."""
    assert_parity(load_model(os.environ["PORT"]), os.environ["REFERENCE"], training=True)
