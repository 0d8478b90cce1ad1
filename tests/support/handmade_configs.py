"""Model configs written by hand: in the schemas of Kerases that are not installed, and wrong ones."""

from __future__ import annotations

import copy

from weight_transfer.graph.config_reader import MAX_NESTING


def keras_2(*rows, outputs=(), inputs=(("in", 0, 0),), class_name="Model"):
    layers = [
        {"class_name": kind, "name": name, "config": {"name": name}, "inbound_nodes": inbound}
        for name, kind, inbound in rows
    ]
    return {
        "class_name": class_name,
        "config": {
            "name": "m",
            "layers": layers,
            "input_layers": [list(row) for row in inputs],
            "output_layers": [list(row) for row in outputs],
        },
    }


def reads(name, node=0, tensor=0):
    return [[[name, node, tensor]]]


def nested(inner, inbound=None, node=1, tensor=0):
    """A model that calls another one."""
    config = keras_2(IN, ("n", "Model", inbound or reads("in")), outputs=[("n", node, tensor)])
    config["config"]["layers"][1]["config"] = inner["config"]
    return config


def without(key):
    config = copy.deepcopy(DENSE)
    del config["config"][key]
    return config


def deep():
    config = DENSE
    for _ in range(MAX_NESTING):
        config = nested(config)
    return config


def keras_3_call(*args, **kwargs):
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["in", 0, 0]}}
    nest = tensor
    for _ in range(kwargs.pop("depth", 0)):
        nest = [nest]
    return keras_2(IN, ("d", "Dense", [{"args": [nest, *args], "kwargs": kwargs}]), outputs=OUT)


def sequential(*rows):
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(rows)}}


def row(name, class_name="Dense", **config):
    return {"class_name": class_name, "config": {"name": name, **config}}


IN = ("in", "InputLayer", [])
ONE = ("d", "Dense", reads("in"))
OUT = [("d", 0, 0)]
DENSE = keras_2(IN, ("d", "Dense", reads("in")), outputs=[("d", 0, 0)])
TWICE = keras_2(IN, ("d", "Dense", [*reads("in"), *reads("d")]), outputs=[("d", 1, 0)])
TWO_INPUTS = keras_2(IN, ("b", "InputLayer", []), ONE, inputs=[("in", 0, 0), ("b", 0, 0)], outputs=OUT)
