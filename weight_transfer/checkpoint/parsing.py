"""From open files to an index of their arrays.

`parse` is the one place where the HDF5 library meets a file's structure, and on a damaged file that
library can crash or hang (it does so in attributes of variable-length text, which every caller must
read). `parse` takes open sources, touches nothing else and returns plain, picklable data: a later
version can run it in a process of its own, handing over descriptors, and lose nothing. Arrays that
HDF5 stores in pieces (Keras writes none) still need the library: `hdf5.read_pieces` belongs there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from weight_transfer.checkpoint import limits
from weight_transfer.checkpoint.hdf5 import Stored, Tree, open_tree
from weight_transfer.checkpoint.json_text import parse_json
from weight_transfer.checkpoint.keras3_h5 import CONTAINERS, VARIABLES, Nodes, collect, keras3_arrays, listed_groups
from weight_transfer.checkpoint.legacy_h5 import legacy_arrays
from weight_transfer.checkpoint.optimizer_group import OptimizerIndex, keras3_optimizer, legacy_optimizer
from weight_transfer.checkpoint.refusal import DAMAGED, refusal
from weight_transfer.checkpoint.sniff import EXPECTED
from weight_transfer.checkpoint.source import Source
from weight_transfer.class_owners import with_owners
from weight_transfer.errors import quoted

Container = Literal["legacy-h5", "legacy-h5-weights", "keras3-weights-h5", "keras-zip", "keras3-sharded"]


@dataclass(frozen=True)
class Index:
    """What a checkpoint holds and where, without the numbers.

    Attributes:
        container: Which layout.
        arrays: By canonical name, in order.
        layer_names: Of every layer that the file mentions, with arrays or without.
        skipped: Groups passed over, such as the optimizer's.
        names_are_counters: Whether layer names are counters of their class.
        config: The model's config.
        keras_version: What wrote the file.
        backend: What it ran on.
        training: How the model was compiled: loss and optimizer; a class that is not Keras's has its package before it.
        variables: What Keras called the variable of each array, where the file says so.
        groups: Keras 3's group and the name of every layer that is no model, in nested models too.
    """

    container: Container
    arrays: Mapping[str, Stored]
    layer_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    names_are_counters: bool = False
    config: dict[str, Any] | None = None
    keras_version: str | None = None
    backend: str | None = None
    training: dict[str, Any] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outer:
    """What stands around the HDF5 files: in an archive, or in the index of shards.

    Attributes:
        container: Which layout, where that is known before.
        config: The model's config.
        keras_version: What wrote the archive.
        weight_map: By group, the shards (indices of sources) that may hold it.
        counted: Whether groups are named by the config alone, whatever names the file holds.
    """

    container: Container
    config: dict[str, Any] | None = None
    keras_version: str | None = None
    weight_map: Mapping[str, tuple[int, ...]] | None = None
    counted: bool = False


def parse(sources: Sequence[Source], outer: Outer | None = None) -> Index:
    """Reads the structure of HDF5 files that make up one checkpoint.

    Raises:
        CheckpointError: One is damaged, unsafe, or no checkpoint.
    """
    if outer is not None:
        return _parse_keras3(sources, outer)
    source = sources[0]
    with open_tree(source) as tree:
        full = tree.has(tree.root, "model_weights")
        if full or tree.texts(tree.root, "layer_names") is not None:
            return _parse_legacy(source, tree, full)
        if not any(tree.has(tree.root, name) for name in (*CONTAINERS, VARIABLES)):
            raise refusal(
                source.label,
                "an HDF5 file, but no Keras checkpoint: it has neither 'layer_names' nor 'layers'",
                EXPECTED,
            )
    return _parse_keras3(sources, Outer("keras3-weights-h5"))


def _parse_legacy(source: Source, tree: Tree, full: bool) -> Index:
    group = tree.group(tree.root, "model_weights") if full else tree.root
    layer_names = tree.texts(group, "layer_names")
    if layer_names is None:
        raise tree.refusal("/model_weights", "it lacks the attribute 'layer_names'")
    text = tree.text(tree.root, "model_config")
    config = None if text is None else _config(f"{source.label}:model_config", parse_json(source.label, text))
    compiled = tree.text(tree.root, "training_config")
    training = None if compiled is None else with_owners(parse_json(f"{source.label}:training_config", compiled))
    rows, skipped = legacy_arrays(tree, group, layer_names, config)
    if full:
        skipped += [name for name in tree.names(tree.root) if name != "model_weights"]
    return Index(
        "legacy-h5" if full else "legacy-h5-weights",
        _unique(source.label, [(name, stored) for name, stored, _ in rows]),
        _printable_all(layer_names),
        _printable_all(skipped),
        config=config,
        keras_version=_printable(tree.text(group, "keras_version") or tree.text(tree.root, "keras_version")),
        backend=_printable(tree.text(group, "backend") or tree.text(tree.root, "backend")),
        training=training if isinstance(training, dict) else None,
        variables={name: variable for name, _, variable in rows},
    )


def parse_optimizer(sources: Sequence[Source], container: Container) -> OptimizerIndex | None:
    """Reads the structure of the optimizer's part of a checkpoint, which `parse` passes over.

    Apart from `parse`, so that a damaged optimizer never keeps anybody from the weights.

    Raises:
        CheckpointError: It is damaged or unsafe.
    """
    found = None
    for number, source in enumerate(sources):
        with open_tree(source, number) as tree:
            read = legacy_optimizer if container.startswith("legacy") else keras3_optimizer
            found = read(tree, found)
    label = sources[0].label
    if found is not None:
        numbers = [name for name, _ in found.arrays] if not container.startswith("legacy") else []
        gap = next((str(number) for number, name in enumerate(numbers) if name != str(number)), None)
        if gap is not None:
            raise refusal(label, f"its optimizer's variable {gap} is missing", DAMAGED)
        total = sum(stored.size_bytes for _, stored in found.arrays)
        if total > limits.TOTAL_BYTES:
            raise refusal(label, f"its optimizer takes {total} bytes; {limits.TOTAL_BYTES} are accepted", EXPECTED)
    return found


def _parse_keras3(sources: Sequence[Source], outer: Outer) -> Index:
    nodes = Nodes()
    for number, source in enumerate(sources):
        with open_tree(source, number) as tree:
            collect(tree, nodes)
    label = sources[0].label
    _check_weight_map(label, nodes, outer.weight_map or {})
    groups = listed_groups(nodes)
    if outer.counted:
        nodes = nodes.without_names()
    rows, counted = keras3_arrays(label, nodes, outer.config)
    training = with_owners((outer.config or {}).get("compile_config"))
    return Index(
        outer.container,
        _unique(label, rows),
        _printable_all(dict.fromkeys(nodes.layer_names)),
        _printable_all(dict.fromkeys(nodes.skipped)),
        names_are_counters=counted,
        config=outer.config,
        keras_version=_printable(outer.keras_version),
        training=training if isinstance(training, dict) else None,
        groups=tuple((group, name) for group, name in groups if (group + name).isprintable()),
    )


def _check_weight_map(label: str, nodes: Nodes, weight_map: Mapping[str, tuple[int, ...]]) -> None:
    """Shards of another save, or swapped ones, show in groups that are not where the index says."""
    for group, shards in weight_map.items():
        path = tuple(part for part in group.split("/") if part)
        if any(group.strip("/").startswith(f"{skipped}/") for skipped in nodes.skipped):
            continue
        path = path[:-1] if path[-1:] == (VARIABLES,) else path
        held = {array.source for array in nodes.by_path[path].arrays.values()} if path in nodes.by_path else set()
        if held != set(shards):
            raise refusal(
                label,
                f"group {quoted(group)} is not in the shards that the index names for it",
                "Copy the index and all its shards from one save.",
            )


def _unique(label: str, rows: Sequence[tuple[str, Stored]]) -> dict[str, Stored]:
    arrays: dict[str, Stored] = {}
    total = 0
    for name, stored in rows:
        if name in arrays:
            raise refusal(
                label,
                f"{quoted(arrays[name].path)} and {quoted(stored.path)} are both named {quoted(name)}",
                "Give the layers distinct names and save the model again.",
            )
        if not name.isprintable():  # so that later messages may print names as they are
            raise refusal(label, f"{quoted(name)} holds characters that cannot be printed", "Rename the layer.")
        arrays[name] = stored
        total += stored.size_bytes
    if not arrays:
        raise refusal(label, "it holds no weights", EXPECTED)
    if total > limits.TOTAL_BYTES:
        raise refusal(label, f"its arrays take {total} bytes; {limits.TOTAL_BYTES} are accepted", EXPECTED)
    return arrays


def _config(label: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refusal(label, "not a model's config", "Save the model again with Keras.")
    return value


def _printable(text: str | None) -> str | None:
    """Text of the file that only informs: escaped where a terminal might obey it."""
    return text if text is None or text.isprintable() else quoted(text)


def _printable_all(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text if text.isprintable() else quoted(text) for text in texts)
