"""Mistakes planted where they hide, in dead, saturated and tiny branches: each is seen, at its own layer, and named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras_mistaken
import pytest

from resnet_torch import load_model
from resnet_torch.comparison.mistakes import KINDS, Kind, Site, chosen_sites
from resnet_torch.comparison.sensitivity import port_to_plant_in, sensitivity
from resnet_torch.comparison.subject import Subject, subject_of
from weight_transfer import convert, verify
from weight_transfer.parity.recording import read_recording
from weight_transfer.parity.reference import record
from weight_transfer.parity.report import Planted
from weight_transfer.parity.runner import Runner

pytestmark = pytest.mark.keras

MOST_KINDS = 50  # for which each network has a place
# Where ReLUs, kernels and batch norms behind a dead ReLU are reached, and a few descriptions.
FEW = (
    "training mode",
    "epsilon rounded",
    "momentum",
    "kernel mirrored",
    "dilation",
    "activation clipped",
    "activation of one channel",
    "frozen bias",
    "dropout lost",
    "regularizer halved",
    "trainable",
)


def saved(name: str, folder: Path, keras_side) -> Path:
    suffix = ".h5" if name == "twice called" else ".keras"  # of tf_keras
    return keras_side(keras_mistaken.save, folder / f"model{suffix}", name)


@dataclass(frozen=True)
class Hidden:
    """A network, its right port, and a recording of Keras."""

    source: Path
    port: Path
    reference: Path
    runner: Runner

    def sensitivity(self, kinds: Iterable[str] = tuple(KINDS), **options: Any) -> list[Planted]:
        recording = read_recording(self.reference)
        return list(sensitivity(port_to_plant_in(self.port, recording), recording, kinds, **options))

    def drawn_again(self) -> Hidden:
        """The same with other numbers in its exact runs: a small layer may be drawn none that show a mistake."""
        again = self.reference.with_name("again.safetensors")
        record(self.source, again, runner=self.runner)
        return replace(self, reference=again)


@pytest.fixture(scope="module")
def hidden(request, keras_side, tmp_path_factory, runner) -> Hidden:
    folder = tmp_path_factory.mktemp("hidden")
    source = saved(request.param, folder, keras_side)
    port, reference = folder / "port.safetensors", folder / "reference.safetensors"
    convert(source, port)
    record(source, reference, runner=runner)
    found = verify(source, port, devices=("cpu",), reference=reference, runner=runner)
    assert found.verdict == "SAME FUNCTION", [row for row in found.rows if not row.passed] or found.unproven
    return Hidden(source, port, reference, runner)


def everywhere(subject: Subject, kind: Kind) -> list[Site]:
    return list(kind.sites(subject))


def missed(found: Sequence[Planted]) -> list[Planted]:
    return [one for one in found if not len(one.planted) == one.seen == one.located == one.named]


@pytest.mark.parametrize("hidden", ["dead"], indirect=True, scope="module")
def test_mistakes_around_a_dead_layer_are_seen_there_and_named(hidden):
    found = missed(hidden.sensitivity(FEW))
    assert all(len(one.planted) == one.seen for one in found)
    if found:
        assert not missed(hidden.drawn_again().sensitivity([one.kind for one in found]))


@pytest.mark.slow
@pytest.mark.parametrize("hidden", keras_mistaken.NETWORKS, indirect=True, scope="module")
def test_every_mistake_is_seen_at_its_layer_and_named_at_every_place(hidden):
    found = hidden.sensitivity(choose=everywhere)
    assert len(found) >= MOST_KINDS
    unnamed = missed(found)
    assert all(len(one.planted) == one.seen for one in unnamed)
    if unnamed:
        assert not missed(hidden.drawn_again().sensitivity([one.kind for one in unnamed], choose=everywhere))


def test_every_kind_has_a_place_in_one_of_the_networks(tmp_path, keras_side):
    placed = set()
    for name in keras_mistaken.NETWORKS:
        port = tmp_path / "port.safetensors"
        convert(saved(name, tmp_path, keras_side), port)
        subject = subject_of(load_model(port))
        placed |= {key for key, kind in KINDS.items() if chosen_sites(subject, kind)}
    assert placed == set(KINDS)
