"""The table of mistakes; that all are seen and named is tested against Keras, in `test_planted`."""

from __future__ import annotations

import copy

import pytest
import torch
from handmade_graphs import conv, network, row
from torch_recordings import lived_in

from resnet_torch.comparison.mistakes import KINDS, MISTAKES, Kind, Site, chosen_sites, planted
from resnet_torch.comparison.subject import Subject, subject_of
from resnet_torch.imported import import_graph


@pytest.fixture
def subject(small) -> Subject:
    return subject_of(lived_in(small()))


def test_every_kind_has_a_title_of_its_own_and_a_known_cause():
    titles = [kind.title for kind in KINDS.values()]
    assert len(set(titles)) == len(titles) >= 60
    assert len(KINDS) == sum(len(mistake.kinds) for mistake in MISTAKES.values())


@pytest.mark.parametrize(("count", "chosen"), [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (10, [0, 5, 9])])
def test_an_early_a_middle_and_a_late_place(count, chosen, subject):
    found = [Site(str(number)) for number in range(count)]
    kind = Kind("", lambda subject: iter(found), lambda subject, site: subject)
    assert [int(site.layer) for site in chosen_sites(subject, kind)] == chosen


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_mistake_changes_the_copy_and_not_the_port(kind, subject):
    before = copy.deepcopy(subject.model)
    for site in chosen_sites(subject, KINDS[kind]):
        broken = planted(subject, KINDS[kind], site)
        assert broken.model is not subject.model
        assert broken.taps.keys() == subject.taps.keys()
        state = broken.model.state_dict(keep_vars=True)
        changed = (
            str(broken.model) != str(before)
            or broken.model.description != before.description
            or broken.preprocessing != subject.preprocessing
            or broken.endings["output"][1] is not subject.endings["output"][1]
            or any(not tensor.requires_grad for name, tensor in broken.model.named_parameters())
            or any(not torch.equal(tensor, before.state_dict()[name]) for name, tensor in state.items())
        )
        assert changed
    assert str(subject.model) == str(before)
    assert all(torch.equal(tensor, before.state_dict()[name]) for name, tensor in subject.model.state_dict().items())


def test_a_square_kernel_of_one_place_reshaped_has_its_channels_swapped_and_is_that_kind():
    subject = subject_of(lived_in(import_graph(network(conv("a", "image", kernel_size=[1, 1]), outputs=[["a", 0, 0]]))))
    assert not chosen_sites(subject, KINDS["kernel reshaped"])
    assert chosen_sites(subject, KINDS["kernel channels"])
    wide = subject_of(lived_in(import_graph(network(conv("a", "image"), outputs=[["a", 0, 0]]))))
    assert chosen_sites(wide, KINDS["kernel reshaped"])


def test_a_relu_is_not_added_where_one_follows_already():
    rows = [conv("a", "image", activation="relu"), conv("b", "a"), row("ReLU", "r", ["b"])]
    subject = subject_of(lived_in(import_graph(network(*rows, outputs=[["r", 0, 0]]))))
    assert chosen_sites(subject, KINDS["activation added"]) == [Site("b", "b")]
