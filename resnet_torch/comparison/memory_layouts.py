"""The same inference with tensors that lie channels_last in memory."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from resnet_torch.comparison.layer_errors import compare_as_it_is, network_inputs
from resnet_torch.comparison.randomness import held_still
from resnet_torch.comparison.rows import Collected, collecting
from resnet_torch.comparison.subject import Subject
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.recording import Recording
from weight_transfer.parity.tolerances import TOLERANCES


def layout_difference(
    subject: Subject, recording: Recording, cases: Sequence[Case], random: Collection[str], contiguous: Collected
) -> str | None:
    """Returns in words what differs where tensors lie channels_last in memory, and agrees where they are contiguous.

    Args:
        subject: In float64.
        recording: Of the reference.
        cases: Which inputs.
        random: Paths of modules that stand for random layers.
        contiguous: The errors of the same inputs.
    """
    where, limit = "with tensors that lie channels_last in memory", TOLERANCES["inference"]["float64"].error
    laid_out = dataclasses.replace(subject, model=_channels_last(copy.deepcopy(subject.model)))
    collected: Collected = {}
    for case in cases:
        given = [_in_channels_last(tensor) for tensor in network_inputs(laid_out, case)]
        try:
            with held_still(laid_out.model, random):
                compare_as_it_is(laid_out, recording, case, collecting(collected, "float64", case), given)
        except (RuntimeError, ValueError) as error:
            return f"{where}: {type(error).__name__}: {error}"
    for key, found in collected.items():
        if key in contiguous and contiguous[key].error <= limit < found.error:
            _, _, name, inputs = key
            return f"{where} {name} differs by {found.error:.1e} of the peak ({inputs}), and otherwise it agrees"
    return None


def _channels_last(model: nn.Module) -> nn.Module:
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = _in_channels_last(tensor.data)
    return model


def _in_channels_last(tensor: Tensor) -> Tensor:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=formats[tensor.ndim]) if tensor.ndim in formats else tensor
