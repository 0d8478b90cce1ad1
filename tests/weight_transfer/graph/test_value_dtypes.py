"""A graph that rounds on its way, or computes with whole numbers, is refused by the layer that does it."""

from __future__ import annotations

import pytest

from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import read_graph
from weight_transfer.graph.value_dtypes import whole_inputs


def chain(input_dtype: str, *layers: tuple[str, dict, dict]):
    """The graph of layers behind each other: class, config, and the constants of the call."""
    rows = [{"class_name": "InputLayer", "name": "x", "config": {"batch_input_shape": [None, 4], "dtype": input_dtype}}]
    for number, (class_name, config, arguments) in enumerate(layers):
        before = rows[-1]["name"]
        inbound = [[[before, 0, 0, arguments]]]
        rows.append({"class_name": class_name, "name": f"l{number}", "config": config, "inbound_nodes": inbound})
    config = {"name": "m", "layers": rows, "input_layers": [["x", 0, 0]], "output_layers": [[rows[-1]["name"], 0, 0]]}
    return read_graph({"class_name": "Functional", "config": config})


def cast(dtype: str) -> tuple[str, dict, dict]:
    return "TFOpLambda", {"function": "cast", "dtype": "float32"}, {"dtype": dtype}


DENSE = ("Dense", {"units": 2, "dtype": "float32"}, {})
HALF = ("Dense", {"units": 2, "dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}}, {})
MEAN = ("TFOpLambda", {"function": "math.add", "dtype": "float32"}, {"y": 1})


@pytest.mark.parametrize(
    ("input_dtype", "layers"),
    [
        ("float32", [cast("float32"), DENSE]),
        ("float32", [cast("float64"), DENSE]),
        ("float32", [HALF, cast("float16")]),
        ("float32", [HALF, cast("float32")]),
        ("uint8", [cast("float32"), MEAN, DENSE]),
        ("int32", [DENSE, MEAN]),
    ],
)
def test_what_rounds_nothing_is_read(input_dtype, layers):
    assert len(chain(input_dtype, *layers).checked().layers) == len(layers)


@pytest.mark.parametrize(
    ("input_dtype", "layers", "message"),
    [
        ("float32", [cast("float16"), DENSE], r"layer 'l0' \(TFOpLambda\): casts float32 to float16, which rounds"),
        ("float32", [DENSE, cast("bfloat16"), DENSE], r"layer 'l1' \(TFOpLambda\): casts float32 to bfloat16"),
        ("float32", [HALF, cast("bfloat16")], r"layer 'l1' \(TFOpLambda\): casts float16 to bfloat16"),
        ("float64", [cast("float32")], r"layer 'l0' \(TFOpLambda\): casts float64 to float32"),
        ("uint8", [MEAN, DENSE], r"layer 'l0' \(TFOpLambda\): reads whole numbers \(uint8\)"),
        ("int32", [("Activation", {"activation": "tanh"}, {})], r"layer 'l0' \(Activation\): reads whole numbers"),
    ],
)
def test_what_rounds_or_wraps_is_refused_by_name(input_dtype, layers, message):
    with pytest.raises(ArchitectureError, match=message):
        chain(input_dtype, *layers).checked()


def test_inputs_of_whole_numbers_are_known():
    assert whole_inputs(chain("uint8", DENSE)) == {"x": "uint8"}
    assert whole_inputs(chain("float16", DENSE)) == {}
