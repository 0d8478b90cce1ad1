"""Writing Keras checkpoints, without Keras, in the three containers that Keras 3 and tf_keras load.

The same content gives the same bytes on every day and machine: no file carries a date. A file is made in memory and
then written in one go, because HDF5's own writer leaves a broken file, and sometimes a crash, on a full disk.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import h5py
import numpy as np

from weight_transfer.atomic import atomic_write, check_output
from weight_transfer.checkpoint.layer_names import snake_case
from weight_transfer.errors import TransferError

Schema: TypeAlias = Literal["keras2", "keras3"]

# The versions whose file layout is written here, as the files say themselves.
# Source: keras/src/saving/saving_lib.py, keras 3.15.1; tf_keras/src/saving/legacy/hdf5_format.py, tf_keras 2.21.0.
VERSIONS: Mapping[Schema, str] = {"keras3": "3.15.1", "keras2": "2.21.0"}
BACKEND = "tensorflow"  # whose kernel layout the arrays have

# Keras splits an attribute above this, short of HDF5's 64 KiB for an object header.
# Source: keras/src/legacy/saving/legacy_h5_format.py, HDF5_OBJECT_HEADER_LIMIT.
ATTRIBUTE_LIMIT_BYTES = 64512

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold
ZIP_UNIX = 3  # the system that made the entry, else it would differ between machines
ZIP_MODE = 0o644 << 16
ZIP_OVERHEAD_BYTES = 4096  # local headers and directory of three short names

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LayerToWrite:
    """One layer of ``model.layers``.

    Attributes:
        name: Its name.
        class_name: Its class, which names its group in Keras 3's layout.
        arrays: By role, in the order of the layer's own variables.
        trainable: What the layer's config says; of a nested model, what the model's config says.
        layers: Those of a nested model; None of a plain layer.
    """

    name: str
    class_name: str
    arrays: Mapping[str, Array] = field(default_factory=dict)
    trainable: bool = True
    layers: tuple[LayerToWrite, ...] | None = None


@dataclass(frozen=True)
class ModelToWrite:
    """What a checkpoint holds.

    Attributes:
        name: The model's name.
        config: Its whole config, in the schema of the Keras that is to load it.
        schema: Of which Keras that is: tf_keras or Keras 3.
        layers: Its layers in the order of the config.
        compiled: How it is compiled: Keras 3's ``compile_config`` or a legacy file's ``training_config``.
        optimizer_name: The name of its optimizer, where that has variables.
        optimizer: The optimizer's variables in its order, by what a legacy file calls them.
        inner_optimizer: Of a ``LossScaleOptimizer``, those of the one within it, which stand in ``optimizer`` too.
    """

    name: str
    config: Mapping[str, Any]
    schema: Schema
    layers: tuple[LayerToWrite, ...]
    compiled: Mapping[str, Any] | None = None
    optimizer_name: str | None = None
    optimizer: tuple[tuple[str, Array], ...] = ()
    inner_optimizer: tuple[tuple[str, Array], ...] = ()


def write_model(path: str | os.PathLike[str], model: ModelToWrite, *, weights_only: bool = False) -> None:
    """Writes a Keras checkpoint; the output's name picks the container.

    | name | container | loaded by |
    |---|---|---|
    | ``*.keras`` | zip of configuration and weights | ``load_model`` of the Keras of the config's schema |
    | ``*.weights.h5`` | Keras 3 weights, tf_keras's alike | ``Model.load_weights`` |
    | ``*.h5``, ``*.hdf5`` | legacy HDF5, configuration and weights | ``load_model`` |
    | the same, ``weights_only`` | legacy HDF5, weights | ``load_weights`` |

    Args:
        path: The output file; it appears whole or not at all.
        model: What to write.
        weights_only: Leave the configuration out of a legacy file.

    Raises:
        TransferError: The name fits no container, ``weights_only`` does not fit the container or an optimizer, or the
            file cannot be written.
    """
    ending = check_container(path, weights_only=weights_only, with_optimizer=bool(model.optimizer))
    whole, alone = CONTAINERS[ending]
    writer = alone if weights_only and alone is not None else whole
    check_output(path)
    writer(Path(path), model)


def _write_keras_archive(path: Path, model: ModelToWrite) -> None:
    config = {**model.config, **({} if model.compiled is None else {"compile_config": model.compiled})}
    # Keras adds date_saved, which no reader needs and which would make each file another.
    members = {
        "metadata.json": json.dumps({"keras_version": VERSIONS[model.schema]}).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": _hdf5(lambda file: _fill_keras_3(file, model)),
    }
    size_bytes = sum(len(member) for member in members.values()) + ZIP_OVERHEAD_BYTES
    with atomic_write(path, size_bytes=size_bytes) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, member in members.items():
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.create_system, entry.external_attr = ZIP_UNIX, ZIP_MODE
            archive.writestr(entry, member)  # type: ignore[arg-type]  # any buffer will do


def _write_keras_3_weights(path: Path, model: ModelToWrite) -> None:
    _write(path, _hdf5(lambda file: _fill_keras_3(file, model)))


def _write_legacy_model(path: Path, model: ModelToWrite) -> None:
    def fill(file: h5py.File) -> None:
        # Text of variable length: a ResNet-152's is 200 kB, and one of fixed length must fit the object header.
        file.attrs["model_config"] = json.dumps(model.config)
        file.attrs["keras_version"] = VERSIONS[model.schema]
        file.attrs["backend"] = BACKEND
        _fill_legacy(file.create_group("model_weights"), model)
        if model.compiled is not None:
            file.attrs["training_config"] = json.dumps(model.compiled)
        if model.optimizer:
            _fill_legacy_optimizer(file.create_group("optimizer_weights"), model.optimizer)

    _write(path, _hdf5(fill))


def _write_legacy_weights(path: Path, model: ModelToWrite) -> None:
    _write(path, _hdf5(lambda file: _fill_legacy(file, model)))


_Writer = Callable[[Path, ModelToWrite], None]

# Endings in the order in which they are tried: what ends in .weights.h5 ends in .h5 too. The writers: of a whole
# model, and of weights only.
CONTAINERS: Mapping[str, tuple[_Writer, _Writer | None]] = {
    ".keras": (_write_keras_archive, None),
    ".weights.h5": (_write_keras_3_weights, _write_keras_3_weights),
    ".h5": (_write_legacy_model, _write_legacy_weights),
    ".hdf5": (_write_legacy_model, _write_legacy_weights),
}


def check_container(path: str | os.PathLike[str], *, weights_only: bool = False, with_optimizer: bool = False) -> str:
    """Returns the ending that says which container a name is for: a key of `CONTAINERS`.

    Raises:
        TransferError: It fits none, or one that always holds the whole model, or one without a place for an optimizer.
    """
    ending = next((ending for ending in CONTAINERS if Path(path).name.endswith(ending)), None)
    if ending is None:
        raise TransferError(
            "the output's name must say its container: .keras (whole model), .weights.h5 (weights) or "
            f".h5 / .hdf5 (legacy). Received: path={path}"
        )
    if CONTAINERS[ending][weights_only] is None:
        raise TransferError(
            f"a {ending} file always holds the whole model. Name a .weights.h5 or .h5 file for the weights "
            f"alone. Received: path={path}, weights_only={weights_only}"
        )
    if with_optimizer and weights_only and ending != ".weights.h5":
        raise TransferError(
            "a weights-only .h5 holds no optimizer. Leave out weights_only, or name a .weights.h5 file. "
            f"Received: path={path}"
        )
    return ending


def _hdf5(fill: Callable[[h5py.File], None]) -> memoryview:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getbuffer()


def _write(path: Path, content: memoryview) -> None:
    with atomic_write(path, size_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def _fill_keras_3(file: h5py.File, model: ModelToWrite) -> None:
    """Groups ``layers/CLASS_COUNTER/vars``, the layer's own name in an attribute, arrays numbered from 0."""
    _fill_layers(file, model.layers)
    file.create_group("vars").attrs["name"] = model.name
    for group, values in (("optimizer", model.optimizer), ("optimizer/inner_optimizer", model.inner_optimizer)):
        if values:
            variables = file.create_group(f"{group}/vars")
            variables.attrs["name"] = model.optimizer_name
            for index, (_, value) in enumerate(values):
                _put(variables, str(index), value)


def _fill_layers(group: h5py.Group, layers: Sequence[LayerToWrite]) -> None:
    counts: dict[str, int] = {}
    for layer in layers:
        label = snake_case(layer.class_name)
        counter = counts[label] = counts.get(label, -1) + 1
        own = group.create_group(f"layers/{label}_{counter}" if counter else f"layers/{label}")
        variables = own.create_group("vars")
        variables.attrs["name"] = layer.name
        for index, array in enumerate(layer.arrays.values()):
            _put(variables, str(index), array)
        if layer.layers is not None:
            _fill_layers(own, layer.layers)


def _fill_legacy_optimizer(group: h5py.Group, variables: Sequence[tuple[str, Array]]) -> None:
    _set_names(group, "weight_names", [name for name, _ in variables])
    for name, value in variables:
        _put(group, name, value)


def _fill_legacy(group: h5py.Group, model: ModelToWrite) -> None:
    """A group for each layer, its arrays named ``LAYER/ROLE:0`` in it and in its attribute ``weight_names``."""
    _set_names(group, "layer_names", [layer.name for layer in model.layers])
    group.attrs["backend"] = BACKEND
    group.attrs["keras_version"] = VERSIONS[model.schema]
    for layer in sorted(model.layers, key=lambda layer: layer.name):  # as Keras does
        layer_group = group.create_group(layer.name)
        arrays = dict(_legacy_arrays(layer, model.schema))
        _set_names(layer_group, "weight_names", list(arrays))
        for name, array in arrays.items():
            _put(layer_group, name, array)
    _set_names(group.create_group("top_level_model_weights"), "weight_names", [])


STATISTICS = ("moving_mean", "moving_variance", "mean", "variance", "count")  # what no gradient moves, of any layer


def _legacy_arrays(layer: LayerToWrite, schema: Schema) -> Iterator[tuple[str, Array]]:
    """The arrays of one group in the order in which the loader goes through them.

    Of a nested model it takes what learns before the rest. Keras 3 takes all in the order of the layers where the
    nested model itself is not trainable, tf_keras forgets that flag when it loads.

    Source: _legacy_weights in keras/src/legacy/saving/legacy_h5_format.py, trainable_weights in
    keras/src/layers/layer.py, keras 3.15.1; trainable_weights in tf_keras/src/engine/training.py, tf_keras 2.21.0.
    """
    rows = list(_arrays_inside(layer, ""))
    if layer.layers is not None and (layer.trainable or schema == "keras2"):
        rows.sort(key=lambda row: not row[0])
    for _, name, array in rows:
        yield f"{name}:0", array


def _arrays_inside(layer: LayerToWrite, path: str) -> Iterator[tuple[bool, str, Array]]:
    """Whether each array learns, its path within the group, and the array; a nested model's own name is left out."""
    if layer.layers is None:
        for role, array in layer.arrays.items():
            yield layer.trainable and role not in STATISTICS, f"{path}{layer.name}/{role}", array
    else:
        for inside in layer.layers:
            nested = inside.layers is not None
            yield from _arrays_inside(inside, f"{path}{inside.name}/" if nested else path)


def _put(group: h5py.Group, name: str, array: Array) -> None:
    little_endian = array.dtype.newbyteorder("<")  # the same bytes from every machine
    group.create_dataset(name, data=array, dtype=little_endian, track_times=False)


def _set_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Sets an attribute to a list of names, split into ``attribute0``, ``attribute1``, ... where it is too long.

    Source: keras/src/legacy/saving/legacy_h5_format.py, save_attributes_to_hdf5_group.
    """
    encoded = np.array([name.encode() for name in names], dtype=None if names else "S1")
    if encoded.itemsize > ATTRIBUTE_LIMIT_BYTES:
        raise TransferError(
            f"a name of {encoded.itemsize} bytes does not fit an HDF5 attribute of {ATTRIBUTE_LIMIT_BYTES}. "
            f"Shorten the layer names. Received: {max(names, key=len)[:40]}..."
        )
    parts = [encoded]
    while any(part.nbytes > ATTRIBUTE_LIMIT_BYTES for part in parts):
        parts = np.array_split(encoded, len(parts) + 1)
    for number, part in enumerate(parts):
        group.attrs[f"{attribute}{number}" if len(parts) > 1 else attribute] = part
