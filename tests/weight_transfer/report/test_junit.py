"""The verification as JUnit XML, read back as a CI reads it."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from xml.etree import ElementTree

import pytest
from junitparser import JUnitXml

from weight_transfer.errors import TransferError, VerificationError
from weight_transfer.report.formats import visible
from weight_transfer.report.junit import write_junit


def written(found, folder):
    """Each suite's cases: (name, message of the failure or None)."""
    write_junit(found, folder / "junit.xml")
    return {
        suite.name: [(case.name, case.result[0].message if case.result else None) for case in suite]
        for suite in JUnitXml.fromfile(str(folder / "junit.xml"))
    }


def test_every_tensor_is_a_case_of_its_checks_suite(passing, tmp_path):
    suites = written(passing, tmp_path)
    assert list(suites) == ["weights", "inference", "training", "gradient", "statistics", "loss"]
    assert suites.pop("weights") == [("arrays bit-equal", None)]
    for check, cases in suites.items():
        assert cases == [(f"{row.name} ({row.device})", None) for row in passing.of(check)]


def test_what_differs_fails_and_the_first_says_why(failing, tmp_path):
    suites = written(failing, tmp_path)
    failed = [message for cases in suites.values() for _, message in cases if message is not None]
    assert len(failed) == sum(not row.passed for row in failing.rows)
    assert dict(suites["inference"])["bn3a_branch2b (cpu)"] == failed[0]
    assert failed[0] == (
        "differs from keras 3.15.1 from the file: float64 2.1e-02 > 1e-12, float32 2.1e-02 > 1e-05. "
        + failing.explanation.sentence
    )
    assert failed[1] == "differs from keras 3.15.1 from the file: float64 2.1e-02 > 1e-12, float32 2.1e-02 > 1e-05."


def test_the_counts_are_those_of_the_cases(failing, tmp_path):
    write_junit(failing, tmp_path / "junit.xml")
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    for element in (root, *root):
        assert int(element.get("tests")) == len(list(element.iter("testcase")))
        assert int(element.get("failures")) == len(list(element.iter("failure")))
    assert int(root.get("failures")) == sum(not row.passed for row in failing.rows)


def test_the_time_and_what_was_compared_with_what_stand_beside_the_cases(passing, tmp_path):
    write_junit(dataclasses.replace(passing, left_out=("other sizes",)), tmp_path / "junit.xml")
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert float(root.get("time")) == passing.duration_s
    told = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert told["verdict"] == passing.verdict
    assert told["port digest"] == passing.port_digest
    assert told["left out"] == "other sizes"
    assert told.items() >= passing.environment.items()


def test_what_is_not_proven_for_its_reference_alone_fails_too(passing, tmp_path):
    suites = written(dataclasses.replace(passing, doubt="its predict is another"), tmp_path)
    assert suites["reference"] == [("the owner's own model", "NOT PROVEN: its predict is another")]


def test_only_what_is_over_its_limit_is_named(passing, tmp_path):
    row, *others = passing.rows
    rows = (dataclasses.replace(row, errors={**row.errors, "float64": math.nan}), *others)
    [(_, message), *_] = written(dataclasses.replace(passing, rows=rows), tmp_path)["inference"]
    assert message == "differs from keras 3.15.1 from the file: float64 \u221e > 1e-12."


def test_an_all_zero_reference_fails_and_says_so(passing, tmp_path):
    rows = (dataclasses.replace(passing.rows[0], peak=0.0), *passing.rows[1:])
    [(_, message), *_] = written(dataclasses.replace(passing, rows=rows), tmp_path)["inference"]
    assert message == "the reference is all zero, or no number, which proves nothing."


def test_arrays_that_differ_fail(passing, tmp_path):
    names = tuple(f"conv{number}/kernel" for number in range(12))
    found = dataclasses.replace(passing, weights_equal=310, weights_differing=names)
    assert written(found, tmp_path)["weights"] == [
        ("arrays bit-equal", f"12 of 322 differ: {', '.join(names[:10])}, ...")
    ]


def test_devices_are_told_apart(passing, tmp_path):
    row = passing.rows[0]
    found = dataclasses.replace(passing, rows=(row, dataclasses.replace(row, device="cuda")))
    assert [name for name, _ in written(found, tmp_path)["inference"]] == ["conv1 (cpu)", "conv1 (cuda)"]


def test_hostile_names_are_text(hostile, hostile_texts, tmp_path):
    suites = written(hostile, tmp_path)
    names = {name for cases in suites.values() for name, _ in cases}
    assert {f"{visible(name)} (cpu)" for name in hostile_texts} <= names
    content = (tmp_path / "junit.xml").read_text(encoding="utf-8")
    assert not re.search("[\x00\x1b\u202e\ud800-\udfff]", content)
    kinds = {element.tag for element in ElementTree.fromstring(content.encode()).iter()}
    assert kinds == {"testsuites", "testsuite", "properties", "property", "testcase", "failure"}


def test_a_missing_library_is_named_with_what_to_install(passing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "junitparser", None)
    message = r"JUnit XML needs junitparser. Install: pip install 'keras-resnet-to-torch\[report\]'"
    with pytest.raises(VerificationError, match=message):
        write_junit(passing, tmp_path / "junit.xml")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(passing, tmp_path):
    with pytest.raises(TransferError, match=r"the output folder .* does not exist"):
        write_junit(passing, tmp_path / "missing" / "junit.xml")
