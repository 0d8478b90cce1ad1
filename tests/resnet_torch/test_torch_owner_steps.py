"""Three steps of training against the owner's own: whatever acts in training alone is in the port."""

from __future__ import annotations

import functools
import itertools

import keras_owner_steps
import pytest
from keras_owner_steps import FAMILIES
from owner_steps import BOUNDS, FORMATS, errors
from sweeps import each_once, slow_but

EVERYWHERE = list(keras_owner_steps.NETWORKS)


@pytest.fixture(scope="module")
def owners(keras_side, tmp_path_factory):
    """``owners(family, dtype, name)``: a network's owner, made once."""
    folder = tmp_path_factory.mktemp("owners")
    return functools.cache(lambda family, dtype, name: keras_side(keras_owner_steps.owner, folder, family, name, dtype))


CASES = [*itertools.product(FAMILIES, BOUNDS, EVERYWHERE)]
# Each network once, in each dtype of either Keras by turns.
USUAL = [(*of, name) for of, name in each_once([*itertools.product(FAMILIES, BOUNDS)], EVERYWHERE)]


@pytest.mark.parametrize(("family", "dtype", "name"), slow_but(USUAL, CASES))
def test_three_steps_are_the_owner_s(family, dtype, name, owners, tmp_path):
    owner = owners(family, dtype, name)
    formats = FORMATS if dtype == "float32" else reversed(FORMATS)  # each container in each of them
    for ending, memory in zip(("keras", "h5"), formats, strict=True):
        through = tmp_path / f"{ending}.safetensors" if ending == "h5" else None
        found = errors(owner.files[ending], owner, memory=memory, through=through, family=family)
        assert max(found.values()) <= BOUNDS[dtype], (ending, memory, found)
