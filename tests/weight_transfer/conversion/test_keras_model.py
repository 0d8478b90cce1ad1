"""Every file that is written, real Keras loads, and finds each weight bit for bit under its layer's name."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from checkpoints import write_checkpoint
from keras_loading import (
    keras_2_predictions,
    loaded_keras_2_model,
    loaded_keras_2_weights,
    loaded_model,
    loaded_weights,
    predictions,
    saved_file,
)

from weight_transfer.architecture import Architecture, Head, standard_filters
from weight_transfer.checkpoint import writing
from weight_transfer.errors import ArchitectureError, MappingError, TransferError
from weight_transfer.parity.tolerances import TOLERANCES
from weight_transfer.resnet.dialects import design
from weight_transfer.resnet.keras_config import keras_config
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import mapping

WHOLE, WEIGHTS_ONLY = {}, {"weights_only": True}
CONTAINERS = [("a.keras", WHOLE), ("a.weights.h5", WHOLE), ("a.h5", WHOLE), ("a.hdf5", WHOLE), ("a.h5", WEIGHTS_ONLY)]


def small(depth: int = 18, dialect: str = "tutorial", **arguments: Any) -> Architecture:
    block = "basic" if depth in (18, 34) else "bottleneck"
    arguments = {"in_shape": (32, 32, 3), "stem_filters": 4, "filters": standard_filters(block, 4, width=2)} | arguments
    return design(depth, dialect=dialect, **arguments)


def random_arrays(architecture: Architecture, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Arrays that all differ, so that no two can change places unseen; variances are positive."""
    random = np.random.default_rng(7)
    return {row.keras: (random.random(row.shape) + 0.5).astype(dtype) for row in mapping(resnet_graph(architecture))}


def assert_bit_equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].tobytes() == array.tobytes(), name


@pytest.fixture(
    scope="module",
    params=[
        small(18),
        small(34, "keras-resnet", head=Head(pooling="max", classes=3, dropout=0.25, activation="sigmoid")),
        small(50, "keras-applications", in_shape=(None, None, 1)),
        small(50, "mask-rcnn", stride_in="3x3"),
    ],
    ids=["18", "34 without bias", "50 of any size", "50 without head"],
)
def network(request):
    return request.param, random_arrays(request.param)


@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_keras_loads_the_whole_model(keras_side, tmp_path, network, name):
    architecture, arrays = network
    write_checkpoint(tmp_path / name, architecture, arrays)
    assert_bit_equal(keras_side(loaded_model, tmp_path / name), arrays)


@pytest.mark.parametrize(("name", "form"), [("a.weights.h5", WHOLE), ("a.h5", WEIGHTS_ONLY)])
def test_keras_loads_the_weights(keras_side, tmp_path, network, name, form):
    architecture, arrays = network
    write_checkpoint(tmp_path / name, architecture, arrays, **form)
    assert_bit_equal(keras_side(loaded_weights, tmp_path / name, keras_config(architecture)), arrays)


@pytest.mark.parametrize("name", ["a.keras", pytest.param("a.h5", marks=pytest.mark.slow)])
def test_keras_loads_a_resnet_50_of_full_width(keras_side, tmp_path, name):
    architecture = design(50)
    arrays = random_arrays(architecture)
    write_checkpoint(tmp_path / name, architecture, arrays)
    assert_bit_equal(keras_side(loaded_model, tmp_path / name), arrays)


def test_keras_loads_a_whole_model_under_its_other_name_and_as_weights(keras_side, tmp_path):
    arrays = random_arrays(small())
    write_checkpoint(tmp_path / "a.hdf5", small(), arrays)
    assert_bit_equal(keras_side(loaded_model, tmp_path / "a.hdf5"), arrays)
    assert_bit_equal(keras_side(loaded_weights, tmp_path / "a.hdf5", keras_config(small())), arrays)


def test_keras_2_loads_both_legacy_forms(keras_side, tmp_path):
    architecture = small(50, "keras-applications")
    arrays = random_arrays(architecture)
    write_checkpoint(tmp_path / "a.h5", architecture, arrays)
    write_checkpoint(tmp_path / "b.h5", architecture, arrays, weights_only=True)
    assert_bit_equal(keras_side(loaded_keras_2_model, tmp_path / "a.h5"), arrays)
    assert_bit_equal(keras_side(loaded_keras_2_weights, tmp_path / "b.h5", tmp_path / "a.h5"), arrays)


def test_every_container_predicts_the_same(keras_side, tmp_path):
    architecture = small(18, head=Head(classes=4))
    arrays = random_arrays(architecture)
    image = np.random.default_rng(8).random((2, 32, 32, 3), dtype=np.float32)
    for name in ("a.keras", "a.h5"):
        write_checkpoint(tmp_path / name, architecture, arrays)
    expected = keras_side(predictions, tmp_path / "a.keras", image)
    assert expected.shape == (2, 4)
    assert np.ptp(expected) > 0
    assert np.array_equal(keras_side(predictions, tmp_path / "a.h5", image), expected)
    by_keras_2 = keras_side(keras_2_predictions, tmp_path / "a.h5", image)
    assert np.abs(by_keras_2 - expected).max() <= TOLERANCES["inference"]["float32"].error * expected.max()


def test_the_groups_are_those_that_keras_writes(keras_side, tmp_path):
    architecture = small(50)
    keras_side(saved_file, tmp_path / "keras.weights.h5", keras_config(architecture))
    write_checkpoint(tmp_path / "ours.weights.h5", architecture, random_arrays(architecture))
    assert tree(tmp_path / "ours.weights.h5") == tree(tmp_path / "keras.weights.h5")


def tree(path: Path) -> dict[str, Any]:
    """Shape and dtype of each dataset, attributes of each group."""
    found: dict[str, Any] = {}

    def see(name: str, item: Any) -> None:
        found[name] = (item.shape, item.dtype) if isinstance(item, h5py.Dataset) else dict(item.attrs)

    with h5py.File(path) as file:
        file.visititems(see)
    return found


def test_legacy_names_are_bytes_and_the_configuration_is_text(tmp_path):
    write_checkpoint(tmp_path / "a.h5", small(), random_arrays(small()))
    with h5py.File(tmp_path / "a.h5") as file:
        assert json.loads(file.attrs["model_config"])["class_name"] == "Functional"
        weights = file["model_weights"]
        assert weights.attrs["layer_names"].dtype.kind == "S"
        assert weights.attrs["layer_names"][:3].tolist() == [b"input_layer", b"conv1_pad", b"conv"]
        assert weights["conv"].attrs["weight_names"].tolist() == [b"conv/kernel:0", b"conv/bias:0"]
        assert weights["pool1"].attrs["weight_names"].shape == (0,)


def test_a_keras_file_is_a_plain_zip_of_three(tmp_path):
    write_checkpoint(tmp_path / "a.keras", small(), random_arrays(small()))
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        entries = archive.infolist()
        assert [entry.filename for entry in entries] == ["metadata.json", "config.json", "model.weights.h5"]
        assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("metadata.json")) == {"keras_version": writing.VERSIONS["keras3"]}
        assert json.loads(archive.read("config.json")) == keras_config(small())
        assert archive.testzip() is None


@pytest.mark.parametrize("form", [WHOLE, WEIGHTS_ONLY])
def test_long_lists_of_names_are_split(keras_side, tmp_path, form):
    names = dataclasses.replace(small().names, conv="res{stage}{block}_branch{branch}" + "x" * 900)
    architecture = dataclasses.replace(small(), names=names)
    arrays = random_arrays(architecture)
    write_checkpoint(tmp_path / "a.h5", architecture, arrays, **form)
    with h5py.File(tmp_path / "a.h5") as file:
        attributes = (file if form else file["model_weights"]).attrs
        assert "layer_names" not in attributes
        parts = [attributes[f"layer_names{number}"] for number in range(2)]
        assert max(part.nbytes for part in parts) <= writing.ATTRIBUTE_LIMIT_BYTES
    actual = (
        keras_side(loaded_weights, tmp_path / "a.h5", keras_config(architecture))
        if form
        else keras_side(loaded_model, tmp_path / "a.h5")
    )
    assert_bit_equal(actual, arrays)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
@pytest.mark.parametrize(("name", "form"), CONTAINERS)
def test_the_file_keeps_the_dtype_in_one_byte_order(tmp_path, name, form, dtype):
    architecture = small(18, head=Head(pooling=None, classes=None))
    arrays = random_arrays(architecture, dtype)
    write_checkpoint(tmp_path / name, architecture, arrays, **form)
    stored = stored_arrays(tmp_path / name)
    assert len(stored) == len(arrays)
    assert {array.dtype for array in stored} == {np.dtype(dtype).newbyteorder("<")}
    assert {array.tobytes() for array in stored} == {
        array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays.values()
    }


def stored_arrays(path: Path) -> list[np.ndarray]:
    found = []
    source = path
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source = Path(archive.extract("model.weights.h5", path.parent))
    with h5py.File(source) as file:
        file.visititems(lambda name, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


WRITE_ALL = """
import sys
from pathlib import Path
from checkpoints import write_checkpoint
from test_keras_model import CONTAINERS, random_arrays, small
for number, (name, form) in enumerate(CONTAINERS):
    write_checkpoint(Path(sys.argv[1]) / f"{number}{name}", small(50), random_arrays(small(50)), **form)
"""


def test_same_input_same_bytes(tmp_path):
    """Here in another order of the arrays; there in a process with other hashes, time zone and mask."""
    arrays = dict(reversed(random_arrays(small(50)).items()))
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    for number, (name, form) in enumerate(CONTAINERS):
        write_checkpoint(tmp_path / "here" / f"{number}{name}", small(50), arrays, **form)
    here = Path(__file__).resolve().parent
    surroundings = {
        "PYTHONPATH": os.pathsep.join(map(str, (here, here.parents[1] / "support", here.parents[2]))),
        "PYTHONHASHSEED": "12345",
        "TZ": "Asia/Seoul",
    }
    subprocess.run(
        ["/bin/sh", "-c", 'umask 077; exec "$@"', "sh", sys.executable, "-c", WRITE_ALL, str(tmp_path / "there")],
        env={**os.environ, **surroundings},
        check=True,
    )
    here, there = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / folder).iterdir()}
        for folder in ("here", "there")
    )
    assert len(here) == len(CONTAINERS)
    assert here == there


@pytest.mark.parametrize(("name", "form"), CONTAINERS)
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, name, form):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / name).write_bytes(b"the earlier file")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TransferError, match=r"cannot write .*No space left on device"):
        write_checkpoint(tmp_path / name, small(), random_arrays(small()), **form)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the earlier file"]


def test_a_name_without_container(tmp_path):
    with pytest.raises(TransferError, match=r"\.keras .*\.weights\.h5 .*\.h5 / \.hdf5 .*Received: path=.*a\.pt"):
        write_checkpoint(tmp_path / "a.pt", small(), {})


def test_a_keras_file_is_never_weights_only(tmp_path):
    with pytest.raises(TransferError, match=r"a \.keras file always holds the whole model\. Name a \.weights\.h5"):
        write_checkpoint(tmp_path / "a.keras", small(), {}, weights_only=True)


def test_a_missing_folder_is_told_before_the_arrays_are_looked_at(tmp_path):
    with pytest.raises(TransferError, match="does not exist"):
        write_checkpoint(tmp_path / "nowhere" / "a.keras", small(), {})


def test_arrays_that_do_not_fit(tmp_path):
    arrays = random_arrays(small())
    arrays["fc_fina1/bias"] = arrays.pop("fc_final/bias")
    arrays["conv/kernel"] = arrays["conv/kernel"].T
    arrays["bn_conv1/gamma"] = arrays["bn_conv1/gamma"].astype("int8")
    with pytest.raises(MappingError) as caught:
        write_checkpoint(tmp_path / "a.h5", small(), arrays)
    assert str(caught.value) == (
        "the arrays are not those of the architecture:\n"
        "  bn_conv1/gamma: expected one of float16, float32, float64, received int8\n"
        "  conv/kernel: expected shape (7, 7, 3, 4), received (4, 3, 7, 7)\n"
        "  fc_fina1/bias: not in the architecture (nearest: fc_final/bias)\n"
        "  fc_final/bias: missing"
    )
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_quite_another_network(tmp_path):
    with pytest.raises(MappingError, match=r"not those of the architecture(?s:.*)\+\d+ more"):
        write_checkpoint(tmp_path / "a.h5", small(50), random_arrays(small(50, "keras-applications")))


def test_a_network_that_cannot_exist(tmp_path):
    with pytest.raises(ArchitectureError, match="the input is too small"):
        write_checkpoint(tmp_path / "a.keras", small(18, "keras-2.1", in_shape=(2, 2, 3)), {})


def test_a_name_longer_than_an_attribute(tmp_path):
    architecture = dataclasses.replace(small(), names=dataclasses.replace(small().names, stem_conv="x" * 70_000))
    with pytest.raises(TransferError, match=r"a name of 70000 bytes does not fit .*Shorten the layer names"):
        write_checkpoint(tmp_path / "a.h5", architecture, random_arrays(architecture))
    assert list(tmp_path.iterdir()) == []
