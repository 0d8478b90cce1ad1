"""Real models, each built once in Keras, and the graphs of their configs."""

from __future__ import annotations

import json

import keras_graphs
import pytest

from weight_transfer.graph import Graph, read_graph


@pytest.fixture(scope="session")
def real(keras_side, tmp_path_factory):
    """``real(family, model_name)``, each built once."""
    folder, made = tmp_path_factory.mktemp("graphs"), {}

    def get(*key) -> keras_graphs.Described:
        if key not in made:
            made[key] = keras_side(keras_graphs.described, folder, *key)
        return made[key]

    return get


@pytest.fixture
def graph_of(real):
    """``graph_of(family, model_name)``, read from what Keras wrote."""

    def read(family: str, model_name: str, written: str = "json") -> Graph:
        return read_graph(json.loads(real(family, model_name).configs[written]))

    return read
