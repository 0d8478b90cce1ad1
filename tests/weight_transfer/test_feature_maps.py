"""Which values of a graph are its feature maps: those that everything goes through, the last of each size."""

from __future__ import annotations

import pytest
from handmade_graphs import conv, dense, network, row

from weight_transfer.errors import ArchitectureError
from weight_transfer.feature_maps import feature_maps


def residual(name: str, source: str, **config) -> list[dict]:
    """A convolution beside its input, which only the addition brings together."""
    return [conv(f"{name}_conv", source, **config), row("Add", name, [f"{name}_conv", source])]


def pooled(source: str) -> list[dict]:
    return [row("GlobalAveragePooling2D", "pool", [source]), dense("out", "pool", 4, activation="softmax")]


def maps(*rows: dict, outputs="out", **options) -> tuple[str, ...]:
    return feature_maps(network(*rows, outputs=[[outputs, 0, 0]], **options))


def test_the_last_of_each_size_and_nothing_inside_a_block():
    rows = [conv("a", "image"), *residual("b", "a"), conv("c", "b", strides=[2, 2]), *residual("d", "c"), *pooled("d")]
    assert maps(*rows) == ("b", "d")


def test_the_image_prepared_and_padded_maps_are_none():
    rows = [
        row("Rescaling", "scaled", ["image"], scale=0.5),
        row("ZeroPadding2D", "padded", ["scaled"], padding=[1, 1]),
        conv("a", "padded", strides=[2, 2], padding="valid"),
        row("ZeroPadding2D", "wider", ["a"], padding=[2, 2]),
        conv("b", "wider", strides=[4, 4]),
        *pooled("b"),
    ]
    assert maps(*rows) == ("a", "b")


def test_a_pooling_beside_the_way_is_not_the_last():
    """As in squeeze and excitation."""
    rows = [
        conv("a", "image"),
        row("GlobalAveragePooling2D", "squeeze", ["a"], keepdims=True),
        conv("excite", "squeeze", kernel_size=[1, 1], activation="sigmoid"),
        row("Multiply", "scaled", ["a", "excite"]),
        row("GlobalMaxPooling2D", "pool", ["scaled"]),
        dense("out", "pool", 2),
    ]
    assert maps(*rows) == ("scaled",)


@pytest.mark.parametrize(
    ("behind", "last"),
    [
        ([row("Flatten", "flat", ["a"]), dense("out", "flat", 2)], "a"),
        ([row("AveragePooling2D", "p", ["a"], pool_size=[6, 6]), row("Flatten", "out", ["p"])], "a"),
        ([row("AveragePooling2D", "p", ["a"], pool_size=[3, 3]), row("Flatten", "out", ["p"])], "p"),
        ([row("GlobalAveragePooling2D", "p", ["a"], keepdims=True), conv("out", "p", kernel_size=[1, 1])], "a"),
        ([row("MaxPooling2D", "p", ["a"], pool_size=[2, 2]), row("ReLU", "out", ["p"])], "out"),
    ],
)
def test_what_stands_before_one_vector_or_at_the_end(behind, last):
    found = maps(conv("a", "image"), *behind)
    assert found[-1] == last


@pytest.mark.parametrize(
    "rows",
    [
        [conv("out", "image", activation="softmax")],
        [
            *(conv("a", "image"), row("GlobalMaxPooling2D", "p", ["a"])),
            *(conv("b", "image"), row("GlobalMaxPooling2D", "q", ["b"]), row("Add", "out", ["p", "q"])),
        ],
    ],
)
def test_what_is_not_clear_is_said(rows):
    with pytest.raises(ArchitectureError, match=r"^small: no global pooling or Flatten stands between the image and"):
        maps(*rows)


def test_vectors_beside_the_image_are_passed_over():
    numbers = row("InputLayer", "numbers", [], batch_input_shape=[None, 4])
    rows = [numbers, conv("a", "image"), row("GlobalAveragePooling2D", "pool", ["a"]), dense("more", "numbers", 3)]
    rows += [row("Concatenate", "both", ["pool", "more"]), dense("out", "both", 2)]
    graph = network(*rows, outputs=[["out", 0, 0]], inputs=[["image", 0, 0], ["numbers", 0, 0]])
    assert feature_maps(graph) == ("a",)
