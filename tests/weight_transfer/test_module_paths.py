"""Module paths: any names of a file, no two alike, and nothing in them but letters, digits and underscores."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weight_transfer.errors import ArchitectureError
from weight_transfer.module_paths import checked_name, module_paths

HARMFUL = 'conv2") if open(chr(47), "w") else getattr(self, "conv2'

# Names that meet: what one becomes is what another is called, or its parent, or its activation.
PIECES = st.sampled_from(
    ["a", "b", "_", ".", "/", "2", "conv", "activation", "train", "class", "self", "weight", "-", '"', "\\", "é", "\n"]
)
NAMES = st.one_of(st.lists(PIECES, max_size=6).map("".join), st.text(max_size=8))


@given(st.dictionaries(NAMES, st.booleans(), min_size=2, max_size=6))
def test_no_two_modules_meet(layers):
    found = [path for chain in module_paths(layers).values() for path in chain]
    assert all(re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", path) for path in found)
    assert len(set(found)) == len(found) == len(layers) + sum(layers.values())
    assert not [one for one in found for other in found if other.startswith(f"{one}.")]


@given(st.lists(NAMES, unique=True, min_size=2, max_size=2), st.booleans())
def test_two_names_are_never_one_module(names, activated):
    one, other = module_paths(dict.fromkeys(names, activated)).values()
    assert not {*one} & {*other}


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("res2a_branch2a", "res2a_branch2a"),
        ("conv2d_22", "conv2d_22"),
        ("resnet50/conv1", "resnet50.conv1"),
        ("1st", "1st"),
        ("in", "in_"),
        ("class", "class_"),
        ("self", "self_"),
        ("train", "train_"),
        ("_graph", "_graph_"),
        ("my.conv", "my_conv"),
        ("my-conv é", "my_conv__"),
        ("", "_"),
        ("a//b", "a._.b"),
        (HARMFUL, "conv2___if_open_chr_47____w___else_getattr_self___conv2"),
    ],
)
def test_a_layer_alone_has_its_name(path, module):
    assert module_paths({path: True})[path] == (module, f"{module}_activation")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({"fc": True, "fc_activation": False}, {"fc": ("fc", "fc_activation_2"), "fc_activation": ("fc_activation",)}),
        ({"a.b": False, "a_b": False}, {"a.b": ("a_b_2",), "a_b": ("a_b",)}),
        ({"train": False, "train_": False}, {"train": ("train__2",), "train_": ("train_",)}),
        ({"b/conv/pad": False, "b/conv": False}, {"b/conv/pad": ("b.conv.pad",), "b/conv": ("b.conv_2",)}),
        ({"a.b/c": True, "a_b": False}, {"a.b/c": ("a_b.c", "a_b.c_activation"), "a_b": ("a_b_2",)}),
        ({"x.": False, "x-": False, "x__2": False}, {"x.": ("x_",), "x-": ("x__3",), "x__2": ("x__2",)}),
    ],
)
def test_who_gives_way(layers, expected):
    assert module_paths(layers) == expected
    assert module_paths(dict(reversed(layers.items()))).keys() == expected.keys()


def test_plain_names_do_not_depend_on_the_others():
    plain = {"conv1": True, "resnet50/conv1": False, "conv1_activation": False}
    odd = {"conv1.": True, "resnet50.conv1": False, "conv1_activation_": True}
    alone, together = module_paths(plain), module_paths({**odd, **plain})
    assert all(together[path][0] == alone[path][0] for path in plain)


def test_thousands_of_names_of_one_kind_take_no_time():
    paths = module_paths(
        {"." * (number + 1): True for number in range(900)} | {"é" * 3 + chr(200 + n): False for n in range(3000)}
    )
    assert len({path for chain in paths.values() for path in chain}) == 4800


@pytest.mark.parametrize("name", ["a.b", "a/b", "forward", "import", "_a", "", "é", 'a"', "a\n", 3, None])
def test_a_name_that_no_module_can_have_is_refused(name):
    with pytest.raises(
        ArchitectureError, match=r"^the classifier must be letters, digits and underscores, .* Received: "
    ):
        checked_name(name, "the classifier")
