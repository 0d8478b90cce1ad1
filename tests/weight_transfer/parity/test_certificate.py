"""A certificate vouches for the file that was verified, for the same tensors elsewhere, and for nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest

from weight_transfer import CheckpointError, Row, TransferError, Verification, VerificationError, __version__, convert
from weight_transfer.converted import Converted, read_converted, write_converted
from weight_transfer.parity.certificate import check_certificate, write_certificate
from weight_transfer.parity.report import Prediction
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.tensor_file import Tensor

LIMITS = {"float64": 1e-12, "float32": 1e-5}


@pytest.fixture
def port(tmp_path) -> Path:
    source = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    convert(source, tmp_path / "port.safetensors")
    return tmp_path / "port.safetensors"


def verification(port: Path, **values: Any) -> Verification:
    """Of a port that equals Keras, as far as anyone knows."""
    converted = read_converted(port)
    row = Row("inference", "conv1_relu", "cpu", (1, 2, 2, 4), 1.0, {"float64": 1e-15, "float32": 1e-7}, LIMITS)
    found = Verification(
        title="ResNet-11",
        source="model.h5",
        source_sha256=converted.origin.sha256,
        reference="file",
        loaded_by="keras 3.15.1 from the file",
        recorded="2026-11-24T12:00:00+00:00",
        detail="every element",
        converted=port.name,
        converted_sha256=converted.sha256,
        port_digest=converted.digest,
        inputs=("photographs 33x33",),
        rows=(row,),
        weights_equal=76,
        weights_total=76,
        weights_differing=(),
        assumed=(),
        environment={"reference keras": "3.15.1", "port torch": "2.14.1"},
    )
    return dataclasses.replace(found, **values)


def differing(found: Verification, error: float = 1e-3) -> Verification:
    row = dataclasses.replace(found.rows[0], errors={"float64": error, "float32": error})
    return dataclasses.replace(found, rows=(row,))


@pytest.fixture
def certificate(port, tmp_path) -> Path:
    write_certificate(verification(port), tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


def test_it_says_what_was_found(port, certificate):
    values = json.loads(certificate.read_text())
    found = verification(port)
    assert values["certificate"] == 1
    assert values["tool_version"] == __version__
    assert values["passed"] is True
    assert values["converted_sha256"] == found.converted_sha256
    assert values["rows"][0]["errors"] == found.rows[0].errors
    assert values["rows"][0]["limits"] == LIMITS
    assert values["environment"] == {"reference keras": "3.15.1", "port torch": "2.14.1"}


def test_a_quick_one_is_not_all_of_the_exact_runs(port, tmp_path):
    exact = Row("exact", "conv1_relu", "cpu", (1, 2, 2, 4), 1.0, {"float64": 0.0}, {"float64": 0.0})
    left_out = ("exact runs at other sizes",)
    for name, words in (("whole", ()), ("quick", left_out)):
        write_certificate(verification(port, rows=(exact,), left_out=words), tmp_path / f"{name}.json")
    assert check_certificate(tmp_path / "whole.json", port, ["exact"]).passed
    checked = check_certificate(tmp_path / "quick.json", port, ["exact"])
    assert (checked.missing, checked.left_out, checked.passed) == (("exact",), left_out, False)
    assert check_certificate(tmp_path / "quick.json", port).passed


def test_pictures_are_left_out(port, tmp_path):
    pictures = (Prediction("photographs, 1", "iVBORw0K", ((1, 0.5),), ((1, 0.5),)),)
    write_certificate(verification(port, predictions=pictures), tmp_path / "certificate.json")
    assert "iVBORw0K" not in (tmp_path / "certificate.json").read_text()


@pytest.mark.parametrize("error", [math.inf, math.nan])
def test_it_is_json_whatever_was_measured(error, port, tmp_path):
    write_certificate(differing(verification(port), error), tmp_path / "certificate.json")

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    values = json.loads((tmp_path / "certificate.json").read_text(), parse_constant=refuse)
    assert values["passed"] is False
    assert values["rows"][0]["errors"] == {"float64": None, "float32": None}


def test_the_same_file(port, certificate):
    checked = check_certificate(certificate, port)
    assert checked.match == "file"
    assert checked.passed
    assert checked.source == "model.h5"
    assert checked.recorded == "2026-11-24T12:00:00+00:00"


def test_what_is_required_must_have_been_compared(port, certificate):
    """A certificate of inference alone certifies inference alone."""
    assert check_certificate(certificate, port, ["inference"]).passed
    checked = check_certificate(certificate, port, ["exact", "inference", "gradient"])
    assert (checked.passed, checked.checks, checked.missing) == (False, ("inference",), ("exact", "gradient"))
    with pytest.raises(VerificationError, match="there is no check 'gradients'"):
        check_certificate(certificate, port, ["gradients"])


def test_a_copy_elsewhere_is_the_same_file(port, certificate, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(port.read_bytes())
    assert check_certificate(certificate, copy).match == "file"


def test_the_same_tensors_in_another_file(port, certificate, tmp_path):
    converted = read_converted(port)
    other = tmp_path / "other.safetensors"
    write(other, converted, origin=dataclasses.replace(converted.origin, source="copy.h5"))
    checked = check_certificate(certificate, other)
    assert checked.match == "tensors"
    assert checked.passed


@pytest.mark.parametrize(
    "other",
    [{"frozen": ("conv",)}, {"regularizers": {"conv": {"kernel_regularizer": "l2"}}}, {"image_loading": "opencv"}],
)
def test_what_else_is_known_of_the_network_is_certified_too(other, port, certificate, tmp_path):
    write(tmp_path / "other.safetensors", read_converted(port), **other)
    assert check_certificate(certificate, tmp_path / "other.safetensors").match == "none"


def write(path: Path, converted: Converted, tensors: dict[str, np.ndarray] | None = None, **other: Any) -> Path:
    """A converted file that says something other than one."""
    wanted = [Tensor.of(name, value) for name, value in (tensors or converted.tensors()).items()]
    write_converted(path, wanted, dataclasses.replace(converted.description, **other))
    return path


def test_other_numbers(port, certificate):
    converted = read_converted(port)
    tensors = converted.tensors()
    name = next(name for name in tensors if name.endswith("weight"))
    tensors[name] = np.nextafter(tensors[name], np.float32(9))
    write(port, converted, tensors)
    checked = check_certificate(certificate, port)
    assert checked.match == "none"
    assert not checked.passed


def test_another_network_with_the_same_numbers(port, certificate):
    converted = read_converted(port)
    resnet = converted.network.resnet
    conventions = dataclasses.replace(resnet.conventions, epsilon=1e-5)
    write(port, converted, network=resnet_graph(dataclasses.replace(resnet, conventions=conventions)))
    assert check_certificate(certificate, port).match == "none"


@pytest.mark.parametrize("change", ["rows", "weights"])
def test_what_differs_is_never_certified(change, port, tmp_path):
    found = verification(port)
    found = differing(found) if change == "rows" else dataclasses.replace(found, weights_equal=75)
    write_certificate(found, tmp_path / "certificate.json")
    checked = check_certificate(tmp_path / "certificate.json", port)
    assert checked.match == "file"
    assert checked.verdict == "DIFFERS"
    assert not checked.passed


@pytest.mark.parametrize("verdict", ["true", 1, "false", [0], None])
def test_a_verdict_is_true_or_it_is_none(verdict, port, certificate):
    change(certificate, passed=verdict)
    assert not check_certificate(certificate, port).passed


@pytest.mark.parametrize(
    ("passed", "said", "verdict"),
    [
        (True, None, "EQUAL"),
        (False, None, "DIFFERS"),
        (True, "SAME FUNCTION", "SAME FUNCTION"),
        (False, "NOT PROVEN", "NOT PROVEN"),
        (True, "DIFFERS", "DIFFERS"),
        (False, "EQUAL", "DIFFERS"),
        (True, ["EQUAL"], "DIFFERS"),
    ],
)
def test_the_verdict_is_the_certificates(passed, said, verdict, port, certificate):
    values = {**json.loads(certificate.read_text()), "passed": passed, "verdict": said}
    certificate.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    checked = check_certificate(certificate, port)
    assert (checked.verdict, checked.passed) == (verdict, verdict in ("EQUAL", "SAME FUNCTION"))


def change(certificate: Path, /, **values: Any) -> None:
    certificate.write_text(json.dumps({**json.loads(certificate.read_text()), **values}))


@pytest.mark.parametrize("content", ["", "{", "not json", "[" * 100_000, "\x00"])
def test_what_is_no_json_is_refused(content, port, certificate):
    certificate.write_text(content)
    with pytest.raises(
        VerificationError, match=r"certificate.json: no certificate: no JSON .* Expected what `verify --certificate`"
    ):
        check_certificate(certificate, port)


def test_bytes_that_are_no_text_are_refused(port, certificate):
    certificate.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VerificationError, match="no certificate: no JSON"):
        check_certificate(certificate, port)


@pytest.mark.parametrize("content", ["{}", "[]", "7", '"text"', "null"])
def test_other_json_is_refused(content, port, certificate):
    certificate.write_text(content)
    with pytest.raises(VerificationError, match=r"no certificate, it lacks certificate, converted_sha256, passed"):
        check_certificate(certificate, port)


def test_a_certificate_that_lacks_something_is_refused(port, certificate):
    values = json.loads(certificate.read_text())
    del values["port_digest"]
    certificate.write_text(json.dumps(values))
    with pytest.raises(VerificationError, match="no certificate, it lacks port_digest"):
        check_certificate(certificate, port)


def test_a_newer_format_is_refused(port, certificate):
    change(certificate, certificate=2)
    with pytest.raises(VerificationError, match=r"a certificate of format 2, expected 1. Verify again"):
        check_certificate(certificate, port)


def test_missing_files_are_refused(port, certificate, tmp_path):
    with pytest.raises(VerificationError, match=r"nowhere.json: cannot be read \(No such file"):
        check_certificate(tmp_path / "nowhere.json", port)
    with pytest.raises(VerificationError, match=r"cannot be read \(Is a directory"):
        check_certificate(tmp_path, port)
    with pytest.raises(CheckpointError, match=r"nowhere.safetensors"):
        check_certificate(certificate, tmp_path / "nowhere.safetensors")


def test_the_output_is_written_whole_or_not_at_all(port, tmp_path):
    with pytest.raises(TransferError, match="does not exist"):
        write_certificate(verification(port), tmp_path / "nowhere" / "certificate.json")
    with pytest.raises(TransferError, match="is a folder"):
        write_certificate(verification(port), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.h5", "port.safetensors"]
