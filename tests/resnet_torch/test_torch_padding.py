from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnet_torch.padding import SamePad2d, same_padding


@pytest.mark.parametrize(
    ("size", "kernel_size", "strides", "expected"),
    [(224, 7, 2, (2, 3)), (225, 7, 2, (3, 3)), (112, 3, 2, (0, 1)), (113, 3, 2, (1, 1)), (10, 1, 2, (0, 0))],
)
def test_same_padding_puts_the_odd_one_behind(size, kernel_size, strides, expected):
    assert same_padding(size, kernel_size, strides) == expected


@given(size=st.integers(1, 300), kernel_size=st.integers(1, 9), strides=st.integers(1, 4))
def test_same_padding_is_tensorflows_rule(size, kernel_size, strides):
    # The same rule as the TensorFlow documentation writes it, by the remainder.
    rest = size % strides or strides
    before, behind = same_padding(size, kernel_size, strides)
    assert before + behind == max(kernel_size - rest, 0)
    assert behind - before in (0, 1)


@given(height=st.integers(1, 40), width=st.integers(1, 40), kernel_size=st.integers(1, 7), strides=st.integers(1, 3))
def test_same_pad_lets_the_window_give_the_rounded_up_size(height, width, kernel_size, strides):
    x = torch.ones(1, 1, height, width)
    padded = SamePad2d(kernel_size, strides)(x)
    windows = torch.nn.functional.max_pool2d(padded, kernel_size, strides)
    assert windows.shape[2:] == (-(-height // strides), -(-width // strides))
    assert padded.sum() == height * width


def test_same_pad_shows_its_window():
    assert repr(SamePad2d(7, strides=2)) == "SamePad2d(kernel_size=7, strides=2)"
