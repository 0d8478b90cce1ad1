"""What a ResNet is, in numbers and words, without any framework.

Everything else follows from one `Architecture`: both models, every layer's name and shape, the
Keras configuration, the PyTorch state dict's keys, and the map between the two.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weight_transfer.errors import ArchitectureError

BlockKind = Literal["basic", "bottleneck"]
StrideIn = Literal["1x1", "3x3"]
Padding = Literal["zeros", "same", "none"]
Activation = Literal["softmax", "sigmoid", "linear"]
Pooling = Literal["avg", "max"]

# Block counts per stage: He et al. 2015 (arXiv:1512.03385), table 1.
DEPTHS: Mapping[int, tuple[BlockKind, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}

FIRST_STAGE = 2  # the stem is stage 1 in the paper's and in every dialect's count
EXPANSION = 4  # a bottleneck's last 1x1 widens by 4: He et al. 2015, figure 5


@dataclass(frozen=True)
class Conventions:
    """What changes a ResNet's output, or its training, and leaves no trace in a weights file.

    Attributes:
        epsilon: Added to the variance by every batch norm.
        momentum: Share of the old moving statistic that one training step keeps.
        conv_bias: Whether convolutions carry a bias (seen in a file as bias arrays).
        stride_in: Which convolution of a strided bottleneck carries the stride.
        stem_padding: Around the 7x7: ``zeros`` pads 3 on each side; ``same`` is TensorFlow's
            rule, the odd row and column at the bottom and the right.
        pool_padding: Around the stem's max pool, on 112 x 112: ``zeros`` pads 1 on each side
            (56 x 56), ``none`` pads nothing (55 x 55), ``same`` pads bottom and right (56 x 56).
        kernel_initializer: How convolution kernels start.
    """

    epsilon: float = 1e-3
    momentum: float = 0.99
    conv_bias: bool = True
    stride_in: StrideIn = "1x1"
    stem_padding: Literal["zeros", "same"] = "zeros"
    pool_padding: Padding = "zeros"
    kernel_initializer: Literal["he_normal", "glorot_uniform"] = "he_normal"


@dataclass(frozen=True)
class Head:
    """What follows the last stage.

    Attributes:
        pooling: Global pooling, or None to end with the feature map.
        hidden_units: Width of a hidden ReLU dense layer, or None for none.
        classes: Width of the last dense layer, or None for a network without a classifier.
        dropout: Rate of the dropout before each dense layer; 0 leaves the layer out.
        activation: What `predict` applies to the logits.
    """

    pooling: Pooling | None = "avg"
    hidden_units: int | None = None
    classes: int | None = 1000
    dropout: float = 0.0
    activation: Activation = "softmax"


@dataclass(frozen=True)
class Names:
    """How a dialect names the layers; ``{stage}``, ``{block}`` and ``{branch}`` are filled in.

    Attributes:
        branches: Labels of a block's convolutions in order.
        shortcut: Label of the projection shortcut.
        block_labels: ``letters`` counts blocks a, b, c; ``numbers`` counts 1, 2, 3.
        numbered_stages: Stages whose blocks are named a, b1, b2 instead of a, b, c.
        shortcut_first: Whether the shortcut stands first among the inputs of the addition; it
            decides the order in which Keras lists the layers.
    """

    stem_pad: str = "conv1_pad"
    stem_conv: str = "conv1"
    stem_norm: str = "bn_conv1"
    stem_relu: str = "conv1_relu"
    pool_pad: str = "pool1_pad"
    pool: str = "pool1"
    conv: str = "res{stage}{block}_branch{branch}"
    norm: str = "bn{stage}{block}_branch{branch}"
    relu: str = "res{stage}{block}_branch{branch}_relu"
    pad: str = "res{stage}{block}_branch{branch}_pad"
    add: str = "res{stage}{block}"
    out: str = "res{stage}{block}_relu"
    branches: tuple[str, ...] = ("2a", "2b", "2c")
    shortcut: str = "1"
    block_labels: Literal["letters", "numbers"] = "letters"
    numbered_stages: tuple[int, ...] = ()
    global_pool: str = "avg_pool"
    hidden: str = "fc_01"
    classifier: str = "fc_final"
    shortcut_first: bool = False

    def block(self, stage: int, index: int) -> str:
        """Returns the label of the block with this index (from 0) in this stage."""
        if self.block_labels == "numbers":
            return str(index + 1)
        if index and stage in self.numbered_stages:
            return f"b{index}"
        if index >= 26:
            raise ArchitectureError(
                f"stage {stage} has a block number {index + 1}, but letters end at z. "
                f"Add {stage} to numbered_stages to name its blocks a, b1, b2. "
                f"Received: numbered_stages={self.numbered_stages}"
            )
        return chr(ord("a") + index)


@dataclass(frozen=True)
class Architecture:
    """A whole ResNet.

    Attributes:
        block: Two 3x3 (``basic``) or 1x1, 3x3, 1x1 (``bottleneck``).
        block_counts: Blocks in each stage.
        filters: Output channels of each convolution of a block, stage by stage: pairs for basic
            blocks, triples for bottlenecks.
        stem_filters: Output channels of the 7x7.
        middle_kernel_size: (kh, kw) of the 3x3.
        in_shape: (H, W, C) of an input image; H and W may be None.
        head: What follows the last stage.
        conventions: What leaves no trace in a weights file.
        names: The layers' names.
        dialect: Key of the dialect the names and conventions come from.
    """

    block: BlockKind = "bottleneck"
    block_counts: tuple[int, ...] = DEPTHS[50][1]
    filters: tuple[tuple[int, ...], ...] = ()
    stem_filters: int = 64
    middle_kernel_size: tuple[int, int] = (3, 3)
    in_shape: tuple[int | None, int | None, int] = (224, 224, 3)
    head: Head = field(default_factory=Head)
    conventions: Conventions = field(default_factory=Conventions)
    names: Names = field(default_factory=Names)
    dialect: str = "tutorial"

    def __post_init__(self) -> None:
        for name in ("block_counts", "filters", "middle_kernel_size", "in_shape"):
            object.__setattr__(self, name, _tuples(getattr(self, name)))  # lists may be given
        if not self.filters:
            object.__setattr__(self, "filters", standard_filters(self.block, len(self.block_counts)))
        _check(self)

    @property
    def depth(self) -> int:
        """The number in the network's name: the layers with weights on the longest path."""
        return 2 + sum(self.block_counts) * len(self.filters[0])

    @property
    def stages(self) -> tuple[int, ...]:
        """The stages' numbers, from 2."""
        return tuple(range(FIRST_STAGE, FIRST_STAGE + len(self.block_counts)))

    def to_dict(self) -> dict[str, Any]:
        """Returns the architecture as JSON can hold it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """Builds an architecture from what `to_dict` gave.

        Raises:
            ArchitectureError: A field is missing, unknown, or has an impossible value.
        """
        try:
            parts = {key: _tuples(value) for key, value in values.items()}
            parts["head"] = Head(**parts["head"])
            conventions = {k: v for k, v in parts["conventions"].items() if k != "preprocessing"}  # of version 0.1
            parts["conventions"] = Conventions(**conventions)
            parts["names"] = Names(**{k: _tuples(v) for k, v in parts["names"].items()})
            return cls(**parts)
        except (TypeError, KeyError, AttributeError) as error:
            raise ArchitectureError(
                f"not the description of an architecture ({error}). Expected the fields of "
                "weight_transfer.Architecture as `to_dict` writes them."
            ) from error


def standard_filters(block: BlockKind, num_stages: int, width: int = 64) -> tuple[tuple[int, ...], ...]:
    """Returns He et al.'s filters: the width doubles from stage to stage.

    Source: He et al. 2015 (arXiv:1512.03385), table 1.
    """
    widths = [width * 2**stage for stage in range(num_stages)]
    if block == "basic":
        return tuple((w, w) for w in widths)
    return tuple((w, w, EXPANSION * w) for w in widths)


def kernel_pair(middle_kernel_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (kh, kw) of a size given as one number or as a pair."""
    if isinstance(middle_kernel_size, int):
        return (middle_kernel_size, middle_kernel_size)
    return middle_kernel_size


def _tuples(value: Any) -> Any:
    """JSON has lists where the description has tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


_CHOICES: Mapping[str, tuple[object, ...]] = {
    "block": ("basic", "bottleneck"),
    "stride_in": ("1x1", "3x3"),
    "stem_padding": ("zeros", "same"),
    "pool_padding": ("zeros", "same", "none"),
    "kernel_initializer": ("he_normal", "glorot_uniform"),
    "pooling": ("avg", "max", None),
    "activation": ("softmax", "sigmoid", "linear"),
}


# A layer's name becomes a module's, and is filled in by `str.format`: other words in braces would read attributes.
_TEMPLATE = re.compile(r"(?:[A-Za-z0-9_]|\{(?:stage|block|branch)\})+")


def _check(architecture: Architecture) -> None:
    """Raises ArchitectureError, naming the field, where no such network can exist."""
    conventions, head = architecture.conventions, architecture.head
    for holder in (architecture, conventions, head):
        for name, choices in _CHOICES.items():
            value = getattr(holder, name, choices[0])
            if value not in choices:
                raise ArchitectureError(f"{name} must be one of {choices}. Received: {name}={value!r}")
    width = 2 if architecture.block == "basic" else 3
    whole = {
        "block_counts": architecture.block_counts,
        "stem_filters": (architecture.stem_filters,),
        "in_shape": tuple(1 if n is None else n for n in architecture.in_shape),
        "middle_kernel_size": architecture.middle_kernel_size,
        "filters": tuple(n for stage in architecture.filters for n in stage),
        "classes": (1 if head.classes is None else head.classes,),
        "hidden_units": (1 if head.hidden_units is None else head.hidden_units,),
    }
    for name, values in whole.items():
        if not values or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in values):
            raise ArchitectureError(f"{name} must hold whole numbers from 1. Received: {name}={values}")
    if len(architecture.filters) != len(architecture.block_counts) or any(
        len(stage) != width for stage in architecture.filters
    ):
        raise ArchitectureError(
            f"filters must hold {width} numbers for each of the {len(architecture.block_counts)} stages "
            f"of {architecture.block} blocks. Received: filters={architecture.filters}"
        )
    if len(architecture.in_shape) != 3:
        raise ArchitectureError(f"in_shape must be (H, W, C). Received: in_shape={architecture.in_shape}")
    if len(architecture.middle_kernel_size) != 2 or any(k % 2 == 0 for k in architecture.middle_kernel_size):
        raise ArchitectureError(
            "middle_kernel_size must be a pair of odd numbers, so that its padding is the same on "
            f"each side. Received: middle_kernel_size={architecture.middle_kernel_size}"
        )
    _check_names(architecture.names, width)
    if not 0 < conventions.epsilon < 1:
        raise ArchitectureError(f"epsilon must lie between 0 and 1. Received: epsilon={conventions.epsilon}")
    if not 0 <= conventions.momentum <= 1:
        raise ArchitectureError(f"momentum must lie in 0..1. Received: momentum={conventions.momentum}")
    if not 0 <= head.dropout < 1:
        raise ArchitectureError(f"dropout must lie in 0..1, below 1. Received: dropout={head.dropout}")
    if head.classes is not None and head.pooling is None:
        raise ArchitectureError("a classifier needs pooling='avg' or 'max' before it. Received: pooling=None")
    if head.hidden_units is not None and head.classes is None:
        raise ArchitectureError("hidden_units needs a classifier after it. Received: classes=None")


def _check_names(names: Names, num_branches: int) -> None:
    """Raises ArchitectureError where a name is none that a dialect could have."""
    texts = {
        f"names.{field.name}": getattr(names, field.name)
        for field in dataclasses.fields(names)
        if field.name not in ("branches", "block_labels", "numbered_stages", "shortcut_first")
    }
    texts |= {f"names.branches[{position}]": label for position, label in enumerate(names.branches)}
    for place, text in texts.items():
        if not isinstance(text, str) or _TEMPLATE.fullmatch(text) is None:
            raise ArchitectureError(
                f"{place} must be letters, digits, underscores, {{stage}}, {{block}} and {{branch}}. Received: {text!r}"
            )
    if len(names.branches) < num_branches or names.block_labels not in ("letters", "numbers"):
        raise ArchitectureError(
            f"names must have {num_branches} branches, and letters or numbers for block_labels. "
            f"Received: branches={names.branches}, block_labels={names.block_labels!r}"
        )
    if not all(isinstance(stage, int) for stage in names.numbered_stages):
        raise ArchitectureError(f"numbered_stages must hold whole numbers. Received: {names.numbered_stages}")
