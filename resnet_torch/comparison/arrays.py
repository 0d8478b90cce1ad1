"""Whether a module has Keras's arrays, all of them, and learns what Keras learns and nothing else."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.comparison.layer_errors import own_training_mode, restored
from resnet_torch.comparison.randomness import held_still
from resnet_torch.comparison.subject import Subject
from resnet_torch.conv_norm import BATCH_NORMS
from resnet_torch.moving_variance import increment_of
from weight_transfer.errors import SHOWN_AT_MOST
from weight_transfer.parity.recorded_network import RecordedLayer, RecordedNetwork

IMAGE_AXES = 3  # without the batch's
COUNT = "num_batches_tracked"  # of PyTorch's batch norms alone, and of no effect where a momentum is given


def array_differences(
    subject: Subject, network: RecordedNetwork, left_out: Collection[str], *, complete: bool
) -> Iterator[str]:
    """Yields in words what the module has otherwise than the network of the file.

    Args:
        subject: The module, frozen where its owner froze it.
        network: As the recording says.
        left_out: Layers that are left out on purpose, with the parameters of their modules.
        complete: Whether the network has every array; otherwise a named layer may have more of them.
    """
    state = subject.model.state_dict(keep_vars=True)
    missing, shaped, frozen, learning, mode = [], [], [], [], []
    covered = {id(tensor) for name in left_out for tensor in _parameters_of(subject, name)}
    if not complete:
        covered |= {id(state.get(row.torch)) for row in subject.rows.values()}
    for layer in network.layers:
        if layer.name in left_out:
            continue
        for role, shape in layer.arrays.items():
            name = f"{layer.name}/{role}"
            row = subject.rows.get(name)
            tensor = None if row is None else state.get(row.torch)
            if row is None or tensor is None:
                missing.append(name)
                continue
            covered.add(id(tensor))
            if row.shape != shape or tensor.numel() != math.prod(shape):
                shaped.append(f"{name} {shape} in Keras, {row.torch} {tuple(tensor.shape)} here")
            elif role in layer.learning and not tensor.requires_grad:
                frozen.append(f"{name} ({row.torch})")
            elif role not in layer.learning and tensor.requires_grad:
                learning.append(f"{name} ({row.torch})")
        if _is_frozen_otherwise(subject, layer):
            mode.append(layer.name)
    own = [
        name
        for name, parameter in subject.model.named_parameters()
        if parameter.requires_grad and id(parameter) not in covered
    ]
    yield from _listed("arrays of Keras that no tensor of the module stands for", missing)
    yield from _listed("arrays of another shape", shaped)
    yield from _listed("parameters that learn, and that Keras has not", own)
    yield from _listed("what learns in Keras, and not here", frozen)
    yield from _listed("what learns here, and is frozen in Keras", learning)
    yield from _listed("batch norms whose statistics move on one side alone", mode)


def variance_differences(
    model: nn.Module, subject: Subject, network: RecordedNetwork, left_out: Collection[str]
) -> Iterator[str]:
    """Yields in words which batch norms move their variances by another rule than the Keras that wrote the file.

    Args:
        model: The module as its owner gave it; the subject's follows the reference, which runs in float64.
        subject: The module as it is compared.
        network: As the recording says.
        left_out: Layers that are left out on purpose.
    """
    rule, others = network.moving_variance, []
    for layer in network.layers:
        tap = subject.taps.get(layer.name)
        if rule is None or layer.name in left_out or tap is None or not tap.modules:
            continue
        norm = model.get_submodule(tap.modules[0])
        if not isinstance(norm, BatchNorm2d) or not _has_images(layer):
            continue
        fused = getattr(norm, "fused", True)
        if increment_of(rule, fused, images=True) != increment_of(norm.moving_variance, fused, images=True):
            others.append(f"{layer.name} ({norm.moving_variance!r})")
    yield from _listed(f"batch norms with another moving_variance than the file's Keras, {rule!r}", others)


def learn_as_recorded(model: nn.Module, network: RecordedNetwork) -> None:
    """Gives PyTorch's own batch norms, where they are right for the file, a rule that can be compared in float64.

    There Keras 2 has no fused kernel, and keeps the biased variance where in float32 it keeps PyTorch's unbiased one.
    """
    if network.moving_variance != "tf_keras":
        return
    for norm in model.modules():
        if type(norm) is nn.BatchNorm2d and norm.momentum is not None and norm.affine:
            own = BatchNorm2d(norm.num_features, norm.eps, norm.momentum)
            norm.__class__ = BatchNorm2d
            vars(norm).update({name: getattr(own, name) for name in ("moving_variance", "frozen", "synchronized")})


def _has_images(layer: RecordedLayer) -> bool:
    return bool(layer.in_shapes) and len(layer.in_shapes[0]) == IMAGE_AXES


def unfreeze_as_recorded(subject: Subject, network: RecordedNetwork) -> list[nn.Module]:
    """Lets what the file has frozen learn, as the recorded reference does.

    Returns:
        The batch norms among it.
    """
    norms: list[nn.Module] = []
    for layer in network.layers:
        tap = subject.taps.get(layer.name)
        if layer.trainable or tap is None or not tap.modules:
            continue
        for path in tap.modules:
            module = subject.model.get_submodule(path)
            module.requires_grad_(True)
            for norm in module.modules():
                if isinstance(norm, BATCH_NORMS):
                    norms.append(norm)
                if isinstance(norm, BatchNorm2d):
                    norm.frozen = False
    return norms


def moved_buffers(subject: Subject, inputs: Sequence[Tensor], left_out: Collection[str]) -> list[str]:
    """Returns the buffers that a step of training changes and that are no array of Keras's.

    Args:
        subject: The module.
        inputs: Of the step.
        left_out: Layers that are left out on purpose.
    """
    model = subject.model
    known = {row.torch for row in subject.rows.values()}
    without = {id(tensor) for name in left_out for tensor in _buffers_of(subject, name)}
    with restored(model), held_still(model), own_training_mode(model), torch.no_grad():
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model(*inputs)
        return [
            name
            for name, buffer in model.named_buffers()
            if name not in known
            and id(buffer) not in without
            and name.rpartition(".")[2] != COUNT
            and not torch.equal(before[name], buffer)
        ]


def _parameters_of(subject: Subject, layer: str) -> Iterator[Tensor]:
    tap = subject.taps.get(layer)
    for path in tap.modules if tap is not None else ():
        yield from subject.model.get_submodule(path).parameters()


def _buffers_of(subject: Subject, layer: str) -> Iterator[Tensor]:
    tap = subject.taps.get(layer)
    for path in tap.modules if tap is not None else ():
        yield from subject.model.get_submodule(path).buffers()


def _is_frozen_otherwise(subject: Subject, layer: RecordedLayer) -> bool:
    """Whether a batch norm takes the statistics of a batch in training, and Keras's does not, or the reverse.

    Where a call says the mode itself, the outputs of a training step show it.
    """
    tap = subject.taps.get(layer.name)
    if tap is None or not tap.modules or any(mode is not None for mode in layer.calls.values()):
        return False
    norms = [one for one in subject.model.get_submodule(tap.modules[0]).modules() if isinstance(one, BATCH_NORMS)]
    with own_training_mode(subject.model):
        return any((norm.training and not getattr(norm, "frozen", False)) != layer.trainable for norm in norms)


def _listed(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        shown = ", ".join(names[:SHOWN_AT_MOST])
        more = len(names) - SHOWN_AT_MOST
        yield f"{what}: {shown}{f' and {more} more' if more > 0 else ''}"
