"""What a weights-only file lists is its network: each variant is ported as its owner has it, or refused by name."""

from __future__ import annotations

import re

import keras_listed
import numpy as np
import pytest
import torch
from sweeps import slow_but

from resnet_torch import load_model
from weight_transfer import ArchitectureError, Hints, identify, read_checkpoint

# The class that the message names.
REFUSED = {
    "leaky": "LeakyReLU: the file lists 7 ",
    "elu": "ELU: the file lists 7 ",
    "maximum": "Maximum: the file lists 2 ",
    "rescaling": "Rescaling: the file lists 1 ",
    "no_relu": "ReLU: the file lists none, the network has 7",
    "pooled_between": "AveragePooling2D: the file lists 2 ",
    "nested_max_pool": "Maximum: the file lists 1 ",
    "nested_leaky": "LeakyReLU: the file lists 7 ",
}
SAID = {
    "plain": "what 7 layers are of which the file lists no function",
    "dropouts": "dropout 0.5 before the dense layers",
    "dropout_inside": "left out, as they act in training alone: ",
}


def outputs(path, shape=keras_listed.IN_SHAPE, **hints) -> np.ndarray:
    model = load_model(path, Hints(**hints))
    found = model.predict(torch.from_numpy(np.moveaxis(keras_listed.images(shape), -1, 1).copy())).numpy()
    return np.moveaxis(found, 1, -1) if found.ndim == 4 else found


def assert_owners(actual: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("library", slow_but(["tf_keras"], ["keras", "tf_keras"]))
def test_a_weights_only_file_is_the_network_that_it_lists(keras_side, tmp_path, library):
    found = keras_side(keras_listed.saved_variants, tmp_path, library)
    plain = found["plain"].outputs
    for name, owned in found.items():
        for container, path in owned.files.items():
            dialect = {} if container == "legacy" else {"dialect": "tutorial"}
            if name == "nested_leaky" and container == "legacy":
                # Keras 2's layout lists the outermost layers alone: said, not seen
                with read_checkpoint(path) as checkpoint:
                    assert any("the layers without arrays inside" in line for line in identify(checkpoint).assumed)
                continue
            if container == "keras3" and library == "tf_keras":
                dialect = {"dialect": "keras-2.2"}
                if name == "dropouts":  # a hidden layer: the tutorial's head alone has one
                    dialect = {"dialect": "tutorial"}
            if name in REFUSED:
                assert np.abs(owned.outputs - plain).max() > 1e-3, name
                with pytest.raises(ArchitectureError, match=re.escape(REFUSED[name])):
                    load_model(path, Hints(**dialect))
                continue
            assert_owners(outputs(path, **dialect), owned.outputs)
            with read_checkpoint(path) as checkpoint:
                assumed = identify(checkpoint, Hints(**dialect)).assumed
            assert any(SAID.get(name, "last activation softmax") in line for line in assumed), (name, assumed)


def test_a_file_without_names_shows_no_dialect(keras_side, tmp_path):
    for owned in keras_side(keras_listed.saved_without_names, tmp_path).values():
        path = owned.files["keras3"]
        with read_checkpoint(path) as checkpoint:
            assert checkpoint.names_are_counters
            with pytest.raises(ArchitectureError, match="2 descriptions fit its names and shapes") as error:
                identify(checkpoint)
        assert "--dialect keras-2.2: epsilon 0.001" in str(error.value)
        assert "--dialect keras-applications: epsilon 1.001e-05" in str(error.value)
        assert_owners(outputs(path, dialect="keras-2.2"), owned.outputs)
        assert_owners(outputs(path, conventions={"epsilon": 1e-3}), owned.outputs)


ASKED = ("swapped", "swapped_later", "nested_swapped")  # names that Keras chose say otherwise than the order


@pytest.mark.parametrize("library", slow_but(["tf_keras"], ["keras", "tf_keras"]))
def test_arrays_are_paired_as_keras_loads_them(keras_side, tmp_path, library):
    found = keras_side(keras_listed.saved_by_another_run, tmp_path, library)
    shape = (8, 8, 4)
    for name, owned in found.items():
        config = owned.files["config"]
        for container, path in owned.files.items():
            if container == "config":
                continue
            assert_owners(outputs(path, shape, config=config, pair_by="order"), owned.outputs)
            with read_checkpoint(path) as checkpoint:
                nameless = checkpoint.names_are_counters
            if name in ASKED and not nameless:
                with pytest.raises(ArchitectureError, match=r"Decide with --pair-by order .* or --pair-by name"):
                    load_model(path, Hints(config=config))
                assert np.abs(outputs(path, shape, config=config, pair_by="name") - owned.outputs).max() > 1e-3
            else:
                assert_owners(outputs(path, shape, config=config), owned.outputs)
