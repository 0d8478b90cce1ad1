"""Imported networks from configs written by hand, which need no Keras."""

from __future__ import annotations

from weight_transfer.graph import Graph, read_graph


def row(class_name: str, name: str, inputs: list[str], **config) -> dict:
    inbound = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    return {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": inbound}


def network(*rows: dict, outputs: object, shape=(6, 6, 3), inputs=(("image", 0, 0),)) -> Graph:
    image = row("InputLayer", "image", [], batch_input_shape=[None, *shape])
    ends = {"input_layers": [list(one) for one in inputs], "output_layers": outputs}
    config = {"name": "small", "layers": [image, *rows], **ends}
    return read_graph({"class_name": "Functional", "config": config}).checked()


def conv(name: str, source: str, **config) -> dict:
    return row("Conv2D", name, [source], **{"filters": 3, "kernel_size": [3, 3], "padding": "same", **config})


def dense(name: str, source: str, units: int, **config) -> dict:
    return row("Dense", name, [source], units=units, **config)
