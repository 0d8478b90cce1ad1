"""``verify`` and ``check`` as a person and as a script meet them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import junitparser
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from weight_transfer import verify
from weight_transfer.cli import terminal
from weight_transfer.cli.verify import print_verification
from weight_transfer.parity.recording import VALUES
from weight_transfer.parity.report import Planted

CHECKS = [
    "inference", "training", "loss", "gradient", "statistics", "predict", "training call", "moved statistics",
    "trained loss", "trained weights", "exact", "local output", "local gradient", "local statistics",
]  # fmt: skip


def strict_json(text: str) -> Any:
    """Parses JSON as every other language does: without Infinity and NaN."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_equal(verified, command, here):
    done = command("verify", verified.source, verified.port, "--reference", verified.recording)
    assert done.code == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines()]
    summary = [line for line in done.stdout.splitlines() if line.rstrip().endswith(" equal")]
    assert [line[:16].rstrip() for line in summary] == CHECKS
    assert "…" not in "".join(re.sub(r"\S+…\S+", "", line) for line in summary)  # names are shortened, figures never
    assert ["76", "of", "76", "arrays", "bit-equal"] in [line[1:] for line in lines]
    assert " ".join(done.stdout.split()).partition("SAME FUNCTION at ")[2].startswith("33x33")
    assert "keras 3" in done.stdout
    assert "wrote" not in done.stdout


def test_keras_runs_where_there_is_no_recording(verified, command, here):
    done = command("verify", verified.source)
    assert done.code == 0, done.stdout + done.stderr
    assert "SAME FUNCTION" in done.stdout


def test_every_layer_on_request(verified, command, here):
    arguments = ("verify", verified.source, verified.port, "--reference", verified.recording)
    rows = strict_json(command(*arguments, "--json").stdout)["rows"]
    printed = [line.rstrip() for line in command(*arguments, "--layers").stdout.splitlines()]
    table = [line for line in printed if line.endswith((" equal", " says nothing"))][len(CHECKS) :]
    for line, row in zip(table, rows, strict=True):
        assert line.startswith(row["check"])
        start, _, end = line[len(row["check"]) :].split()[0].partition("…")
        assert row["name"].startswith(start)
        assert row["name"].endswith(end)


def test_json_says_what_was_compared(verified, command, here):
    done = command("verify", verified.source, verified.port, "--reference", verified.recording, "--json")
    assert done.code == 0
    found = strict_json(done.stdout)
    assert found["passed"] is True
    assert found["explanation"] is None
    assert found["source"] == "a.h5"
    assert found["converted"] == "a.safetensors"
    assert list(dict.fromkeys(row["check"] for row in found["rows"])) == CHECKS
    assert all(row["passed"] for row in found["rows"])
    assert found["weights_equal"] == found["weights_total"] == 76
    assert found["predictions"]
    assert "reference keras" in found["environment"]
    assert "port torch" in found["environment"]
    assert "port keras" not in found["environment"]


def test_inference_only(verified, command, here):
    arguments = ("verify", verified.source, verified.port, "--reference", verified.recording)
    found = strict_json(command(*arguments, "--inference-only", "--json").stdout)
    assert {row["check"] for row in found["rows"]} == {"inference", "predict", "exact"}
    assert not any("training" in row["name"] for row in found["rows"])


def test_what_is_not_in_the_file_is_a_row_where_there_is_any(verified, runner, monkeypatch, capsys):
    found = verify(verified.source, verified.port, reference=verified.recording, training=False, runner=runner)
    monkeypatch.setattr(terminal.out, "width", 200)
    for assumed in ((), ("epsilon 0.001",)):
        print_verification(dataclasses.replace(found, assumed=assumed))
        assert ("notes" in capsys.readouterr().out) is bool(assumed)


def test_a_planted_epsilon_exits_1_and_is_explained(verified, command, here):
    done = command("verify", verified.source, verified.broken, "--reference", verified.recording)
    assert done.code == 1
    assert "DIFFERS, first at conv1_relu" not in done.stdout  # every layer is compared, not each block's last alone
    assert "DIFFERS, first at bn_conv1" in done.stdout
    assert "Where they part: bn_conv1 (BatchNorm2d) is the first that differs" in done.stdout
    assert "epsilon 0.001" in done.stdout.replace("\n", " ")
    assert "Convert with --epsilon." in done.stdout
    assert "more that differ (--layers shows every row)" in done.stdout


def test_other_weights_are_named(verified, command, here, tmp_path):
    broken = tmp_path / "broken.safetensors"
    with safe_open(verified.port, framework="np") as file:
        metadata = file.metadata()
    tensors = load_file(verified.port)
    tensors["stem.conv.weight"] = np.ascontiguousarray(tensors["stem.conv.weight"].swapaxes(2, 3))
    save_file(tensors, broken, metadata)
    done = command("verify", verified.source, broken, "--reference", verified.recording)
    assert done.code == 1
    assert "75 of 76 arrays bit-equal" in done.stdout
    assert "It agrees to" in done.stdout
    assert "the kernel's height and width swapped" in done.stdout


@pytest.mark.parametrize("which", ["port", "broken"])
def test_everything_is_written(which, verified, command, here, tmp_path):
    report, certificate, junit = (tmp_path / name for name in ("report.html", "certificate.json", "junit.xml"))
    port = getattr(verified, which)
    arguments = ("--reference", verified.recording, "--report", report, "--certificate", certificate, "--junit", junit)
    done = command("verify", verified.source, port, *arguments)
    assert done.code == (0 if which == "port" else 1), done.stderr
    for path in (report, certificate, junit):
        assert f"wrote {path}" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["certificate.json", "junit.xml", "report.html"]
    assert report.read_text().startswith("<!doctype html>")
    rows = strict_json(certificate.read_text())["rows"]
    suites = list(junitparser.JUnitXml.fromfile(str(junit)))
    assert [suite.name for suite in suites] == ["weights", "description", "wiring", *CHECKS]
    cases = [case for suite in suites for case in suite]
    assert len(cases) == 3 + len(rows)
    assert sum(not case.is_passed for case in cases) == sum(not row["passed"] for row in rows) + (which == "broken")
    checked = command("check", certificate, "--model", port)
    assert checked.code == done.code
    assert ("NOT CERTIFIED" in checked.stdout) == (which == "broken")


def test_an_output_of_another_size_is_json_too(verified, command, here, tmp_path):
    broken = tmp_path / "broken.safetensors"
    content = verified.port.read_bytes()
    before = b'\\"pool_padding\\":\\"zeros\\"'
    assert before in content
    broken.write_bytes(content.replace(before, before.replace(b"zeros", b"none ").replace(b'none \\"', b'none\\" ')))
    certificate = tmp_path / "certificate.json"
    arguments = ("--reference", verified.recording, "--json", "--certificate", certificate)
    done = command("verify", verified.source, broken, *arguments)
    assert done.code == 1, done.stderr
    found = strict_json(done.stdout)
    assert any(row["errors"]["float64"] is None for row in found["rows"])
    assert strict_json(certificate.read_text())["passed"] is False


BAD_REFERENCES: dict[str, tuple[Callable[[Any], Path], str]] = {
    "of another checkpoint": (lambda files: files.recording, "a recording of another checkpoint"),
    "a port": (lambda files: files.port, "holds no recording"),
    "a Keras file": (lambda files: files.source, "not a readable safetensors file"),
    "nothing": (lambda files: files.source.parent / "nowhere", "not a readable safetensors file"),
}


@pytest.mark.parametrize("what", BAD_REFERENCES)
def test_a_bad_reference_is_one_message_and_exit_2(what, verified, command, no_work, tmp_path):
    make, text = BAD_REFERENCES[what]
    source = verified.other if what == "of another checkpoint" else verified.source
    done = command("verify", source, "--reference", make(verified), "--report", tmp_path / "report.html")
    assert done.code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_damaged_recording_makes_no_port_wrong_unseen(verified, command, here, tmp_path):
    path = damaged(verified.recording, tmp_path / "damaged.safetensors")
    done = command("verify", verified.source, verified.port, "--reference", path, "--json")
    assert done.code == 1
    found = strict_json(done.stdout)
    assert not found["rows"][0]["passed"]
    assert found["explanation"]["found"] is None


def damaged(recording: Path, path: Path) -> Path:
    """The recording with its first number changed."""
    with safe_open(recording, framework="np") as file:
        metadata = file.metadata()
    arrays = load_file(recording)
    arrays[VALUES][0] += 1
    save_file(arrays, path, metadata)
    return path


BAD_OUTPUTS = {
    "a missing folder": ("nowhere/out", "the output folder"),
    "a folder": (".", "is a folder"),
    "the checkpoint": ("a.h5", "the output is the input"),
    "the port": ("a.safetensors", "the output is the input"),
    "the recording": ("r.safetensors", "the output is the input"),
}


@pytest.mark.parametrize("option", ["--report", "--certificate", "--junit"])
@pytest.mark.parametrize("what", BAD_OUTPUTS)
def test_a_bad_output_is_refused_before_the_long_work(what, option, verified, command, no_work):
    name, text = BAD_OUTPUTS[what]
    folder = verified.source.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = command("verify", verified.source, verified.port, "--reference", verified.recording, option, folder / name)
    assert done.code == 2
    assert text in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_two_outputs_in_one_file_are_refused(verified, command, no_work, tmp_path):
    arguments = ("--report", tmp_path / "out", "--junit", tmp_path / "." / "out")
    done = command("verify", verified.source, "--reference", verified.recording, *arguments)
    assert done.code == 2
    assert "two outputs are one file" in done.stderr


@pytest.mark.parametrize(
    ("option", "library"), [("--report", "jinja2"), ("--report", "matplotlib"), ("--junit", "junitparser")]
)
def test_a_missing_library_is_named_before_the_long_work(
    option, library, verified, command, no_work, tmp_path, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == library else find(name, *rest))
    done = command("verify", verified.source, "--reference", verified.recording, option, tmp_path / "out")
    assert done.code == 2
    assert f"out is made with {library}, not installed here" in done.stderr
    assert "pip install 'keras-resnet-to-torch[report]'" in done.stderr


PLANTED = Planted("epsilon", "epsilon off", ("bn_conv1",), 1, 1, 1e-9, 1e-12, 0, 0)


@pytest.mark.parametrize("which", ["port", "broken"])
def test_mistakes_are_planted_in_a_port_that_is_equal(which, verified, command, here, monkeypatch):
    calls: list[Path] = []

    def plant(port: Path, *rest: Any, **named: Any) -> tuple[Planted, ...]:
        calls.append(port)
        return (PLANTED,)

    monkeypatch.setattr("weight_transfer.parity.verify.plant", plant)
    port = getattr(verified, which)
    done = command("verify", verified.source, port, "--reference", verified.recording, "--sensitivity", "--json")
    planted = strict_json(done.stdout)["sensitivity"]
    assert [row["kind"] for row in planted] == (["epsilon"] if which == "port" else [])
    assert calls == ([port] if which == "port" else [])


@pytest.fixture
def certificate(verified, command, here, tmp_path) -> Path:
    path = tmp_path / "certificate.json"
    arguments = ("--reference", verified.recording, "--certificate", path, "--inference-only")
    assert command("verify", verified.source, verified.port, *arguments).code == 0
    return path


def test_check_knows_the_certified_file(certificate, verified, command):
    done = command("check", certificate, "--model", verified.port)
    assert done.code == 0
    assert "the certified file, byte for byte" in done.stdout
    assert "the same function as Keras's" in done.stdout
    assert done.stdout.splitlines()[-1] == "CERTIFIED"


def test_check_refuses_another_file(certificate, verified, command):
    done = command("check", certificate, "--model", verified.broken)
    assert done.code == 1
    assert "not what was certified: another network or other numbers" in done.stdout
    assert done.stdout.splitlines()[-1] == "NOT CERTIFIED"


def test_check_requires_what_it_is_asked_to(certificate, verified, command):
    done = command("check", certificate, "--model", verified.port, "--require", "exact, predict")
    assert (done.code, "NOT CERTIFIED" in done.stdout) == (0, False)
    done = command("check", certificate, "--model", verified.port, "--require", "exact,training,gradient")
    assert done.code == 3
    assert "not compared  training, gradient" in done.stdout
    assert "NOT CERTIFIED" in done.stdout


def test_check_in_json(certificate, verified, command):
    done = command("check", certificate, "--model", verified.port, "--json")
    found = strict_json(done.stdout)
    assert found["match"] == "file"
    assert (found["passed"], found["verdict"]) == (True, "SAME FUNCTION")
    done = command("check", certificate, "--model", verified.broken, "--json")
    assert done.code == 1
    assert strict_json(done.stdout)["match"] == "none"


def test_check_of_what_proves_nothing(certificate, verified, command):
    values = {**strict_json(certificate.read_text()), "passed": False, "verdict": "NOT PROVEN"}
    certificate.write_text(json.dumps(values))
    done = command("check", certificate, "--model", verified.port)
    assert done.code == 3
    assert "not proven: nothing differs" in done.stdout
    assert command("check", certificate, "--model", verified.broken).code == 1


def test_check_of_what_is_no_certificate(certificate, verified, command, tmp_path):
    for path, text in (
        (verified.port, "no JSON"),
        (tmp_path / "nowhere.json", "cannot be read"),
    ):
        done = command("check", path, "--model", verified.port)
        assert done.code == 2
        assert done.stdout == ""
        assert text in done.stderr
    done = command("check", certificate, "--model", verified.source)
    assert done.code == 2
    assert "not a readable safetensors file" in done.stderr
    assert command("check", certificate).code == 2
