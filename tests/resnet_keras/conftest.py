"""Files that real Keras wrote, each once."""

from __future__ import annotations

from collections.abc import Callable

import keras_references
import pytest


@pytest.fixture(scope="package")
def written(keras_side, tmp_path_factory) -> Callable[[str, str], keras_references.Written]:
    """``written(family, model_name)``, each saved once."""
    made: dict[tuple[str, str], keras_references.Written] = {}

    def write(family: str, model_name: str) -> keras_references.Written:
        if (family, model_name) not in made:
            folder = tmp_path_factory.mktemp("written")
            made[family, model_name] = keras_side(keras_references.written, folder, family, model_name)
        return made[family, model_name]

    return write
