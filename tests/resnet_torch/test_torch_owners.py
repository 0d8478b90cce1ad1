"""The port predicts what the owner's own model predicted, whatever backend, dtype or statistics its file has."""

from __future__ import annotations

import json

import checkpoints
import keras_owners
import numpy as np
import pytest
import safetensors.numpy
import torch

from resnet_torch import load_model, save_converted
from weight_transfer import Hints, TransferError, convert, export
from weight_transfer.cli.convert import as_dict
from weight_transfer.converted import read_converted
from weight_transfer.graph.precision import Precision
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import mapping

TOLERANCES = {"float16": 5e-3, "bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-12}  # of the peak


def prediction(model, x: np.ndarray) -> np.ndarray:
    """The port's, given the owner's float32 input."""
    return model.predict(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).double().numpy()


@pytest.fixture(scope="module")
def written(keras_side, tmp_path_factory):
    """Files by kind, each kind written once."""
    folder, made = tmp_path_factory.mktemp("owners"), {}

    def of(kind: str) -> dict[str, keras_owners.Owned]:
        if kind not in made:
            made[kind] = keras_side(keras_owners.write, folder, kind)
        return made[kind]

    return of


def check(owned: keras_owners.Owned, folder, tolerance: float) -> tuple[torch.nn.Module, dict]:
    """Compares the checkpoint, its conversion and what a loaded module saves; returns the last, and what was said."""
    beside = owned.file.with_suffix(".json")  # of weights alone
    hints = Hints(config=beside if beside.exists() else None)
    conversion = convert(owned.file, folder / "port.safetensors", hints)
    save_converted(load_model(conversion.output), folder / "again.safetensors")
    for file in (owned.file, conversion.output, folder / "again.safetensors"):
        model = load_model(file, hints if file == owned.file else None)
        error = np.abs(prediction(model, owned.x) - owned.y).max() / np.abs(owned.y).max()
        assert error <= tolerance, (owned.file.name, file.name, error)
    assert read_converted(folder / "again.safetensors").description.remarks == conversion.description.remarks
    return model, json.loads(json.dumps(as_dict(conversion)))


def test_theanos_kernels_are_turned_and_it_is_said(written, tmp_path):
    for owned in written("theano").values():
        _, said = check(owned, tmp_path, 1e-5)
        assert "turned by 180 degrees" in said["remarks"][0]
        assert said["origin"]["backend"] == "theano"


def test_a_turned_kernels_slots_are_turned(keras_side, tmp_path):
    files = [
        convert(source, tmp_path / f"{source.stem}.safetensors", with_optimizer=True)
        for source in keras_side(keras_owners.trained, tmp_path)
    ]
    for kind in ("output", "optimizer_output"):
        plain, turned = (safetensors.numpy.load_file(getattr(conversion, kind)) for conversion in files)
        assert plain.keys() == turned.keys()
        for name, expected in plain.items():
            np.testing.assert_array_equal(turned[name], expected, err_msg=name)


def test_kernels_of_another_width_are_cast_to_the_policys(written, tmp_path):
    for owned in written("stored").values():
        model, said = check(owned, tmp_path, 1e-5)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert said["remarks"] == []


def test_models_compute_in_their_policys_dtype_or_it_is_said(written, tmp_path):
    for name, owned in written("policies").items():
        policy = name.split()[1]
        mixed = policy.startswith("mixed_")
        compute = policy.removeprefix("mixed_")
        tolerance = max(TOLERANCES[compute], TOLERANCES[str(owned.y.dtype)])
        model, said = check(owned, tmp_path, tolerance)
        port = "float32" if mixed else compute
        assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, port)}, name
        assert said["precision"]["dtype"] == port
        assert set(said["precision"]["policies"].values()) == {policy}
        (remark,) = said["remarks"]
        assert (f"dtype policy {policy} and computed in {compute}" in remark) == mixed
        assert (f"computes in {compute}, as the layers' dtype policies say" in remark) != mixed


def test_normalization_as_adapt_leaves_it(written, tmp_path):
    for name, owned in written("normalization").items():
        model, _ = check(owned, tmp_path, 1e-5)
        assert ("norm.count" in model.state_dict()) == ("given" not in name)


def test_a_number_too_large_for_the_models_dtype_is_refused(written, tmp_path):
    import h5py

    owned = written("stored")["tf_keras float64"]
    file = tmp_path / "large.h5"
    file.write_bytes(owned.file.read_bytes())
    with h5py.File(file, "r+") as opened:
        opened["model_weights/conv/conv/kernel:0"][0, 0, 0, 0] = 1e300
    with pytest.raises(ValueError, match=r"conv/kernel: 1 of 108 numbers are too large for float32"):
        convert(file, tmp_path / "port.safetensors")
    assert not (tmp_path / "port.safetensors").exists()


def test_whole_numbers_are_computed_as_keras_does_or_refused(written, tmp_path):
    for name, owned in written("pixels").items():
        floats = owned._replace(x=owned.x.astype("float32"))
        _, refused = keras_owners.ON_PIXELS[name.partition(" ")[2]]
        if refused:
            with pytest.raises(TransferError, match=r"layer '.*' \(\w+\): reads whole numbers \(uint8\), with which"):
                load_model(owned.file)
            continue
        _, said = check(floats, tmp_path, 1e-5)
        (remark,) = said["remarks"]
        assert "input 'pixels' takes whole numbers (uint8)" in remark, name


def test_policies_of_a_resnet_come_back_to_keras(keras_side, tmp_path):
    """As an ordinary mixed_float16 training of a ResNet writes them: a float32 head behind half of the rest."""
    architecture = checkpoints.small()
    weighted = {row.keras.rpartition("/")[0] for row in mapping(resnet_graph(architecture))}
    arrays = {  # which half can compute with
        name: values - 0.5 if name.endswith("kernel") else values
        for name, values in checkpoints.arrays_of(architecture).items()
    }
    mixed = {layer: "mixed_float16" for layer in weighted if not layer.startswith("fc")}
    x = np.random.default_rng(0).normal(size=(2, 33, 33, 3)).astype("float32")
    for suffix in (".h5", ".keras"):
        source, back = tmp_path / f"source{suffix}", tmp_path / f"back{suffix}"
        checkpoints.write_checkpoint(source, architecture, arrays, told={"precision": Precision(policies=mixed)})
        conversion = convert(source, tmp_path / "port.safetensors")
        assert conversion.network.resnet is not None
        assert set(conversion.description.precision.policies) == set(mixed)
        export(conversion.output, back)
        (policies, expected), (again, actual) = keras_side(keras_owners.loaded, [source, back], x)
        assert policies == again
        assert {name for name, policy in again.items() if policy == "mixed_float16"} == set(mixed)
        np.testing.assert_array_equal(actual, expected)
        y = prediction(load_model(conversion.output), x)
        assert np.abs(y - expected).max() <= TOLERANCES["float16"] * np.abs(expected).max()
