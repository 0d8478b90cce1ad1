"""Three steps of training against the owner's own: whatever acts in training alone is in the port."""

from __future__ import annotations

import keras_owner_steps
import pytest
from keras_owner_steps import FAMILIES
from owner_steps import BOUNDS, FORMATS, errors

EVERYWHERE = list(keras_owner_steps.NETWORKS)


@pytest.fixture(scope="module")
def owners(keras_side, tmp_path_factory):
    """``owners(family, dtype)``: every network's owner, by name; made once."""
    made = {}

    def get(family, dtype):
        if (family, dtype) not in made:
            folder = tmp_path_factory.mktemp("owners")
            made[family, dtype] = keras_side(keras_owner_steps.owners, folder, family, EVERYWHERE, dtype)
        return made[family, dtype]

    return get


@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_three_steps_are_the_owner_s(family, dtype, name, owners, tmp_path):
    owner = owners(family, dtype)[name]
    formats = FORMATS if dtype == "float32" else reversed(FORMATS)  # each container in each of them
    for ending, memory in zip(("keras", "h5"), formats, strict=True):
        through = tmp_path / f"{ending}.safetensors" if ending == "h5" else None
        found = errors(owner.files[ending], owner, memory=memory, through=through, family=family)
        assert max(found.values()) <= BOUNDS[dtype], (ending, memory, found)
