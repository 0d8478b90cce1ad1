"""Numbers that no layer can have are refused in one sentence that names the layer and the argument."""

from __future__ import annotations

import handmade_graphs
import pytest

from weight_transfer.errors import ArchitectureError

IMAGE, VECTOR = (6, 6, 3), (5,)
NONSENSE = [
    ("BatchNormalization", IMAGE, {"epsilon": -1}, "epsilon=-1 is not a number above 0 and below 1"),
    ("BatchNormalization", IMAGE, {"epsilon": 1e9}, "epsilon=1000000000.0 is not a number above 0"),
    ("BatchNormalization", IMAGE, {"epsilon": 0}, "epsilon=0 is not a number above 0"),
    ("BatchNormalization", IMAGE, {"momentum": -3}, "momentum=-3 is not a number from 0 to 1"),
    ("LayerNormalization", IMAGE, {"epsilon": -1e-3}, "epsilon=-0.001 is not"),
    ("Conv2D", IMAGE, {"filters": 2, "kernel_size": 3, "strides": [10**30, 1]}, "strides=.* is not a number from"),
    ("Conv2D", IMAGE, {"filters": 2, "kernel_size": 10**7, "padding": "same"}, "kernel_size=10000000 is not a number"),
    ("Conv2D", IMAGE, {"filters": 10**9, "kernel_size": 1}, "filters=1000000000 is not a number from 1 to 1048576"),
    ("MaxPooling2D", IMAGE, {"strides": 1e30, "padding": "same"}, "strides=1e.30 is not a number from 1"),
    ("MaxPooling2D", IMAGE, {"strides": [1e30, 1e30], "padding": "same"}, "strides=.* is not a number from 1"),
    ("MaxPooling2D", IMAGE, {"pool_size": [0, 0]}, "pool_size=.* is not a number from 1"),
    ("ZeroPadding2D", IMAGE, {"padding": [[-1, 0], [0, 0]]}, "padding=.* is not a number from 0"),
    ("Cropping2D", IMAGE, {"cropping": -1}, "cropping=-1 is not a number from 0"),
    ("UpSampling2D", IMAGE, {"size": [10**8, 1]}, "size=.* is not a number from 1"),
    ("Resizing", IMAGE, {"height": -2, "width": 2}, "height=-2 is not a number from 1"),
    ("Dense", VECTOR, {"units": 10**9}, "units=1000000000 is not a number from 1 to 1048576"),
    ("RepeatVector", VECTOR, {"n": 10**9}, "n=1000000000 is not"),
    ("Dropout", VECTOR, {"rate": 1.5}, "rate=1.5 is not a number from 0 to 1"),
    ("Dropout", VECTOR, {"p": -0.1}, "p=-0.1 is not a number from 0 to 1"),
    ("GaussianNoise", VECTOR, {"stddev": -1}, "stddev=-1 is not a number of 0 or more"),
    ("ReLU", VECTOR, {"max_value": -1}, "max_value=-1 is not a number of 0 or more"),
    ("LeakyReLU", VECTOR, {"alpha": 1e300}, "negative_slope=.* holds a number that is not finite in its dtype"),
    ("ELU", VECTOR, {"alpha": float("nan")}, "alpha=nan holds a number that is not finite"),
    ("ELU", VECTOR, {"alpha": 10**400}, "its arguments are malformed"),
    ("Rescaling", IMAGE, {"scale": 1e300}, r"scale=1e.300 holds a number that is not finite in its dtype"),
    ("Rescaling", IMAGE, {"offset": [1.0, -1e300, 0.0]}, "offset=.* holds a number that is not finite"),
    ("Normalization", IMAGE, {"mean": 1e300, "variance": 1.0}, r"mean=1e.300 holds a number that is not finite"),
    ("Dense", VECTOR, {"units": 2, "kernel_regularizer": {"config": {"l2": float("inf")}}}, "kernel_regul"),
    ("Softmax", VECTOR, {"axis": 7}, "axis 7 is none of an input of 2 axes"),
    ("Permute", IMAGE, {"dims": [1, 1, 2]}, r"dims=\[1, 1, 2\] does not name each axis once"),
    ("PReLU", IMAGE, {"shared_axes": [9]}, r"shared_axes=\[9\] is not of 3 axes"),
]  # fmt: skip


@pytest.mark.parametrize(("class_name", "shape", "config", "message"), NONSENSE)
def test_nonsense_is_refused(class_name, shape, config, message):
    layer = handmade_graphs.row(class_name, "a_layer", ["image"], **config)
    with pytest.raises(ArchitectureError, match=rf"layer 'a_layer' \({class_name}\): .*({message})"):
        handmade_graphs.network(layer, outputs=["a_layer", 0, 0], shape=shape)


@pytest.mark.parametrize("shape", [(0, 6, 3), (6, -1, 3), (2**40, 6, 3)])
def test_an_input_of_no_possible_size_is_refused(shape):
    layer = handmade_graphs.row("Flatten", "a_layer", ["image"])
    with pytest.raises(ArchitectureError, match="input 'image' has an impossible size"):
        handmade_graphs.network(layer, outputs=["a_layer", 0, 0], shape=shape)


def test_the_ends_of_a_range_and_the_numbers_of_a_wider_dtype_are_allowed():
    for class_name, config in (
        ("Dropout", {"rate": 0.0}),
        ("Dropout", {"rate": 1}),
        ("BatchNormalization", {"momentum": 0}),
        ("ELU", {"alpha": 1e300, "dtype": "float64"}),
    ):
        layer = handmade_graphs.row(class_name, "a_layer", ["image"], **config)
        handmade_graphs.network(layer, outputs=["a_layer", 0, 0], shape=VECTOR)
