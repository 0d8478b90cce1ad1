"""Writing Keras checkpoints, without Keras, in the three containers Keras 3 loads.

The same arrays give the same bytes on every day and machine: no file carries a date. A file is made in memory and
then written in one go, because HDF5's own writer leaves a broken file, and sometimes a crash, on a full disk.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from weight_transfer import graph
from weight_transfer.architecture import Architecture
from weight_transfer.atomic import atomic_write, check_output
from weight_transfer.checkpoint.layer_names import snake_case
from weight_transfer.errors import SHOWN_AT_MOST, MappingError, TransferError, listing, nearest
from weight_transfer.graph import Layer
from weight_transfer.keras_config import DTYPE, keras_config, legacy_keras_config, model_name
from weight_transfer.optimizer.state import OptimizerState
from weight_transfer.optimizer.to_keras import ForKeras, compile_config, for_keras3, for_tf_keras, training_config

# The versions whose file layout is written here, as the files say themselves.
# Source: keras/src/saving/saving_lib.py, keras 3.15.1; tf_keras/src/saving/legacy/hdf5_format.py, tf_keras 2.21.0.
KERAS_3_SCHEMA = "3.15.1"
LEGACY_SCHEMA = "2.21.0"
BACKEND = "tensorflow"  # whose kernel layout the arrays have

# Keras splits an attribute above this, short of HDF5's 64 KiB for an object header.
# Source: keras/src/legacy/saving/legacy_h5_format.py, HDF5_OBJECT_HEADER_LIMIT.
ATTRIBUTE_LIMIT_BYTES = 64512

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold
ZIP_UNIX = 3  # the system that made the entry, else it would differ between machines
ZIP_MODE = 0o644 << 16
ZIP_OVERHEAD_BYTES = 4096  # local headers and directory of three short names

Arrays = Mapping[str, np.ndarray[Any, Any]]

DTYPES = ("float16", "float32", "float64")


def write_checkpoint(
    path: str | os.PathLike[str],
    architecture: Architecture,
    arrays: Arrays,
    *,
    weights_only: bool = False,
    arguments: Mapping[str, Mapping[str, Any]] | None = None,
    optimizer: OptimizerState | None = None,
) -> None:
    """Writes a Keras checkpoint; the output's name picks the container.

    | name | container | loaded by |
    |---|---|---|
    | ``*.keras`` | zip of configuration and weights | ``keras.saving.load_model`` |
    | ``*.weights.h5`` | Keras 3 weights | ``Model.load_weights`` |
    | ``*.h5``, ``*.hdf5`` | legacy HDF5, Keras 2's configuration and weights | ``load_model`` of Keras 2 and 3 |
    | the same, ``weights_only`` | legacy HDF5, weights | ``load_weights`` of Keras 2 and 3 |

    Example:
        >>> write_checkpoint("resnet50.keras", architecture, {"conv/kernel": kernel, "conv/bias": bias, ...})

    Args:
        path: The output file; it appears whole or not at all.
        architecture: What the arrays belong to.
        arrays: By ``layer/role``, in Keras's layout: kernels (kh, kw, c_in, c_out) and (c_in, c_out), else (c,).
            Float arrays of any width; the file keeps their dtype.
        weights_only: Leave the configuration out of a legacy file.
        arguments: For the configuration: by layer, serialized regularizers and constraints.
        optimizer: The state to train on with: of Keras 3 in ``*.keras`` and ``*.weights.h5``, of tf_keras in a
            legacy file, since Keras 3 restores no optimizer from one.

    Raises:
        MappingError: Arrays are missing, unknown, misshapen or not float, or the optimizer's are another network's.
        ArchitectureError: The architecture cannot exist at its input size.
        TransferError: The name fits no container, ``weights_only`` does not fit the container or an optimizer, Keras
            has no such optimizer, or the file cannot be written.
    """
    writer = _writer(Path(path), weights_only)
    if optimizer is not None and writer is _write_legacy_weights:
        raise TransferError(
            "a weights-only .h5 holds no optimizer. Leave out weights_only, or name a .weights.h5 file. "
            f"Received: path={path}"
        )
    check_output(path)  # before the work, not after it
    rows = graph.keras_order(graph.layers(architecture))
    _check_arrays(rows, arrays)
    state = None
    if optimizer is not None:
        made = for_tf_keras if writer is _write_legacy_model else for_keras3
        state = made(optimizer, architecture, arrays)
    writer(Path(path), _Content(architecture, rows, arrays, arguments or {}, state))


class _Content(NamedTuple):
    architecture: Architecture
    rows: Sequence[Layer]  # in Keras's order
    arrays: Arrays
    arguments: Mapping[str, Mapping[str, Any]]
    optimizer: ForKeras | None = None

    @property
    def flavour(self) -> tuple[frozenset[str], str]:
        """Which layers do not learn, and in what the model computes: float64 if it was trained in that."""
        wide = all(array.dtype == np.float64 for array in self.arrays.values())
        return self.optimizer.frozen if self.optimizer else frozenset(), "float64" if wide else DTYPE


def _with_arguments(config: dict[str, Any], content: _Content) -> str:
    """A model's configuration as text, its layers with their regularizers and constraints."""
    for layer in config["config"]["layers"]:
        layer["config"].update(content.arguments.get(layer["config"]["name"], {}))
    return json.dumps(config)


def _write_keras_archive(path: Path, content: _Content) -> None:
    config = keras_config(content.architecture, *content.flavour)
    if content.optimizer is not None:
        config["compile_config"] = compile_config(content.optimizer)
    # Keras adds date_saved, which no reader needs and which would make each file another.
    members = {
        "metadata.json": json.dumps({"keras_version": KERAS_3_SCHEMA}).encode(),
        "config.json": _with_arguments(config, content).encode(),
        "model.weights.h5": _hdf5(lambda file: _fill_keras_3(file, content)),
    }
    size_bytes = sum(len(member) for member in members.values()) + ZIP_OVERHEAD_BYTES
    with atomic_write(path, size_bytes=size_bytes) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, member in members.items():
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.create_system, entry.external_attr = ZIP_UNIX, ZIP_MODE
            archive.writestr(entry, member)  # type: ignore[arg-type]  # any buffer will do


def _write_keras_3_weights(path: Path, content: _Content) -> None:
    _write(path, _hdf5(lambda file: _fill_keras_3(file, content)))


def _write_legacy_model(path: Path, content: _Content) -> None:
    def fill(file: h5py.File) -> None:
        # Text of variable length: a ResNet-152's is 200 kB, and one of fixed length must fit the object header.
        file.attrs["model_config"] = _with_arguments(
            legacy_keras_config(content.architecture, *content.flavour), content
        )
        file.attrs["keras_version"] = LEGACY_SCHEMA
        file.attrs["backend"] = BACKEND
        _fill_legacy(file.create_group("model_weights"), content)
        if content.optimizer is not None:
            file.attrs["training_config"] = json.dumps(training_config(content.optimizer))
            _fill_legacy_optimizer(file.create_group("optimizer_weights"), content.optimizer)

    _write(path, _hdf5(fill))


def _write_legacy_weights(path: Path, content: _Content) -> None:
    _write(path, _hdf5(lambda file: _fill_legacy(file, content)))


_Writer = Callable[[Path, _Content], None]

# Endings in the order in which they are tried: what ends in .weights.h5 ends in .h5 too. The writers: of a whole
# model, and of weights only.
CONTAINERS: Mapping[str, tuple[_Writer | None, _Writer | None]] = {
    ".keras": (_write_keras_archive, None),
    ".weights.h5": (_write_keras_3_weights, _write_keras_3_weights),
    ".h5": (_write_legacy_model, _write_legacy_weights),
    ".hdf5": (_write_legacy_model, _write_legacy_weights),
}


def check_container(path: str | os.PathLike[str]) -> None:
    """Raises TransferError where a name fits no container of Keras."""
    _writer(Path(path), weights_only=False)


def _writer(path: Path, weights_only: bool) -> _Writer:
    for ending, writers in CONTAINERS.items():
        if path.name.endswith(ending):
            writer = writers[weights_only]
            if writer is None:
                raise TransferError(
                    f"a {ending} file always holds the whole model. Name a .weights.h5 or .h5 file for the weights "
                    f"alone. Received: path={path}, weights_only={weights_only}"
                )
            return writer
    raise TransferError(
        "the output's name must say its container: .keras (Keras 3, whole model), .weights.h5 (Keras 3, weights) or "
        f".h5 / .hdf5 (legacy). Received: path={path}"
    )


def _check_arrays(rows: Sequence[Layer], arrays: Arrays) -> None:
    """Raises MappingError, once for all, unless the arrays are exactly the layers' own."""
    expected = {f"{row.name}/{role}": shape for row in rows for role, shape in row.weights.items()}
    known = list(expected)
    problems = [f"{name}: missing" for name in expected.keys() - arrays.keys()]
    for number, name in enumerate(sorted(arrays.keys() - expected.keys())):
        hint = nearest(name, known) if number < SHOWN_AT_MOST else ""  # looking is slow, and no more are shown
        problems.append(f"{name}: not in the architecture{hint}")
    for name in expected.keys() & arrays.keys():
        array = arrays[name]
        if array.shape != expected[name]:
            problems.append(f"{name}: expected shape {expected[name]}, received {array.shape}")
        if array.dtype.name not in DTYPES:
            problems.append(f"{name}: expected one of {', '.join(DTYPES)}, received {array.dtype.name}")
    if problems:
        raise MappingError(f"the arrays are not those of the architecture:{listing(problems)}")


def _hdf5(fill: Callable[[h5py.File], None]) -> memoryview:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getbuffer()


def _write(path: Path, content: memoryview) -> None:
    with atomic_write(path, size_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def _fill_keras_3(file: h5py.File, content: _Content) -> None:
    """Groups ``layers/CLASS_COUNTER/vars``, the layer's own name in an attribute, arrays numbered from 0."""
    counts: dict[str, int] = {}
    for row in content.rows:
        label = snake_case(row.class_name)
        counter = counts[label] = counts.get(label, -1) + 1
        variables = file.create_group(f"layers/{label}_{counter}/vars" if counter else f"layers/{label}/vars")
        variables.attrs["name"] = row.name
        for index, role in enumerate(row.weights):
            _put(variables, str(index), content.arrays[f"{row.name}/{role}"])
    file.create_group("vars").attrs["name"] = model_name(content.architecture)
    if content.optimizer is not None:
        variables = file.create_group("optimizer/vars")
        variables.attrs["name"] = content.optimizer.name
        for index, (_, value) in enumerate(content.optimizer.variables):
            _put(variables, str(index), value)


def _fill_legacy_optimizer(group: h5py.Group, optimizer: ForKeras) -> None:
    _set_names(group, "weight_names", [name for name, _ in optimizer.variables])
    for name, value in optimizer.variables:
        _put(group, name, value)


def _fill_legacy(group: h5py.Group, content: _Content) -> None:
    """A group for each layer, its arrays named ``LAYER/ROLE:0`` in it and in its attribute ``weight_names``."""
    _set_names(group, "layer_names", [row.name for row in content.rows])
    group.attrs["backend"] = BACKEND
    group.attrs["keras_version"] = LEGACY_SCHEMA
    for row in sorted(content.rows, key=lambda row: row.name):  # as Keras does
        layer_group = group.create_group(row.name)
        names = [f"{row.name}/{role}" for role in row.weights]
        _set_names(layer_group, "weight_names", [f"{name}:0" for name in names])
        for name in names:
            _put(layer_group, f"{name}:0", content.arrays[name])
    _set_names(group.create_group("top_level_model_weights"), "weight_names", [])


def _put(group: h5py.Group, name: str, array: np.ndarray[Any, Any]) -> None:
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
