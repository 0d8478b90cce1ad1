"""TensorFlow's padding 'same', which PyTorch refuses for strides above 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SamePad2d(nn.Module):
    """Pads with zeros as a Keras layer of this window and ``padding="same"`` does.

    How much depends on the size of the input; an odd row or column goes to the bottom or right.

    Args:
        kernel_size: Of the square window that follows.
        strides: Of the window that follows.
    """

    def __init__(self, kernel_size: int, strides: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.strides = strides

    def forward(self, x: Tensor) -> Tensor:
        """Pads (N, C, H, W) so that the window then gives (ceil(H / strides), ceil(W / strides))."""
        return same_pad(x, (self.kernel_size,) * 2, (self.strides,) * 2)

    def extra_repr(self) -> str:
        """Shows the window in the printed module."""
        return f"kernel_size={self.kernel_size}, strides={self.strides}"


@torch.fx.wrap  # one node of a traced graph: what happens inside depends on the size
def same_pad(x: Tensor, window: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Pads the spatial axes of (N, C, ...) with zeros by TensorFlow's rule for 'same'.

    Args:
        x: Input.
        window: How far the kernel reaches along each spatial axis, dilation included.
        strides: Of the window.

    Returns:
        (N, C, ...), from which the window takes ceil(size / strides) steps.
    """
    per_axis = [same_padding(*sizes) for sizes in zip(x.shape[2:], window, strides, strict=True)]
    return pad_axes(x, per_axis)


def same_padding(size: int, kernel_size: int, strides: int) -> tuple[int, int]:
    """Returns how many zeros go before and behind a row of ``size`` pixels.

    Source: tensorflow/core/framework/common_shape_fns.cc, GetWindowedOutputSizeVerbose.
    """
    # (ceil(size / strides) - 1) * strides + kernel_size - size, in a form that torch.export can bound.
    total = max(kernel_size - strides + -size % strides, 0)
    return total // 2, total - total // 2


def pad_axes(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Pads each spatial axis of (N, C, ...) before and behind; `torch.nn.functional.pad` begins at the last axis."""
    return F.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)
