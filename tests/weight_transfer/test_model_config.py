"""A model as a ResNet's is: what it must not have."""

from __future__ import annotations

import pytest
from handmade_configs import DENSE, TWICE, nested, reads

from weight_transfer import ArchitectureError
from weight_transfer.keras_graph import keras_graph
from weight_transfer.model_config import model_graph


def test_a_resnets_view_refuses_layers_called_twice_and_names_used_twice():
    with pytest.raises(ArchitectureError, match=r"layer 'd' is called 2 times; a ResNet calls each layer once"):
        model_graph(keras_graph(TWICE))
    config = nested(DENSE)
    config["config"]["layers"].append(
        {"class_name": "Dense", "name": "d", "config": {}, "inbound_nodes": reads("n", 1)}
    )
    config["config"]["output_layers"] = [["d", 0, 0]]  # a layer that no output needs is none of the network's
    with pytest.raises(ArchitectureError, match="two layers of the file's model are both named 'd'"):
        model_graph(keras_graph(config))
