"""Which layers do not learn, from files that need no Keras to make; what Keras loads is in `test_torch_acting`."""

from __future__ import annotations

import checkpoints
import h5py
import pytest

from weight_transfer import convert
from weight_transfer.converted import read_converted
from weight_transfer.description import Description
from weight_transfer.errors import CheckpointError

FROZEN = {name: {"trainable": False} for name in ("conv", "bn_conv1", "res2a_branch2a")}


@pytest.fixture
def file(tmp_path):
    def made(version, arguments=FROZEN):
        path = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small(), told={"frozen": tuple(arguments)})
        with h5py.File(path, "r+") as opened:
            opened.attrs["keras_version"] = version
            opened["model_weights"].attrs["keras_version"] = version
        return path

    return made


@pytest.mark.parametrize("version", ["2.0.8", "2.2.4", "2.2.4-tf", "2.3.1", "1.2.2"])
def test_norms_that_used_the_batch_while_frozen_are_remarked_on(version, file, tmp_path):
    """Before TensorFlow 2 a frozen batch norm normalized by the batch in training; no loader of today does."""
    description = convert(file(version), tmp_path / "port.safetensors").description
    assert description.frozen == tuple(FROZEN)
    expected = (
        f"frozen batch norms in inference mode, as since TensorFlow 2 (Keras {version} may have used the batch's)"
    )
    assert expected in description.remarks


@pytest.mark.parametrize(
    ("version", "arguments"),
    [("2.3.0-tf", FROZEN), ("2.4.0", FROZEN), ("2.21.0", FROZEN), ("2.2.4", {"conv": {"trainable": False}})],
)
def test_other_frozen_layers_are_not(version, arguments, file, tmp_path):
    description = convert(file(version, arguments), tmp_path / "port.safetensors").description
    assert description.frozen == tuple(arguments)
    assert not [remark for remark in description.remarks if "frozen" in remark]


def test_frozen_layers_of_a_damaged_file(file, tmp_path):
    values = read_converted(convert(file("2.21.0"), tmp_path / "port.safetensors").output).description.to_dict()
    assert Description.from_dict(values).frozen == tuple(FROZEN)
    for wrong in ("conv", [1], {"conv": 1}):
        with pytest.raises((ValueError, CheckpointError), match="frozen"):
            Description.from_dict({**values, "frozen": wrong})
    assert Description.from_dict({key: value for key, value in values.items() if key != "frozen"}).frozen == ()


@pytest.mark.parametrize(
    ("version", "began_anew"),
    [("2.1.6", True), ("2.2.4", True), ("2.2.4-tf", False), ("2.3.1", False), ("2.21.0", False)],
)
def test_a_keras_that_began_its_statistics_anew_is_remarked_on(version, began_anew, file, tmp_path):
    """Keras 2.1 and 2.2 on TensorFlow 1 count the steps of each average from 0 after loading (zero debias)."""
    remarks = convert(file(version), tmp_path / "port.safetensors").description.remarks
    said = f"from the file's moving statistics (Keras {version} began them anew with the first step after loading)"
    assert any(said in remark for remark in remarks) == began_anew
