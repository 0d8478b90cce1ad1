"""What stands in for TensorFlow's missing kernels gives what its kernels give, and only where it has none."""

from __future__ import annotations

import keras_kernels
import numpy as np
import pytest
from keras_kernels import Case

FAMILIES = ("keras", "tf_keras")
IN_A_STEP = ("Conv2D", "MaxPooling2D", "MaxPooling3D")
IMAGE, VOLUME = (5, 6, 4), (5, 6, 7, 2)
RANKS, SIZES = (1, 2, 3), (8, 7, 6)
# On these a pool or a resizing rounds nothing: float32 has every bit.
EXACT = [
    *(
        Case(f"{kind}Pooling3D", VOLUME, {"pool_size": size, "strides": strides, "padding": padding})
        for padding in ("same", "valid")
        for kind, size, strides in (
            ("Max", 2, None),
            ("Max", [2, 3, 1], [1, 2, 2]),
            ("Max", 3, 1),
            ("Max", 1, 2),
            ("Average", 2, None),
        )
    ),
    # In float64 TensorFlow's own kernel gives other numbers where a kernel is shorter than its stride.
    *(
        Case(name, VOLUME, {"filters": 3, "kernel_initializer": "ones", "kernel_size": size, "strides": strides})
        for name in ("Conv3D", "Conv3DTranspose")
        for size, strides in (([3, 1, 1], [1, 3, 1]), (1, [1, 1, 2]), (1, 3))
    ),
    Case("AveragePooling3D", VOLUME, {"pool_size": [4, 1, 2], "strides": [1, 2, 3]}),
    Case("UpSampling2D", IMAGE, {"size": 2, "interpolation": "bilinear"}),
    Case("UpSampling2D", IMAGE, {"size": [4, 1], "interpolation": "bilinear"}),
    Case("Resizing", (8, 6, 3), {"height": 16, "width": 3}),
    Case("Resizing", (4, 8, 3), {"height": 1, "width": 2}),
]
ROUNDING = [
    Case("AveragePooling3D", VOLUME, {"pool_size": [2, 3, 1], "strides": 1, "padding": "same"}),
    Case("UpSampling2D", IMAGE, {"size": [3, 5], "interpolation": "bilinear"}),
    Case("Resizing", IMAGE, {"height": 7, "width": 4}),
]
# Every class with a data format that computes something.
WINDOWS = [
    *(Case(f"Conv{rank}D", (*SIZES[:rank], 4), {"filters": 3, "kernel_size": 3, "padding": "same"}) for rank in RANKS),
    *(Case(f"Conv{rank}DTranspose", (*SIZES[:rank], 4), {"filters": 3, "kernel_size": 3}) for rank in RANKS),
    *(Case(f"DepthwiseConv{rank}D", (*SIZES[:rank], 4), {"kernel_size": 3}) for rank in RANKS[:2]),
    *(Case(f"SeparableConv{rank}D", (*SIZES[:rank], 4), {"filters": 3, "kernel_size": 3}) for rank in RANKS[:2]),
    *(Case(f"MaxPooling{rank}D", (*SIZES[:rank], 4), {"pool_size": 2}) for rank in RANKS[:2]),
    *(Case(f"AveragePooling{rank}D", (*SIZES[:rank], 4), {"pool_size": 2}) for rank in RANKS[:2]),
    *(Case(f"GlobalMaxPooling{rank}D", (*SIZES[:rank], 4)) for rank in RANKS),
    *(Case(f"GlobalAveragePooling{rank}D", (*SIZES[:rank], 4)) for rank in RANKS),
    Case("UpSampling2D", IMAGE, {"size": 2}),
    Case("UpSampling3D", VOLUME, {"size": 2}),
    Case("ZeroPadding2D", IMAGE),
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_replaced_is_tensorflows_bit_for_bit_where_it_rounds_nothing(keras_side, family):
    ours = keras_side(keras_kernels.all_computed, family, EXACT, "float64")
    theirs = keras_side(keras_kernels.all_computed, family, EXACT, "float32")
    for case, actual, expected in zip(EXACT, ours, theirs, strict=True):
        assert (actual.replaced, expected.replaced) == (True, False), case
        for one, other in zip(actual.result, expected.result, strict=True):
            assert (one.dtype, other.dtype) == ("float64", "float32")
            np.testing.assert_array_equal(one, other, err_msg=str(case))


@pytest.mark.parametrize("family", FAMILIES)
def test_pools_and_resizing_are_tensorflows_to_float32s_rounding(keras_side, family):
    ours = keras_side(keras_kernels.all_computed, family, ROUNDING, "float64")
    theirs = keras_side(keras_kernels.all_computed, family, ROUNDING, "float32")
    for case, actual, expected in zip(ROUNDING, ours, theirs, strict=True):
        for one, other in zip(actual.result, expected.result, strict=True):
            assert one.dtype == "float64"
            assert np.any(one != other), case
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * np.abs(one).max(), err_msg=str(case))


@pytest.mark.parametrize("family", FAMILIES)
def test_channels_first_is_what_channels_last_is(keras_side, family):
    cases = [*WINDOWS, *(case for case in EXACT if case.class_name != "Resizing")]  # tf_keras has it channels last
    for training, some in ((False, cases), (True, [case for case in cases if case.class_name in IN_A_STEP])):
        last = keras_side(keras_kernels.all_computed, family, some, "float64")
        first = keras_side(keras_kernels.all_computed, family, some, "float64", first=True, training=training)
        for case, actual, expected in zip(some, first, last, strict=True):
            for one, other in zip(actual.result, expected.result, strict=True):
                assert one.dtype == "float64"
                np.testing.assert_array_equal(one, other, err_msg=str(case))


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_stands_in_for_a_kernel_that_serves(keras_side, family):
    first = keras_side(keras_kernels.all_computed, family, WINDOWS, "float64", first=True, own=True)
    missing = {case.class_name for case, found in zip(WINDOWS, first, strict=True) if isinstance(found.result, str)}
    assert missing >= {"Conv1D", "Conv2D", "Conv3DTranspose"}
    assert {case.class_name for case, found in zip(WINDOWS, first, strict=True) if found.replaced} == missing
    for dtype in ("float32", "float64"):
        assert not any(one.replaced for one in keras_side(keras_kernels.all_computed, family, WINDOWS, dtype))
    ours = keras_side(keras_kernels.all_computed, family, ROUNDING, "float64")
    theirs = keras_side(keras_kernels.all_computed, family, ROUNDING, "float64", own=True)
    for case, actual, expected in zip(ROUNDING, ours, theirs, strict=True):  # none, or float32's digits
        assert isinstance(expected.result, str) or np.any(actual.result[0] != expected.result[0]), case
