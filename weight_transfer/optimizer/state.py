"""An optimizer's state in PyTorch's layout, and the file that holds it beside the converted weights.

A file of its own, so that the weights' file stays what it is without it, bit for bit: its certificates hold, and
whoever only wants to predict need not take three times its size.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from weight_transfer.converted import Tensor, read_converted
from weight_transfer.description import Origin
from weight_transfer.errors import CheckpointError
from weight_transfer.optimizer.classes import RULES
from weight_transfer.safetensors_header import safetensors_header

METADATA_KEY = "weight_transfer_optimizer"
SUFFIX = ".optimizer.safetensors"
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
        class_name: A key of `classes.RULES`.
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


@dataclass
class Fingerprint:
    """Of weights, tensor by tensor in any order: the same for equal names, dtypes, shapes and numbers."""

    _digests: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, array: npt.NDArray[Any]) -> None:
        """Counts a tensor in."""
        content = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        self._digests[name] = f"{array.dtype.name} {array.shape} {content}"

    @property
    def value(self) -> str:
        """In hexadecimal."""
        return hashlib.sha256(json.dumps(sorted(self._digests.items())).encode()).hexdigest()


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
    return read_state(beside).fingerprint == fingerprint_of(read_converted(weights).tensors().items())


def fill_state(
    path: Path,
    state: OptimizerState,
    fingerprint: str,
    origin: Origin,
    on_written: Callable[[int], None] | None = None,
) -> None:
    """Writes a state to a temporary file; each tensor is read when its turn comes.

    Args:
        path: Of the temporary file.
        state: What to write.
        fingerprint: Of the weights.
        origin: Of the weights.
        on_written: Called with each tensor's size in bytes.
    """
    ordered = sorted(state.tensors, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))
    metadata = {**state.facts(), "fingerprint": fingerprint, "origin": origin.__dict__}
    header = safetensors_header(
        ((tensor.name, tensor.dtype, tensor.shape) for tensor in ordered),
        {METADATA_KEY: json.dumps(metadata, sort_keys=True), "format": "pt"},
    )
    with path.open("wb") as file:
        file.write(header)
        for tensor in ordered:
            file.write(np.ascontiguousarray(tensor.read()).data.cast("B"))
            if on_written is not None:
                on_written(tensor.size_bytes)


def size_of_state(state: OptimizerState) -> int:
    """Bytes of all its tensors."""
    return sum(tensor.size_bytes for tensor in state.tensors)


def read_state(path: str | os.PathLike[str]) -> SavedState:
    """Opens a state's file.

    Raises:
        CheckpointError: It is none, or damaged.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            names = list(file.keys())
            tensors = [] if metadata is None else [_tensor(path, file.get_slice(name), name) for name in names]
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}).") from error
    if metadata is None:
        raise CheckpointError(
            f"{path}: holds no optimizer state. Expected the {SUFFIX} file that `weight-transfer convert "
            "--with-optimizer` or resnet_torch.save_converted wrote."
        )
    try:
        return _parsed(path, json.loads(metadata), tuple(tensors))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its metadata is damaged ({error}). Convert the checkpoint again.") from error


def _parsed(path: Path, values: dict[str, Any], tensors: tuple[Tensor, ...]) -> SavedState:
    fingerprint, origin = values.pop("fingerprint"), Origin(**values.pop("origin"))
    scale = values.pop("loss_scale")
    if values["class_name"] not in RULES:
        raise ValueError(f"class_name {values['class_name']!r}")
    state = OptimizerState(
        tensors=tensors,
        loss_scale=None if scale is None else LossScale(**scale),
        frozen=tuple(values.pop("frozen")),
        assumed=tuple(values.pop("assumed")),
        **values,
    )
    return SavedState(path, state, fingerprint, origin)


def _tensor(path: Path, piece: Any, name: str) -> Tensor:
    dtype = np.dtype({"F64": "float64", "F32": "float32", "F16": "float16"}.get(piece.get_dtype(), "V1"))
    if dtype.kind != "f":
        raise CheckpointError(f"{path}: {name} is of type {piece.get_dtype()}. Expected floating-point numbers.")

    def read() -> npt.NDArray[Any]:
        with safe_open(path, framework="np") as file:
            array: npt.NDArray[Any] = file.get_tensor(name)
            return array

    return Tensor(name, dtype, tuple(piece.get_shape()), read)


def fingerprint_of(tensors: Iterable[tuple[str, npt.NDArray[Any]]]) -> str:
    """Returns the fingerprint of weights by state-dict key."""
    found = Fingerprint()
    for name, array in tensors:
        found.add(name, array)
    return found.value
