"""``sensitivity`` as a person and as a script meet it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from weight_transfer.parity.causes import CAUSES
from weight_transfer.parity.recording import VALUES
from weight_transfer.parity.report import Planted

SEEN = Planted("epsilon", "epsilon off", ("bn_conv1", "bn3a_branch1"), 2, 1, 1.5e-9, 1e-12, 1, 0)
MISSED = Planted("momentum", "momentum off", ("bn_conv1",), 0, 0, math.inf, 0.0, 0, 0)


def refuse(constant: str) -> None:
    raise ValueError(constant)


@pytest.fixture(scope="module")
def found(verified, runner) -> list[dict[str, Any]]:
    """What the gates see of every kind, planted in the small network's port."""
    from weight_transfer.parity.fault_injection import sensitivity

    found = sensitivity(verified.source, reference=verified.recording, runner=runner)
    return [planted.__dict__ for planted in found]


def test_every_planted_mistake_is_seen(found):
    missed = [row for row in found if row["seen"] < len(row["planted"])]
    assert not missed
    assert len(found) > 25
    for row in found:
        assert 0 < len(row["planted"]) <= 3
        assert row["smallest_error"] > row["gate"] >= 0
        assert 0 <= row["named"] <= row["seen"]


def test_float64_sees_what_float32_and_the_class_do_not(found):
    slip = next(row for row in found if row["kind"] == "epsilon slip")
    assert slip["seen"] == len(slip["planted"])
    assert slip["seen_by_float32"] == slip["seen_by_top_1"] == 0
    assert sum(row["seen_by_top_1"] for row in found) < sum(row["seen"] for row in found) / 2


def planting(monkeypatch, *rows: Planted) -> list[Any]:
    calls: list[Any] = []

    def sensitivity(*arguments: Any, **named: Any) -> tuple[Planted, ...]:
        calls.append(arguments)
        return rows

    monkeypatch.setattr("weight_transfer.cli.sensitivity.sensitivity", sensitivity)
    return calls


def test_all_seen_exits_0(verified, command, monkeypatch):
    calls = planting(monkeypatch, SEEN)
    done = command("sensitivity", verified.source, "--reference", verified.recording)
    assert done.code == 0
    assert calls[0][0] == verified.source
    assert calls[0][2] == verified.recording
    row = next(line for line in done.stdout.splitlines() if line.startswith("epsilon off"))
    assert row.split()[-7:] == ["2", "2", "1", "1.5e-09", "1e-12", "1", "0"]
    assert "SEEN: 2 of 2 planted mistakes of 1 kinds" in done.stdout


def test_one_missed_exits_1(verified, command, monkeypatch):
    planting(monkeypatch, SEEN, MISSED)
    done = command("sensitivity", verified.source, "--reference", verified.recording)
    assert done.code == 1
    assert "MISSED: 2 of 3 planted mistakes of 2 kinds" in done.stdout
    assert "momentum off" in done.stdout


def test_json_holds_no_infinity(verified, command, monkeypatch):
    planting(monkeypatch, SEEN, MISSED)
    done = command("sensitivity", verified.source, "--json")
    assert done.code == 1
    values = json.loads(done.stdout, parse_constant=refuse)
    assert values["passed"] is False
    assert [row["smallest_error"] for row in values["planted"]] == [1.5e-9, None]


def test_a_port_that_differs_already_proves_nothing(verified, command, here, tmp_path):
    path = tmp_path / "damaged.safetensors"
    with safe_open(verified.recording, framework="np") as file:
        metadata = file.metadata()
    arrays = load_file(verified.recording)
    arrays[VALUES][0] += 1
    save_file(arrays, path, metadata)
    done = command("sensitivity", verified.source, "--reference", path)
    assert done.code == 2
    assert done.stdout == ""
    assert "the port differs before a mistake is planted in it, first at" in done.stderr


def test_a_recording_of_another_checkpoint_exits_2(verified, command, no_work):
    done = command("sensitivity", verified.other, "--reference", verified.recording)
    assert done.code == 2
    assert "a recording of another checkpoint" in done.stderr


def test_every_cause_that_is_named_has_advice(found):
    from resnet_torch.comparison.mistakes import MISTAKES

    assert set(MISTAKES) <= set(CAUSES)
