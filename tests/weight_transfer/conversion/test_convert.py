"""Converting and going back: bit-exact, every array once, atomically, or one clear message and nothing written."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import checkpoints
import keras_resnets
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from weight_transfer import (
    CheckpointError,
    Hints,
    MappingError,
    TransferError,
    convert,
    export,
    identify,
    read_checkpoint,
)
from weight_transfer.conversion.export import to_keras
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.preprocessing import preset
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import mapping


def payload(path: Path) -> tuple[dict, bytes]:
    """A safetensors file's tensor table and data, without the metadata."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header.pop("__metadata__", None)
    return header, content[8 + size :]


@pytest.mark.keras
def test_every_container_of_both_kerases_converts_to_the_same_bytes(tmp_path, keras_side):
    payloads = {}
    for nested in (False, True):
        for name, path in keras_side(keras_resnets.everywhere, tmp_path, nested=nested).items():
            output = tmp_path / f"{len(payloads)}.safetensors"
            convert(path, output, Hints(dialect="keras-applications"))
            payloads[name] = payload(output)
    assert len(payloads) == 14
    first = next(iter(payloads.values()))
    for name, actual in payloads.items():
        assert actual == first, name


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_arrive_bit_for_bit_in_torchs_layout(dtype, tmp_path):
    architecture = checkpoints.small()
    arrays = checkpoints.arrays_of(architecture, dtype)
    source = checkpoints.legacy_weights(tmp_path / "w.h5", arrays)
    conversion = convert(source, tmp_path / "w.safetensors")
    tensors = safetensors.numpy.load_file(conversion.output)
    assert len(tensors) == conversion.num_arrays == len(arrays)
    assert conversion.num_parameters == sum(array.size for array in arrays.values())
    kernel = arrays["res3a_branch2b/kernel"]
    np.testing.assert_array_equal(
        tensors["stages.stage3.a.residual.res3a_branch2b.weight"], kernel.transpose(3, 2, 0, 1)
    )
    np.testing.assert_array_equal(tensors["head.fc_final.weight"], arrays["fc_final/kernel"].T)
    np.testing.assert_array_equal(tensors["stem.bn_conv1.running_var"], arrays["bn_conv1/moving_variance"])
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(dtype)}


def test_the_stream_is_what_the_safetensors_serialiser_writes(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    output = convert(source, tmp_path / "m.safetensors").output
    with safetensors.safe_open(output, framework="np") as file:
        metadata = file.metadata()
    library = tmp_path / "library.safetensors"
    library.write_bytes(safetensors.numpy.save(safetensors.numpy.load_file(output), metadata=metadata))
    assert payload(library) == payload(output)


def test_metadata_says_where_the_file_comes_from(tmp_path):
    architecture = checkpoints.small()
    source = checkpoints.checkpoint(tmp_path / "m.h5", architecture)
    conversion = convert(source, tmp_path / "m.safetensors", Hints(preprocessing=preset("tf")))
    converted = read_converted(conversion.output)
    assert converted.network == conversion.network
    assert converted.description.preprocessing == preset("tf")
    assert converted.description.preprocessing.certainty == "known"
    assert converted.origin.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert converted.origin.source == "m.h5"
    assert converted.origin.tool_version


def test_progress_reaches_the_end(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    steps = []
    convert(source, tmp_path / "m.safetensors", on_progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert (
        steps[-1][0]
        == steps[-1][1]
        == sum(array.nbytes for array in checkpoints.arrays_of(checkpoints.small()).values())
    )


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_back_to_keras_and_again_gives_the_same_file(suffix, tmp_path):
    architecture = checkpoints.small("keras-applications")
    first = convert(checkpoints.checkpoint(tmp_path / "m.h5", architecture), tmp_path / "1.safetensors").output
    back = export(first, tmp_path / f"back{suffix}")
    second = convert(back, tmp_path / "2.safetensors", Hints(dialect="keras-applications")).output
    assert payload(first) == payload(second)


def test_a_state_dict_that_does_not_fit_is_refused_with_every_reason():
    architecture = checkpoints.small()
    state = {row.torch: np.zeros(row.torch_shape, np.float32) for row in mapping(resnet_graph(architecture))}
    state["stem.conv.wieght"] = state.pop("stem.conv.weight")
    state["stem.bn_conv1.bias"] = np.zeros(3, np.float32)
    state["stem.bn_conv1.num_batches_tracked"] = np.zeros((), np.int64)
    with pytest.raises(MappingError) as error:
        to_keras(state, resnet_graph(architecture))
    assert "missing stem.conv.weight (nearest: stem.conv.wieght)" in str(error.value)
    assert "not part of it: stem.conv.wieght (nearest: stem.conv.weight)" in str(error.value)
    assert "stem.bn_conv1.bias: expected shape (4,), received (3,)" in str(error.value)
    assert "num_batches_tracked" not in str(error.value)


BAD_VALUES = {
    "NaN": ("res2a_branch2b/kernel", np.nan, "res2a_branch2b/kernel: 1 of 144 numbers are not finite"),
    "infinity": ("bn2a_branch1/beta", np.inf, "bn2a_branch1/beta: 1 of 8 numbers are not finite"),
    "negative variance": ("bn_conv1/moving_variance", -1.0, "bn_conv1/moving_variance: 1 of 4 numbers are negative"),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_bad_values_are_refused_and_nothing_is_written(what, tmp_path):
    name, value, text = BAD_VALUES[what]
    arrays = checkpoints.arrays_of(checkpoints.small())
    arrays[name].flat[1] = value
    source = checkpoints.legacy_weights(tmp_path / "w.h5", arrays)
    with pytest.raises(MappingError, match=re.escape(text)):
        convert(source, tmp_path / "w.safetensors")
    assert os.listdir(tmp_path) == ["w.h5"]


def test_an_earlier_output_survives_a_failed_conversion(tmp_path):
    arrays = checkpoints.arrays_of(checkpoints.small())
    arrays["fc_final/bias"][0] = np.nan
    output = tmp_path / "w.safetensors"
    output.write_bytes(b"earlier")
    with pytest.raises(MappingError):
        convert(checkpoints.legacy_weights(tmp_path / "w.h5", arrays), output)
    assert output.read_bytes() == b"earlier"


def test_output_equal_to_input_is_refused(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    before = source.read_bytes()
    for output in (source, tmp_path / ".." / tmp_path.name / "m.h5"):
        with pytest.raises(TransferError, match="the output is the input"):
            convert(source, output)
    os.link(source, tmp_path / "hard.h5")
    with pytest.raises(TransferError, match="the output is the input"):
        convert(source, tmp_path / "hard.h5")
    assert source.read_bytes() == before


def test_a_missing_output_folder_is_refused(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    with pytest.raises(TransferError, match=r"the output folder .* does not exist"):
        convert(source, tmp_path / "no" / "m.safetensors")


BAD_CONVERTED = {
    "not safetensors": (lambda path: path.write_bytes(b"\x10\0\0\0\0\0\0\0{ not json"), "not a readable safetensors"),
    "foreign": (
        lambda path: path.write_bytes(safetensors.numpy.save({"a": np.zeros(1)})),
        "holds no converted network. Expected the output of `weight-transfer convert`",
    ),
    "damaged metadata": (
        lambda path: path.write_bytes(safetensors.numpy.save({"a": np.zeros(1)}, metadata={"weight_transfer": "{}"})),
        "its metadata is damaged",
    ),
}


@pytest.mark.parametrize("what", BAD_CONVERTED)
def test_files_that_are_no_conversions_are_refused(what, tmp_path):
    path = tmp_path / "x.safetensors"
    make, text = BAD_CONVERTED[what]
    make(path)
    assert is_converted(path)
    with pytest.raises(CheckpointError, match=text):
        read_converted(path)


def test_mapping_is_one_to_one():
    for dialect in ("tutorial", "keras-applications", "keras-resnet"):
        rows = mapping(resnet_graph(checkpoints.small(dialect)))
        assert len({row.keras for row in rows}) == len({row.torch for row in rows}) == len(rows)


def test_identified_arrays_are_the_files(tmp_path):
    architecture = checkpoints.small()
    with read_checkpoint(checkpoints.checkpoint(tmp_path / "m.keras", architecture)) as checkpoint:
        found = identify(checkpoint)
        for name, value in checkpoints.arrays_of(architecture).items():
            np.testing.assert_array_equal(found.arrays[name].read(), value)
