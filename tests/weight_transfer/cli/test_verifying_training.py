"""``verify-training`` as a person and as a script meet it."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree

import pytest

from weight_transfer.optimizer.grammar import training_optimizer
from weight_transfer.parity.report import Row
from weight_transfer.parity.training_report import TrainingExplanation, TrainingVerification

STEPS = ("--steps", "3", "--batch-size", "2", "--optimizer", "SGD(momentum=0.9)")


@pytest.mark.keras
def test_an_equal_port(verified, command, here, tmp_path):
    picture = tmp_path / "curves.svg"
    done = command("verify-training", verified.source, verified.port, *STEPS, "--curves", picture)
    assert done.code == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line[-1:] == ["equal"]] == ["steps", "weights", "slots", "moving"]
    assert "SGD(learning_rate=0.001, momentum=0.9" in done.stdout
    assert "3 in float64: crops of photographs under noise, 2 x 33 x 33 x 3" in done.stdout
    assert "EQUAL step for step: at most " in done.stdout
    assert done.stdout.splitlines()[-1] == f"wrote {picture}"
    texts = {element.text for element in ElementTree.parse(picture).iter() if element.text}
    assert os.listdir(tmp_path) == ["curves.svg"]
    assert texts


@pytest.mark.keras
def test_another_optimizer_in_json(verified, command, here, tmp_path):
    picture = tmp_path / "curves.png"
    port = ("--port-optimizer", "torch.optim.SGD", "--curves", picture, "--json")
    done = command(
        "verify-training",
        verified.source,
        *STEPS,
        "--schedule",
        "ExponentialDecay(decay_steps=1, decay_rate=0.5)",
        *port,
    )
    assert done.code == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"] is False
    assert found["port_optimizer"] == "torch.optim.SGD"
    assert found["optimizer"]["config"]["learning_rate"]["class_name"] == "ExponentialDecay"
    assert len(found["losses"]["keras"]) == len(found["losses"]["torch"]) == 3
    assert found["explanation"]["name"] == "step 3"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.keras
def test_a_difference_exits_1_and_is_explained(verified, command, here):
    done = command("verify-training", verified.source, verified.port, *STEPS, "--moving-variance", "tf_keras")
    assert done.code == 1
    assert "DIFFERS, first at bn_conv1/moving_variance" in done.stdout
    assert "Where they part: bn_conv1/moving_variance is the first that differs" in done.stdout
    assert "resnet_torch.BatchNorm2d has both rules" in done.stdout


@pytest.mark.parametrize(("rounding", "peak", "code", "text"), [
    (1e-5, 1.0, 3, "NOT PROVEN, rounding grows beyond the gate: at most 1.0e-05 of the peak (step 1)"),
    (1e-9, 1.0, 1, "DIFFERS, first at step 1: at most 1.0e-05"),
    (None, 0.0, 3, "NOT PROVEN, in Keras step 1 is all zero: at most 0.0e+00"),
])  # fmt: skip
def test_what_proves_nothing_exits_3(rounding, peak, code, text, verified, command, monkeypatch):
    error = 1e-5 if peak else 0.0
    row = Row("step", "step 1", "cpu", (1,), peak, {"float64": error}, {"float64": 1e-9})
    explained = None if rounding is None else TrainingExplanation("step", "step 1", error, True, rounding=rounding)
    found = TrainingVerification(
        title="ResNet",
        source="a.h5",
        source_sha256="",
        reference="file",
        loaded_by="keras",
        converted="a.safetensors",
        converted_sha256="",
        batches="noise",
        optimizer=training_optimizer("SGD", 0.1, None).to_config(),
        port_optimizer=None,
        losses={"keras": (1.0,), "torch": (1.0,)},
        rows=(row,),
        weights_equal=1,
        weights_total=1,
        weights_differing=(),
        explanation=explained,
    )
    monkeypatch.setattr("weight_transfer.cli.verify_training.verify_training", lambda *_, **__: [found])
    done = command("verify-training", verified.source)
    assert (done.code, text in done.stdout) == (code, True), done.stdout


BAD = {
    "an unknown optimizer": (("--optimizer", "Adamm"), "No optimizer 'Adamm'"),
    "an unknown argument": (("--optimizer", "Adam(clip=1)"), "it has no argument clip"),
    "an unknown schedule": (("--schedule", "Cosine"), "No schedule 'Cosine'"),
    "no call": (("--port-optimizer", "torch.optim.SGD(0.1)"), "the optimizer must be a name"),
    "no data": (("--data", "nowhere.npz"), "nowhere.npz: does not exist"),
    "no picture": (("--curves", "curves.jpg"), "the picture is written as PNG or SVG"),
    "no folder": (("--curves", "nowhere/curves.png"), "the output folder"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_message_and_exit_2(what, verified, command, no_work):
    arguments, text = BAD[what]
    done = command("verify-training", verified.source, verified.port, *arguments)
    assert done.code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
