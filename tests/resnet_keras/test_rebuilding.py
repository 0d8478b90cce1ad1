"""A loaded model once more in float64: the same layers, functions and constants give what the loaded model gives."""

from __future__ import annotations

import keras_functions
import keras_references
import numpy as np
import pytest
from keras_references import assert_close


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, models in keras_functions.ALL.items() for name in models]
)
def test_function_gives_what_the_loaded_model_gives(keras_side, tmp_path, family, name):
    saved = keras_side(keras_functions.written, tmp_path, family, name)
    (file,) = saved.files.values()
    rebuilt = keras_side(keras_references.rebuilt, file, saved.inputs)
    assert rebuilt.outputs["tap"].dtype == np.float64
    assert_close(rebuilt.outputs["tap"], rebuilt.loaded)
    assert_close(rebuilt.loaded, saved.outputs)


# In float64 to the last digit, against NumPy: nothing in between may have been computed in float32.
EXACT = {
    "minus a number": lambda x, image: x - 1.1,
    "sum": lambda x, image: x + image,
    "product": lambda x, image: x * image,
    "quotient": lambda x, image: x / (image * image + 1.5),
    "minus a tensor": lambda x, image: x - keras_functions.MEAN.astype("float64"),
    "minus an array": lambda x, image: x - keras_functions.MEAN.astype("float64"),
    "mirrored channels": lambda x, image: x[..., ::-1],
    "every other row": lambda x, image: x[:, 1::2],
    "Cast": lambda x, image: x * 1.1 / 3.3,
    "cast": lambda x, image: x * 1.1 / 3.3,
    "Transpose": lambda x, image: x.transpose(0, 3, 1, 2),
    "compat.v1.transpose": lambda x, image: x.transpose(0, 3, 1, 2),
    "Pad": lambda x, image: np.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0)), constant_values=1.5),
    "compat.v1.pad": lambda x, image: np.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0))),
    "Stack": lambda x, image: np.stack([x, image], axis=-2),
    "stack": lambda x, image: np.stack([x, image], axis=-2),
    "Concatenate": lambda x, image: np.concatenate([x, image], axis=-1),
    "concat": lambda x, image: np.concatenate([x, image], axis=-1),
}


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family, models in keras_functions.ALL.items() for name in models if name in EXACT],
)
def test_function_is_computed_in_float64_throughout(keras_side, tmp_path, family, name):
    saved = keras_side(keras_functions.written, tmp_path, family, name)
    (file,) = saved.files.values()
    actual = keras_side(keras_references.rebuilt, file, saved.inputs).outputs["tap"]
    images = saved.inputs.astype("float64")
    kernel, bias = keras_side(keras_functions.convolution, file)
    expected = EXACT[name](images @ kernel[0, 0] + bias, images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_an_activation_that_is_a_layer_computes_in_float64_too(keras_side, tmp_path):
    for family in keras_functions.ALL:
        saved = keras_side(keras_functions.written, tmp_path, family, "a layer as activation")
        (file,) = saved.files.values()
        actual = keras_side(keras_references.rebuilt, file, saved.inputs).outputs["tap"]
        assert np.count_nonzero(actual != actual.astype("float32")) > actual.size * 0.9


def test_constants_of_a_call_come_back_as_keras_3_was_given_them(keras_side):
    values = [
        ...,
        slice(None, None, -1),
        slice(1, 5, 2),
        (..., slice(None, None, -1)),
        (slice(None), 2, None),
        1.5,
        7,
        True,
        None,
        "float32",
    ]
    found = keras_side(keras_references.constants, values, [])
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_arrays_and_tensors_keep_values_and_dtype(keras_side, dtype):
    array = np.array([[1.25, 2.5], [3.75, -4.0]]).astype(dtype)
    for found in keras_side(keras_references.constants, [array], [array]):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("model_name", ["flat", "nested", "nested_twice", "sequential", "partial", "chain"])
@pytest.mark.parametrize("family", keras_references.BOTH)
def test_model_gives_what_the_loaded_model_gives(keras_side, written, family, model_name):
    saved = written(family, model_name)
    for dtype in ("float32", "float64"):
        rebuilt = keras_side(keras_references.rebuilt, saved.files["legacy-h5"], saved.inputs, dtype)
        assert rebuilt.outputs["tap"].dtype == dtype
        assert_close(rebuilt.outputs["tap"], saved.outputs)


@pytest.mark.parametrize("family", keras_references.BOTH)
def test_classifier_gives_logits_and_the_output_stays(keras_side, written, family):
    saved = written(family, "flat")
    rebuilt = keras_side(keras_references.rebuilt, saved.files["legacy-h5"], saved.inputs, last_activation="softmax")
    logits = rebuilt.outputs["tap"]
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    assert_close(rebuilt.outputs["output"], saved.outputs)
    assert_close(raised / raised.sum(axis=-1, keepdims=True), saved.outputs)
    assert np.abs(logits - saved.outputs).max() > 0.1


@pytest.mark.parametrize("family", keras_references.BOTH)
def test_height_and_width_may_be_left_free(keras_side, written, family):
    saved = written(family, "flat")
    rebuilt = keras_side(keras_references.rebuilt, saved.files["legacy-h5"], saved.inputs, free_size=True)
    assert_close(rebuilt.outputs["tap"], saved.outputs)
    wider = np.pad(saved.inputs, ((0, 0), (2, 3), (0, 5), (0, 0)))
    other = keras_side(keras_references.rebuilt, saved.files["legacy-h5"], wider, free_size=True)
    assert other.outputs["tap"].shape == saved.outputs.shape
    assert other.loaded is None
