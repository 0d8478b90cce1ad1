"""A live module, trained or not, as a converted file: the form that loads here and goes back to Keras."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.changed_fields import current_description
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from resnet_torch.optimizers.serialization import describe_optimizer
from resnet_torch.trainability import frozen_layers_of, warn_of_partly_frozen
from resnet_torch.wrappers import as_array, tensor_to_write, unwrapped
from weight_transfer.atomic import check_output
from weight_transfer.checkpoint.writing import Schema
from weight_transfer.conversion.export import rows_of, to_keras
from weight_transfer.conversion.keras_model import write_checkpoint
from weight_transfer.converted import write_converted
from weight_transfer.description import Origin, Training
from weight_transfer.errors import MappingError, TransferError, listing
from weight_transfer.images import ImageLoading
from weight_transfer.optimizer.file_pair import write_with_state
from weight_transfer.tensor_file import DTYPES


def save_converted(
    model: nn.Module,
    path: str | os.PathLike[str],
    origin: Origin | None = None,
    image_loading: ImageLoading | None = None,
    optimizer: KerasOptimizer | None = None,
) -> None:
    """Writes a module as `weight-transfer convert` would have written it, atomically.

    The file holds weights and moving statistics in the module's dtype, what network they are, and by which
    rule its batch norms learn. Dropout rates, deviations of noise, momenta and epsilons are those of the live
    modules. `load_model` reads it, ``weight-transfer convert`` takes it back to Keras.

    Args:
        model: A `ResNet` or an `ImportedModel`, on any device; also what `torch.compile` or a data-parallel
            wrapper made of one.
        path: The output; an earlier file stays until the new one is whole.
        origin: Which Keras file it began from; by default the one that `load_model` read, or none.
        image_loading: How the images it was trained on were loaded; by default what its file said.
        optimizer: Its optimizer, whose state goes to ``PATH.optimizer.safetensors`` beside it: both files or none.

    Raises:
        MappingError: The module's tensors are no longer those of its network (a layer was replaced), or hold
            what is not finite, or a negative variance; or a field of a module was changed that no file could say
            (`resnet_torch.changed_fields`). Nothing is written.
        ArchitectureError: A native ResNet has several epsilons, momenta or rates, where its description has one.
        TransferError: It is another module, its dtype has no place in the file, or the file cannot be written.

    Warns:
        UserWarning: A layer is frozen in a way that Keras does not have; there it learns.

    Example:
        >>> model = load_model("resnet50.safetensors").train()
        >>> ...  # train it
        >>> save_converted(model, "trained.safetensors")
    """
    check_output(path)
    bare = unwrapped(model)
    state = bare.state_dict()
    rows = rows_of({name: tuple(tensor.shape) for name, tensor in state.items()}, bare.network)
    tensors = {row.torch: state[row.torch] for row in rows}
    _check_dtypes(tensors, (*DTYPES, "bfloat16"))
    _check_values(tensors)
    known = current_description(bare)
    description = dataclasses.replace(
        known,
        origin=origin or known.origin,
        image_loading=image_loading or known.image_loading,
        training=Training(moving_variance_of_module(bare)),
        precision=dataclasses.replace(known.precision, dtype=_dtype_of(tensors)),
        frozen=frozen_layers_of(bare),
    )
    written = [tensor_to_write(row.torch, state[row.torch]) for row in rows]
    if optimizer is not None:
        write_with_state(path, written, description, describe_optimizer(optimizer, bare))
    else:
        write_converted(path, written, description)
    warn_of_partly_frozen(bare, path)


def save_keras(
    model: nn.Module,
    path: str | os.PathLike[str],
    optimizer: KerasOptimizer | None = None,
    loss: str | None = None,
    *,
    weights_only: bool = False,
    schema: Schema | None = None,
) -> None:
    """Writes a module as a checkpoint that Keras loads and trains on, atomically.

    The config is the Keras file's own, with the numbers of the live modules, as `save_converted` reads them.

    | name | goes on in |
    |---|---|
    | ``*.keras`` | Keras 3: ``keras.saving.load_model`` |
    | ``*.weights.h5`` | Keras 3: ``load_weights`` of the same model, compiled alike, its optimizer built |
    | ``*.h5`` | tf_keras: ``load_model``; no Keras 3 goes on from any ``.h5`` with an optimizer's state |

    Args:
        model: A `ResNet` or an `ImportedModel`, also compiled or data-parallel.
        path: The output, whose name decides the container.
        optimizer: Its optimizer, with its step count, learning rate and slots.
        loss: What Keras calls the loss, such as ``categorical_crossentropy``; without it the loaded model must be
            compiled again, with ``optimizer=model.optimizer``, before ``fit``.
        weights_only: For ``.h5``: leave the model's description out.
        schema: Which Keras is to load it, ``"keras2"`` (tf_keras) or ``"keras3"``; by default the one that wrote the
            file that the module was loaded from.

    Raises:
        ArchitectureError: It is no ResNet, and no Keras config of its network is known; or as `save_converted`.
        MappingError: As `save_converted`.
        TransferError: Keras has no such optimizer, or the file cannot be written.

    Warns:
        UserWarning: As `save_converted`.
    """
    check_output(path)
    bare = unwrapped(model)
    state = bare.state_dict()
    rows = rows_of({name: tuple(tensor.shape) for name, tensor in state.items()}, bare.network)
    tensors = {row.torch: state[row.torch] for row in rows}
    _check_dtypes(tensors, DTYPES)
    _check_values(tensors)
    described = None
    if optimizer is not None:
        described = dataclasses.replace(describe_optimizer(optimizer, bare), loss=loss)
    arrays = to_keras({name: as_array(tensor) for name, tensor in tensors.items()}, bare.network)
    known = current_description(bare)
    description = dataclasses.replace(
        known,
        precision=dataclasses.replace(known.precision, dtype=_dtype_of(tensors)),
        frozen=frozen_layers_of(bare),
    )
    write_checkpoint(path, description, arrays, weights_only=weights_only, optimizer=described, schema=schema)
    warn_of_partly_frozen(bare, path)


def moving_variance_of_module(model: nn.Module) -> Any:
    """Returns the rule of a module's batch norms; None where it has none.

    Raises:
        TransferError: They do not all have the same.
    """
    rules = {module.moving_variance for module in model.modules() if isinstance(module, BatchNorm2d)}
    if len(rules) > 1:
        raise TransferError(
            "the batch norms move their variances by different rules, and a converted file has one. "
            "Set the same moving_variance on all of them."
        )
    return rules.pop() if rules else None


def _dtype_of(state: dict[str, Tensor]) -> Any:
    """The dtype of a module's numbers, the widest where it holds several."""
    found = [tensor.dtype for tensor in state.values() if tensor.is_floating_point()]
    widest = functools.reduce(torch.promote_types, found, found[0]) if found else torch.float32
    return str(widest).removeprefix("torch.")


def _check_dtypes(state: dict[str, Tensor], allowed: Collection[str]) -> None:
    bad = {str(tensor.dtype) for tensor in state.values()} - {f"torch.{name}" for name in allowed}
    if bad:
        raise TransferError(
            f"the module holds {', '.join(sorted(bad))}, which neither Keras nor a converted file takes. "
            "Save it as model.float()."
        )


def _check_values(state: dict[str, Tensor]) -> None:
    """A run that went to NaN must not replace the last good file."""
    bad = [f"{name}: not finite" for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    bad += [
        f"{name}: negative, and a variance"
        for name, tensor in state.items()
        if name.endswith("running_var") and bool((tensor < 0).any())
    ]
    if bad:
        raise MappingError(
            f"values no trained network has:{listing(bad)}\nNothing was written; an earlier file is unchanged."
        )
