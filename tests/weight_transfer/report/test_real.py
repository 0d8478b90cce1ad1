"""The pages of real verifications, of a small network: nothing that a `Verification` holds is a surprise to them."""

from __future__ import annotations

import dataclasses

import keras_resnets
import pytest
from junitparser import JUnitXml

from weight_transfer import convert, verify
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.description import Description
from weight_transfer.parity.causes import CAUSES
from weight_transfer.report import page, write_report
from weight_transfer.report.junit import write_junit
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.tensor_file import Tensor

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def files(tmp_path_factory, keras_side):
    """A checkpoint and its port."""
    folder = tmp_path_factory.mktemp("real")
    source = keras_side(
        keras_resnets.twin,
        folder / "resnet.h5",
        in_shape=(65, 64, 3),
        stem_filters=8,
        block_counts=(2, 2),
        filters=((8, 8, 32), (16, 16, 64)),
    )
    convert(source, folder / "resnet.safetensors")
    return source, folder / "resnet.safetensors"


def assert_tells_all(content, found):
    shown = content.replace("<wbr>", "")
    for row in found.rows:
        assert f">{row.name}</th>" in shown
    assert content.count('<tr id="row-') == len(found.rows)
    for text in (found.port_digest, found.source_sha256, found.converted_sha256, *found.inputs):
        assert text in content
    assert content.count("data:image/png;base64,") == len(found.predictions) > 0


def test_a_correct_port(files, tmp_path, runner):
    found = verify(*files, runner=runner)
    write_report(found, tmp_path / "report.html")
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "SAME FUNCTION</h1>" in content
    assert "DIFFERS" not in content.partition("<main")[0]
    assert_tells_all(content, found)


def test_a_wrong_epsilon(files, tmp_path, runner):
    converted = read_converted(files[1])
    architecture = converted.network.resnet
    wrong = dataclasses.replace(architecture, conventions=dataclasses.replace(architecture.conventions, epsilon=1e-5))
    tensors = [Tensor.of(name, value) for name, value in converted.tensors().items()]
    write_converted(tmp_path / "broken.safetensors", tensors, Description(resnet_graph(wrong), converted.origin))
    found = verify(files[0], tmp_path / "broken.safetensors", runner=runner)
    content = page.render(found)
    assert "DIFFERS</h1>" in content
    assert found.explanation.found.cause == "epsilon"
    assert f"<b>{CAUSES['epsilon'].title}:</b>" in content
    assert_tells_all(content, found)
    write_junit(found, tmp_path / "junit.xml")
    failed = [case for suite in JUnitXml.fromfile(str(tmp_path / "junit.xml")) for case in suite if case.result]
    assert (
        failed[0]
        .result[0]
        .message.startswith("15 of 417 differ: bn_conv1: epsilon: the file says 0.001, the port 1e-05")
    )
    assert failed[1].result[0].message.endswith(found.explanation.sentence)
