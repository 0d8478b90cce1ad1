"""What the gates see of planted mistakes, counted; against a recording of the port itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from torch_recordings import ORIGIN, images, record_subject

from resnet_torch import load_model
from resnet_torch.comparison.mistakes import KINDS
from resnet_torch.comparison.sensitivity import plant_all, sensitivity
from resnet_torch.comparison.subject import Subject, subject_of
from weight_transfer import convert
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.protocol import SensitivityRequest
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.preprocessing import PRESETS


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sensitivity")
    port, reference = folder / "port.safetensors", folder / "reference.safetensors"
    convert(checkpoints.checkpoint(folder / "model.h5", checkpoints.small(in_shape=(33, 33, 3))), port)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 33, 33, 3)).astype(np.uint8)
    shown = [
        Case("noise", (images(2, 33, 33, 3),), raw=False),
        Case("pictures", (pictures,), raw=True),
        Case("noise, training", (images(4, 33, 33, 3),), raw=False, check="training"),
    ]
    subject = subject_of(load_model(port).double())
    origin = replace(ORIGIN, preprocessing=PRESETS["caffe"], channels=3, last_activations=("softmax",))
    record_subject(reference, subject, shown, {"output": ("fc_final",)}, origin=origin)
    return port, reference


@pytest.fixture
def recording(files) -> Recording:
    """Without the training step."""
    recording = read_recording(files[1])
    return replace(recording, cases=tuple(case for case in recording.cases if case.check == "inference"))


@pytest.fixture
def subject(files) -> Subject:
    return subject_of(load_model(files[0]).double())


def test_each_planted_mistake_is_counted(subject, recording):
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    (found,) = sensitivity(subject, recording, ["kernel transposed"])
    assert found.title == KINDS["kernel transposed"].title
    assert found.planted == ("conv", "res2b_branch2b", "res3a_branch2b")
    assert found.seen == found.named == 3
    assert found.smallest_error > found.gate == 1e-12
    assert 0 <= found.seen_by_float32 <= 3
    assert 0 <= found.seen_by_top_1 <= 3
    assert all((tensor == before[name]).all() for name, tensor in subject.model.state_dict().items())


def test_a_mistake_that_no_input_shows_is_counted_as_unseen(subject, recording):
    (found,) = sensitivity(subject, recording, ["softmax twice"])
    assert (found.seen, found.named) == (1, 1)
    blind = replace(recording, entries=tuple(entry for entry in recording.entries if entry.name != "output"))
    (found,) = sensitivity(subject, blind, ["softmax twice"])
    assert (found.seen, found.named, found.smallest_error) == (0, 0, 0.0)
    assert len(found.planted) == 1


def test_kinds_without_a_place_are_left_out(subject, recording):
    assert not list(sensitivity(subject, recording, ["flatten order"]))
    assert len(list(sensitivity(subject, recording, ["preprocessing"]))) == 1
    without_pictures = replace(recording, cases=tuple(case for case in recording.cases if not case.raw))
    assert not list(sensitivity(subject, without_pictures, ["preprocessing"]))
    grey = replace(recording, origin=replace(recording.origin, channels=1))
    assert not list(sensitivity(subject, grey, ["preprocessing"]))


def test_a_mistake_that_shows_in_training_alone_needs_the_step(subject, recording, files):
    (found,) = sensitivity(subject, recording, ["momentum"])
    assert found.seen == 0
    (found,) = sensitivity(subject, read_recording(files[1]), ["momentum"])
    assert found.seen == 3


def test_a_request_is_answered(files):
    shares: list[float] = []
    rows = plant_all(SensitivityRequest(*files, kinds=("epsilon", "stride")), shares.append).planted
    assert [row.kind for row in rows] == ["epsilon", "stride"]
    assert all(row.seen == len(row.planted) for row in rows)
    assert shares == [0.5, 1.0]
