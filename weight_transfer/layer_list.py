"""The layers that a file lists, those without arrays too: what computes the same shapes otherwise.

Keras 1 and 2 list every layer of ``model.layers`` in order, activations and additions too; Keras 3 keeps a
group for each, named by its class. Two networks of the same arrays differ there: in an activation, in where
it stands, in how the image is pooled. A file that lists only layers with arrays tells nothing.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.checkpoint.layer_names import snake_case
from weight_transfer.layer_types import LAYER_TYPES
from weight_transfer.layer_types.dropout_and_noise import REGULARIZING_TYPES
from weight_transfer.layer_types.operations import TF_FUNCTIONS

INPUT = "inputlayer"
# What else Keras 1 and 2 called a class in automatic names; and what has been renamed since.
OLDER_KINDS: Mapping[str, str] = {
    "convolution1d": "conv1d",
    "convolution2d": "conv2d",
    "batchnormalizationv1": "batchnormalization",
    "merge": "add",
    "input": INPUT,
}
# Layers of Keras's that no table here has; an automatic name tells them all the same.
FURTHER_CLASSES = (
    "Attention", "Bidirectional", "CenterCrop", "Cropping2D", "Dot", "Embedding", "GRU", "InputLayer", "LSTM",
    "Lambda", "Masking", "MultiHeadAttention", "RepeatVector", "SimpleRNN", "TimeDistributed",
)  # fmt: skip
WITHOUT_A_CLASS = (
    "tfoplambda",
    "slicingoplambda",
    "tensorflowoplayer",
)  # which of TensorFlow's functions, no name says


def kind_of_class(class_name: str) -> str:
    """Returns what an automatic name of this class starts with, without the underscores that Keras 1 left out."""
    return snake_case(class_name).replace("_", "")


CLASSES: Mapping[str, str] = {kind_of_class(name): name for name in (*FURTHER_CLASSES, *LAYER_TYPES)}
TRAINING_ONLY = frozenset(map(kind_of_class, REGULARIZING_TYPES))


@dataclass(frozen=True)
class Entry:
    """One layer of a list.

    Attributes:
        name: Its own, or one that only counts.
        kind: What its class is called in automatic names; None where a person chose the name, which then says
            nothing of the class.
    """

    name: str
    kind: str | None


@dataclass(frozen=True)
class Expected:
    """One layer that a network would list.

    Attributes:
        class_name: Keras class.
        listed_as: The file's name for it, where its arrays tell that.
        depth: Its place: Keras lists by depth, and within one depth in any order.
        also: Further kinds that compute the same.
    """

    class_name: str
    listed_as: str | None = None
    depth: int = 0
    also: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of entries that it may be."""
        return (kind_of_class(self.class_name), *self.also)


@dataclass(frozen=True)
class LayerList:
    """What a file lists.

    Attributes:
        entries: In order, where there is one.
        ordered: Whether the order is that of ``model.layers``.
        nested: Names of the models among them of whose layers the list says nothing.
    """

    entries: tuple[Entry, ...]
    ordered: bool
    nested: tuple[str, ...] = ()

    def unclear(self, expected: Iterable[Expected]) -> tuple[str, ...]:
        """Returns the listed layers without arrays that may apply any function."""
        with_arrays = {*self.nested, *(layer.listed_as for layer in expected)}
        unclear = (None, "activation", *WITHOUT_A_CLASS)
        return tuple(entry.name for entry in self.entries if entry.kind in unclear and entry.name not in with_arrays)

    def lacking(self, expected: Iterable[Expected]) -> tuple[str, ...]:
        """Returns the classes of the network's layers that act in training alone and are listed less often."""
        listed = Counter(entry.kind for entry in self.entries)
        wanted = Counter(layer.class_name for layer in expected if _is_training_only(layer.kinds[0]))
        return tuple(name for name, count in wanted.items() if listed[kind_of_class(name)] < count)

    def training_only(self, expected: Iterable[Expected] = ()) -> tuple[str, ...]:
        """Returns the listed layers that act in training alone, beyond those expected."""
        left = Counter(layer.kinds[0] for layer in expected)
        found = []
        for entry in self.entries:
            if _is_training_only(entry.kind):
                left[str(entry.kind)] -= 1
                found += [entry.name] if left[str(entry.kind)] < 0 else []
        return tuple(found)

    def differences(self, expected: Sequence[Expected], ignored: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Lays the list on a network's layers.

        Args:
            expected: The network's layers. Those that act in training alone are not compared; nor are inputs,
                which a Sequential does not list.
            ignored: Kinds that are not compared.

        Returns:
            A line for each class that the file lists more or less often than the network has it; empty where
            the file can list this network.
        """
        ignored = ignored | {INPUT}
        layers = [layer for layer in expected if not _is_training_only(layer.kinds[0])]
        entries = [entry for entry in self.entries if not _is_training_only(entry.kind)]
        lines = self._classes(
            [layer for layer in layers if layer.kinds[0] not in ignored],
            [entry for entry in entries if entry.kind not in ignored],
            sum(layer.kinds[0] == INPUT for layer in layers) - sum(entry.kind == INPUT for entry in entries),
        )
        if lines or not self.ordered or self.nested or ignored != {INPUT} or self.training_only(expected):
            return lines
        return self._places(layers, entries)

    def _classes(self, layers: Sequence[Expected], entries: Sequence[Entry], inputs: int) -> tuple[str, ...]:
        """Compares how often each class is there; ``inputs`` may be listed under names that somebody chose."""
        names = {layer.listed_as for layer in layers if layer.listed_as is not None}
        unnamed = [layer for layer in layers if layer.listed_as is None]
        received: dict[str, list[str]] = {}
        free = 0
        for entry in entries:
            if entry.name in names or entry.name in self.nested:
                continue
            if entry.kind is None or entry.kind in WITHOUT_A_CLASS:
                free += 1
            else:
                received.setdefault(entry.kind, []).append(entry.name)
        wanted: Counter[str] = Counter()
        for layer in unnamed:  # the first of its kinds that is still listed
            left = [kind for kind in layer.kinds if len(received.get(kind, ())) > wanted[kind]]
            wanted[(left or layer.kinds)[0]] += 1
        more = {kind: found for kind, found in received.items() if len(found) > wanted[kind]}
        fewer = {kind: count for kind, count in wanted.items() if len(received.get(kind, ())) < count}
        missing = sum(count - len(received.get(kind, ())) for kind, count in fewer.items())
        if self.nested:
            return tuple(_more(kind, found, wanted[kind]) for kind, found in more.items())
        if not more and missing <= free <= missing + max(inputs, 0):
            return ()
        lines = [_more(kind, found, wanted[kind]) for kind, found in more.items()]
        if missing > free or more:
            lines += [_fewer(kind, len(received.get(kind, ())), count) for kind, count in fewer.items()]
        if free > missing + max(inputs, 0):
            chosen = [entry.name for entry in entries if entry.kind is None and entry.name not in names]
            lines.append(f"{free - missing} of {', '.join(chosen[:5])}: the network has no such layer")
        return tuple(lines)

    def _places(self, layers: list[Expected], entries: list[Entry]) -> tuple[str, ...]:
        """Compares where each layer stands: by depth, within which any order may be."""
        if len(entries) != len(layers):  # a Sequential does not list its input
            layers = [layer for layer in layers if layer.kinds[0] != INPUT]
            entries = [entry for entry in entries if entry.kind != INPUT][-len(layers) :]
        place = 0
        for _, group in itertools.groupby(layers, key=lambda layer: layer.depth):
            row = list(group)
            listed = entries[place : place + len(row)]
            place += len(row)
            if not _fits(listed, row):
                names = ", ".join(entry.name for entry in listed)
                return (f"{names} stands where the network has {', '.join(layer.class_name for layer in row)}",)
        return ()


def left_out_line(names: Sequence[str]) -> str:
    """Says which listed layers a port leaves out because they act in training alone."""
    return f"left out, as they act in training alone: {', '.join(names)}"


def _fits(entries: Sequence[Entry], layers: Sequence[Expected]) -> bool:
    """Whether each entry is one of the layers, the clearest laid first."""
    left = list(entries)
    for layer in sorted(layers, key=lambda layer: 0 if layer.listed_as is not None else len(layer.kinds)):
        fitting = [entry for entry in left if _may_be(entry, layer)]
        if not fitting:
            return False
        left.remove(min(fitting, key=lambda entry: entry.kind is None))
    return not left


def _may_be(entry: Entry, layer: Expected) -> bool:
    if layer.listed_as is not None:
        return entry.name == layer.listed_as
    return entry.kind is None or entry.kind in (*layer.kinds, *WITHOUT_A_CLASS)


def _more(kind: str, names: Sequence[str], count: int) -> str:
    there = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return f"{CLASSES.get(kind, kind)}: the file lists {len(names)} ({there}), the network has {count or 'none'}"


def _fewer(kind: str, listed: int, count: int) -> str:
    return f"{CLASSES.get(kind, kind)}: the file lists {listed or 'none'}, the network has {count}"


def _is_training_only(kind: str | None) -> bool:
    """Dropout and noise, and the random augmentations of images."""
    return kind is not None and (kind in TRAINING_ONLY or kind.startswith("random"))


def _kind_of_name(name: str) -> str | None:
    """The kind that an automatic name tells: ``conv2d_7`` is a ``conv2d``; None of a chosen name."""
    stem = re.sub(r"_\d+$", "", name)
    if stem.startswith("tf."):
        return TF_FUNCTIONS.get(stem.removeprefix("tf."), stem)
    kind = stem.replace("_", "")
    kind = OLDER_KINDS.get(kind, kind)
    return kind if kind in CLASSES else None


def _is_multi_gpu(names: Sequence[str], nested: Sequence[str], with_arrays: Iterable[str]) -> bool:
    """Whether a list is ``multi_gpu_model``'s: the one model on slices of the batch, put together again.

    Source: keras 2.2.4, keras/utils/multi_gpu_utils.py, multi_gpu_model.
    """
    if len(nested) != 1 or not all(path.startswith(f"{nested[0]}/") for path in with_arrays):
        return False
    kinds = [_kind_of_name(name) for name in names if name not in nested]
    slices = sum(kind == "lambda" for kind in kinds)
    return slices > 1 and len([kind for kind in kinds if kind not in (INPUT, "lambda")]) == 1


def layer_list_of(checkpoint: Checkpoint) -> LayerList | None:
    """Returns which layers a file lists; None where it lists only layers with arrays."""
    with_arrays = {name.rpartition("/")[0] for name in checkpoint.arrays}
    if checkpoint.container.startswith("legacy"):
        names = checkpoint.layer_names
        nested = tuple(name for name in names if any(path.startswith(f"{name}/") for path in with_arrays - {name}))
        if len(names) <= len(with_arrays) and not nested:
            return None
        if _is_multi_gpu(names, nested, with_arrays):
            names = nested
        return LayerList(tuple(Entry(name, _kind_of_name(name)) for name in names), True, nested)
    entries = [Entry(name, re.sub(r"_\d+$", "", group).replace("_", "")) for group, name in checkpoint.groups]
    acting = sum(not _is_training_only(entry.kind) for entry in entries)  # a dropout's seed makes a group of its own
    return None if acting <= len(with_arrays) else LayerList(tuple(entries), False)
