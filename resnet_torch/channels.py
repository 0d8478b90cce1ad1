"""Tensors (N, C, ...) whose second axis is the channels': what lies along it, and how they lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def along_channels(values: Tensor, x: Tensor) -> Tensor:
    """Returns one value per channel, (C,), in the shape that broadcasts against x, (N, C, ...)."""
    return values.reshape(-1, *(1,) * (x.dim() - 2))


def in_one_format(x: Tensor) -> Tensor:
    """Returns x, (N, C, ...), or (N, C, places) where its strides are those of two memory formats.

    An axis of size 1 beside the channels lets the same strides mean channels first and channels last.
    PyTorch's CPU kernel of a batch norm may then read the images by one and their gradient by the
    other: everything it passes back is wrong. With one spatial axis there is one format. A compiled
    graph has kernels of its own.

    Source: torch 2.14, aten/src/ATen/native/Normalization.cpp, batch_norm_backward_cpu, whose test of the
    formats is weaker than that of the kernel that it calls, in cpu/batch_norm_kernel.cpp.
    """
    ambiguous = x.dim() > 3 and not torch.compiler.is_compiling() and 1 in (x.shape[0], *x.shape[2:])
    return x.flatten(2) if ambiguous else x
