"""A user's own class that is called like one of Keras's is no class of Keras's: every schema, every kind of object."""

from __future__ import annotations

import json

import keras_users_classes
import pytest

from weight_transfer import ArchitectureError, TransferError, convert, identify, read_checkpoint
from weight_transfer.class_owners import with_owners
from weight_transfer.conversion.description import describe
from weight_transfer.conversion.identify import CLASSES_BY_NAME
from weight_transfer.conversion.regularizers import penalties

# What the message must name; None where the file's schema cannot tell the class from Keras's.
REFUSED = {
    "layer": (r"layer 'relu' \((mine>ReLU)\): this class is not Keras's own", "mine>ReLU"),
    "registered_as_kerass": (r"layer 'relu' \(.+>ReLU\): this class is not Keras's own", None),
    "unregistered_layer": (r"layer 'conv' \(.+>Conv2D\): this class is not Keras's own", None),
    "function": ("activation 'mine>relu' is not one of Keras's own", "mine>relu"),
    "unregistered_function": ("activation 'my_relu' is not one of Keras's own", "my_relu"),
    "activation_layer": ("activation 'mine>ReLU' is not one of Keras's own", "mine>ReLU"),
    "outermost": (r"is of class '.+>Functional', which may compute anything", None),
    "nested": (r"model 'functional(_1)?' is of class '.+>Functional', which may compute anything", None),
}


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_a_users_class_with_a_name_of_kerass_is_refused_by_name(keras_side, tmp_path, library):
    files = keras_side(keras_users_classes.saved_with_users_classes, tmp_path, library)
    for kind, (message, in_h5) in REFUSED.items():
        with pytest.raises(ArchitectureError, match=message):
            convert(files[kind]["keras"], tmp_path / "port.safetensors")
        if in_h5 is None:  # no schema of .h5 files names a module: taken by name, and said
            with read_checkpoint(files[kind]["h5"]) as checkpoint:
                assert CLASSES_BY_NAME in identify(checkpoint).assumed
        else:
            with pytest.raises(ArchitectureError, match=in_h5):
                convert(files[kind]["h5"], tmp_path / "port.safetensors")
    assert not (tmp_path / "port.safetensors").exists()
    for path in files["regularizer"].values():  # acts in training alone, which names it
        with read_checkpoint(path) as checkpoint:
            description = describe(checkpoint, identify(checkpoint))
        with pytest.raises(TransferError, match=r"conv, kernel_regularizer: no regularizer that is known: .*mine>L2"):
            penalties(description.network, description.regularizers)
    for path in files["optimizer"].values():
        with pytest.raises(TransferError, match="No optimizer 'mine>SGD'"):
            convert(path, tmp_path / "port.safetensors", with_optimizer=True)
    with read_checkpoint(files["optimizer"]["keras"]) as checkpoint:
        assert CLASSES_BY_NAME not in identify(checkpoint).assumed


@pytest.mark.parametrize(
    ("node", "named"),
    [
        ({"module": "keras.layers", "class_name": "ReLU", "registered_name": None}, "ReLU"),
        ({"module": "keras.src.ops.numpy", "class_name": "Add", "registered_name": "Add"}, "Add"),
        ({"module": "tf_keras.src.engine.sequential", "class_name": "Model", "registered_name": "Model"}, "Model"),
        ({"module": "tensorflow.python.keras.layers", "class_name": "ReLU"}, "ReLU"),
        ({"module": "keras.optimizers", "class_name": "Adam", "registered_name": "Custom>Adam"}, "Adam"),
        ({"class_name": "ReLU", "config": {}}, "ReLU"),
        ({"class_name": "mine>ReLU", "config": {}}, "mine>ReLU"),
        ({"module": None, "class_name": "ReLU", "registered_name": "ReLU"}, "own>ReLU"),
        ({"module": None, "class_name": "Adam", "registered_name": "Custom>Adam"}, "own>Adam"),
        ({"module": "keras_cv.layers", "class_name": "ReLU", "registered_name": None}, "keras_cv.layers>ReLU"),
        ({"module": "keras.layers", "class_name": "ReLU", "registered_name": "mine>Other"}, "mine>ReLU"),
        ({"class_name": "ReLU", "registered_name": "mine>ReLU"}, "mine>ReLU"),
        ({"module": "__main__", "class_name": "ReLU", "registered_name": "keras>ReLU"}, "__main__>ReLU"),
        ({"module": None, "class_name": "L2", "registered_name": "tf_keras>L2"}, "own>L2"),
        ({"module": None, "class_name": "Scale", "registered_name": "Scale"}, "Scale"),
        ({"module": None, "class_name": "Scale", "registered_name": "mine>Scale"}, "mine>Scale"),
    ],
)  # fmt: skip
def test_whose_a_class_is(node, named):
    config = {"config": {"layers": [node]}}
    before = json.dumps(config)
    assert with_owners(config)["config"]["layers"][0]["class_name"] == named
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    ("module", "name", "named"),
    [
        ("builtins", "relu", "relu"),
        ("builtins", "mine>relu", "mine>relu"),
        ("keras.activations", "relu", "relu"),
        ("mine", "relu", "mine>relu"),
        (None, "relu", "own>relu"),
    ],
)
def test_whose_a_function_is(module, name, named):
    node = {"module": module, "class_name": "function", "config": name, "registered_name": "function"}
    assert with_owners([node])[0]["config"] == named
