"""An optimizer's state in PyTorch's layout, and the file that holds it beside the converted weights.

A file of its own, so that the weights' file stays what it is without it, bit for bit: its certificates hold, and
whoever only wants to predict need not take three times its size.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weight_transfer.converted import Converted, read_converted
from weight_transfer.description import Origin
from weight_transfer.errors import CheckpointError, quoted
from weight_transfer.fingerprint import fingerprint_of
from weight_transfer.optimizer.classes import OPTIMIZERS
from weight_transfer.tensor_file import DTYPES, Content, Kind, Tensor, TensorFile, open_tensor_file

SUFFIX = ".optimizer.safetensors"
STATE = Kind(
    name="optimizer state",
    format=1,
    expected=f"the {SUFFIX} file that `weight-transfer convert --with-optimizer` or resnet_torch.save_converted wrote",
    remedy="Convert the checkpoint again.",
    error=CheckpointError,
)
EARLIER = ".earlier"


@dataclass(frozen=True)
class LossScale:
    """What a ``LossScaleOptimizer`` had found, for `torch.amp.GradScaler`.

    Attributes:
        scale: Of the loss.
        good_steps: Steps since it last changed.
        growth_interval: Steps after which it doubles.
    """

    scale: float
    good_steps: int
    growth_interval: int


@dataclass(frozen=True)
class OptimizerState:
    """All that an optimizer knows.

    Attributes:
        class_name: A key of `classes.OPTIMIZERS`.
        config: What Keras serializes it as: ``class_name`` and ``config``.
        iterations: Steps taken.
        learning_rate: The current one; None where the config's schedule gives it.
        tensors: The slots, named ``momentum/stem.conv.weight``, in PyTorch's layout.
        frozen: Paths of the PyTorch modules that do not learn.
        u_product: Nadam's.
        loss_scale: Of mixed precision.
        loss: How the model was compiled, where another Keras understands it too.
        assumed: What the file did not say, in words.
    """

    class_name: str
    config: Mapping[str, Any]
    iterations: int
    learning_rate: float | None
    tensors: tuple[Tensor, ...] = ()
    frozen: tuple[str, ...] = ()
    u_product: float | None = None
    loss_scale: LossScale | None = None
    loss: str | None = None
    assumed: tuple[str, ...] = ()

    @property
    def slots(self) -> dict[str, dict[str, Tensor]]:
        """The tensors by slot and by parameter."""
        found: dict[str, dict[str, Tensor]] = {}
        for tensor in self.tensors:
            slot, _, parameter = tensor.name.partition("/")
            found.setdefault(slot, {})[parameter] = tensor
        return found

    def facts(self) -> dict[str, Any]:
        """All but the tensors, as JSON can hold it."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "tensors"}
        values["loss_scale"] = None if self.loss_scale is None else asdict(self.loss_scale)
        return {**values, "frozen": list(self.frozen), "assumed": list(self.assumed)}


@dataclass(frozen=True)
class SavedState:
    """A state's file, read.

    Attributes:
        path: The file.
        state: What it holds; each tensor is read when asked for.
        fingerprint: Of the weights that it belongs to.
        origin: Where the weights come from.
    """

    path: Path
    state: OptimizerState
    fingerprint: str
    origin: Origin


def path_of_state(weights: str | os.PathLike[str]) -> Path:
    """Returns where the state of a converted file lies: ``resnet50.optimizer.safetensors`` beside it."""
    weights = Path(weights)
    return weights.with_name(weights.name.removesuffix(".safetensors") + SUFFIX)


def earlier_state(beside: Path) -> Path:
    """Returns the name of a state while a new pair of weights and state is given its names."""
    return beside.with_name(f"{beside.name}{EARLIER}")


def state_beside(weights: str | os.PathLike[str]) -> Path:
    """Returns the file of the state that belongs to converted weights, whether or not there is one.

    Where writing a new pair was cut off between its two renames, that is the earlier state under its other name.
    """
    beside = path_of_state(weights)
    earlier = earlier_state(beside)
    return earlier if earlier.exists() and not _belongs(beside, Path(weights)) else beside


def _belongs(beside: Path, weights: Path) -> bool:
    if not beside.exists():
        return False
    converted = read_converted(weights)
    return read_state(beside, converted).fingerprint == converted.fingerprint


def state_content(state: OptimizerState, fingerprint: str, origin: Origin) -> Content:
    """Returns what goes into a state's file.

    Args:
        state: What it holds.
        fingerprint: Of the weights.
        origin: Of the weights.
    """
    return Content(STATE, {**state.facts(), "fingerprint": fingerprint, "origin": origin.__dict__}, state.tensors)


def read_state(path: str | os.PathLike[str], weights: Converted | None = None) -> SavedState:
    """Opens a state's file.

    Args:
        path: The state's file.
        weights: The converted file that it lies beside; a state that version 0.1.0 wrote takes today's names from it.

    Raises:
        CheckpointError: It is none, or damaged.
    """
    file = open_tensor_file(path, STATE)
    saved = file.parsed(functools.partial(_saved, file))
    return _with_present_names(saved, weights) if weights is not None and weights.renamed else saved


def read_state_beside(weights: Converted) -> SavedState | None:
    """Opens the state that lies beside a converted file; None where there is none.

    Raises:
        CheckpointError: What lies there is no state, or damaged.
    """
    beside = state_beside(weights.path)
    return read_state(beside, weights) if beside.exists() else None


def _saved(file: TensorFile, facts: Mapping[str, Any]) -> SavedState:
    for tensor in file.tensors.values():
        if tensor.dtype.kind != "f":
            dtype = DTYPES[tensor.dtype.name]
            raise CheckpointError(
                f"{file.path}: {quoted(tensor.name)} is of type {dtype}. Expected floating-point numbers."
            )
    values = dict(facts)
    fingerprint, origin = values.pop("fingerprint"), Origin(**values.pop("origin"))
    scale = values.pop("loss_scale")
    if values["class_name"] not in OPTIMIZERS:
        raise ValueError(f"class_name {values['class_name']!r}")
    state = OptimizerState(
        tensors=tuple(file.tensors.values()),
        loss_scale=None if scale is None else LossScale(**scale),
        frozen=tuple(values.pop("frozen")),
        assumed=tuple(values.pop("assumed")),
        **values,
    )
    return SavedState(file.path, state, fingerprint, origin)


def _with_present_names(saved: SavedState, weights: Converted) -> SavedState:
    names = weights.renamed
    modules = {earlier.rpartition(".")[0]: name.rpartition(".")[0] for earlier, name in names.items()}

    def present(tensor: Tensor) -> Tensor:
        slot, _, parameter = tensor.name.partition("/")
        return dataclasses.replace(tensor, name=f"{slot}/{names.get(parameter, parameter)}")

    state = dataclasses.replace(
        saved.state,
        tensors=tuple(map(present, saved.state.tensors)),
        frozen=tuple(modules.get(path, path) for path in saved.state.frozen),
    )
    earlier = fingerprint_of((name, tensor.read()) for name, tensor in weights.file.tensors.items())
    fingerprint = weights.fingerprint if saved.fingerprint == earlier else saved.fingerprint
    return dataclasses.replace(saved, state=state, fingerprint=fingerprint)
