"""How convolution kernels lie in files of Keras 1 and of Theano, and how they come to lie as in every later file.

Theano turns a kernel by 180 degrees before it multiplies, TensorFlow does not. Keras 2.0 to 2.3 said in each file on
which it had been trained, and turned the kernels when the other one loaded it; tf_keras and Keras 3 no longer do.
Keras 1 stored kernels in Theano's order, (out, in, height, width), where ``dim_ordering`` is ``th``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from weight_transfer.checkpoint.layer_names import Config, layers_of

THEANO = "theano"
KERNELS = ("kernel", "depthwise_kernel")  # a pointwise kernel is the same when turned
# Keras 1's arguments: the one that its 2-D and 3-D convolutions have, and the one that its 1-D convolution has.
ORDERING, LENGTH = "dim_ordering", "filter_length"


@dataclass(frozen=True)
class KernelLayout:
    """How one kernel is brought from the file's layout to (height, width, in, out).

    Attributes:
        axes: The file's axes in the new order; None to keep them.
        without: An axis of size one that then goes; None to keep all.
        turned: Whether the kernel is turned by 180 degrees, which reverses every axis but the last two.
    """

    axes: tuple[int, ...] | None = None
    without: int | None = None
    turned: bool = False

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape that an array of this stored shape gets."""
        moved = stored if self.axes is None else tuple(stored[axis] for axis in self.axes)
        return moved if self.without is None else (*moved[: self.without], *moved[self.without + 1 :])

    def laid_out(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns the stored numbers in the new layout."""
        moved = stored if self.axes is None else stored.transpose(self.axes)
        moved = moved if self.without is None else moved.squeeze(self.without)
        return moved[(slice(None, None, -1),) * (moved.ndim - 2)] if self.turned else moved


def kernel_layouts(
    shapes: Mapping[str, tuple[int, ...]], config: Config | None, backend: str | None
) -> dict[str, KernelLayout]:
    """Returns the layout of every kernel that lies otherwise than in today's files.

    Args:
        shapes: Of every array as it is stored, by ``layer/role``.
        config: The model's, where it is known: Keras 1's order stands nowhere else.
        backend: On which the file's Keras ran, where the file says so.

    Source: Keras 2.2.4 keras/engine/saving.py, preprocess_weights_for_loading and _need_convert_kernel;
        keras/utils/conv_utils.py, convert_kernel; keras/backend/theano_backend.py, whose depthwise and transposed
        convolutions turn their kernels too. tf_keras 2.21 saving/legacy/hdf5_format.py has the order of Keras 1.
    """
    layers = {"/".join(path): layer.get("config") for path, layer in layers_of(config or {})}
    found = {}
    for name, shape in shapes.items():
        path, _, role = name.rpartition("/")
        if role not in KERNELS:
            continue
        moved = _of_keras_1(shape, layers.get(path))
        layout = KernelLayout(moved.axes, moved.without, backend == THEANO and len(moved.shape(shape)) >= 3)
        if layout != KernelLayout():
            found[name] = layout
    return found


def _of_keras_1(shape: tuple[int, ...], arguments: Any) -> KernelLayout:
    """How Keras 1 laid out a kernel by its layer's arguments; Keras 2 has none of these."""
    given = arguments if isinstance(arguments, Mapping) else {}
    rank = len(shape)
    if rank in (4, 5) and given.get(ORDERING) == "th":
        return KernelLayout((*range(2, rank), 1, 0))
    if rank == 4 and LENGTH in given:  # a convolution over images of one column
        of_keras_1_0 = shape[:2] != (given[LENGTH], 1) or shape[3] != given.get("nb_filter")
        return KernelLayout((2, 3, 1, 0), 1) if of_keras_1_0 else KernelLayout(None, 1)
    return KernelLayout()


def said_of_kernels(layouts: Mapping[str, KernelLayout]) -> tuple[str, ...]:
    """Returns a sentence for each way in which kernels were moved; none where all lie as in today's files."""
    turned = [name for name, layout in layouts.items() if layout.turned]
    moved = [name for name, layout in layouts.items() if layout.axes is not None]
    lines = []
    if turned:
        lines.append(
            f"{_counted(turned)} turned by 180 degrees: the file was trained on Theano, as its backend says, and "
            "Keras 2.0 to 2.3 turned them too when they loaded it on TensorFlow"
        )
    if moved:
        lines.append(
            f"{_counted(moved)} transposed from Keras 1's order ('th': out, in, height, width), and not turned: "
            "Keras 1 does not say whether Theano trained them"
        )
    return tuple(lines)


def _counted(names: list[str]) -> str:
    return f"{len(names)} kernels ({names[0]}{' and others' if len(names) > 1 else ''})"
