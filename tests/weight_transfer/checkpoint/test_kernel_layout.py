"""Kernels of Theano are turned and those of Keras 1 transposed, and what has none of them stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
from handmade_h5 import some, write_legacy

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.checkpoint.kernel_layout import said_of_kernels


def keras_1(class_name: str, **arguments: object) -> dict[str, object]:
    """The config of a model of one layer."""
    layer = {"class_name": class_name, "name": "conv", "config": {"name": "conv", **arguments}}
    return {"class_name": "Model", "config": {"layers": [layer]}}


def read(path, kernel, config=None, role="conv_W", backend=None, beside=None):
    """What `read_checkpoint` gives for a file of one kernel, and what is said of it."""
    import h5py

    write_legacy(path, {"conv": {role: kernel}}, config=config)
    if backend is not None:
        with h5py.File(path, "r+") as file:
            file.attrs["backend"] = backend
    with read_checkpoint(path) as checkpoint:
        checkpoint = checkpoint if beside is None else checkpoint.laid_out_by(beside)
        (array,) = checkpoint.arrays.values()
        values = array.read()
        assert values.shape == array.shape
        assert values.flags.c_contiguous
        return values, " ".join(said_of_kernels(checkpoint.kernel_layouts))


@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 2, 2, 4), (3, 2, 2, 2, 4)], ids=len)
@pytest.mark.parametrize("role", ["conv/kernel:0", "conv/depthwise_kernel:0"])
def test_theano_turned_every_axis_but_the_channels(tmp_path, shape, role):
    kernel = some(*shape)
    values, said = read(tmp_path / "a.h5", kernel, role=role, backend="theano")
    place = (0,) * (len(shape) - 2)
    np.testing.assert_array_equal(values[place], kernel[tuple(-1 for _ in place)])
    np.testing.assert_array_equal(np.flip(values, tuple(range(len(place)))), kernel)
    assert "1 kernels (conv/" in said
    assert "turned by 180 degrees: the file was trained on Theano" in said


@pytest.mark.parametrize("backend", ["tensorflow", "cntk", None])
def test_other_backends_kernels_stay(tmp_path, backend):
    values, said = read(tmp_path / "a.h5", some(3, 3, 2, 4), role="conv/kernel:0", backend=backend)
    np.testing.assert_array_equal(values, some(3, 3, 2, 4))
    assert said == ""


def test_theanos_matrices_and_biases_stay(tmp_path):
    for role, array in (("conv/kernel:0", some(3, 4)), ("conv/alpha:0", some(3, 2, 4))):
        values, said = read(tmp_path / "a.h5", array, role=role, backend="theano")
        np.testing.assert_array_equal(values, array)
        assert said == ""


TH = {"dim_ordering": "th", "nb_filter": 3}
# Keras 1's shape, its layer, and where out, in and the spatial axes lie in the file.
LAID_OUT = {
    "2-D": ((4, 2, 3, 5), keras_1("Convolution2D", **TH), (2, 3, 1, 0)),
    "a cube": ((3, 3, 3, 3), keras_1("Convolution2D", **TH), (2, 3, 1, 0)),
    "3-D": ((4, 2, 3, 5, 6), keras_1("Convolution3D", **TH), (2, 3, 4, 1, 0)),
    "TensorFlow's order": ((3, 3, 3, 3), keras_1("Convolution2D", dim_ordering="tf"), (0, 1, 2, 3)),
}


@pytest.mark.parametrize(("shape", "config", "axes"), LAID_OUT.values(), ids=LAID_OUT)
def test_keras_1s_order_is_its_layers(tmp_path, shape, config, axes):
    """As preprocess_weights_for_loading of tf_keras 2.21 transposes the weights of Keras 1."""
    kernel = some(*shape)
    for beside in (None, config):  # the model's description in the file, or in a file of its own
        values, said = read(tmp_path / "a.h5", kernel, None if beside else config, beside=beside)
        np.testing.assert_array_equal(values, kernel.transpose(axes))
        assert ("transposed from Keras 1's order" in said) == (axes[0] != 0)


def test_keras_1s_kernels_over_one_axis(tmp_path):
    """Keras 1.1 and 1.2 kept an axis of size one, Keras 1.0 had Theano's order as well."""
    kernel = some(3, 1, 2, 4)
    config = keras_1("Convolution1D", filter_length=3, nb_filter=4)
    values, said = read(tmp_path / "a.h5", kernel, config)
    np.testing.assert_array_equal(values, kernel[:, 0])
    assert said == ""
    values, said = read(tmp_path / "a.h5", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), config)
    np.testing.assert_array_equal(values, kernel[:, 0])
    assert "transposed" in said
