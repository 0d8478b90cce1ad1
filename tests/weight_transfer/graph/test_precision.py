"""Dtype policies in the schemas of every Keras, and what a network of them computes in."""

from __future__ import annotations

import pytest

from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Graph, Layer
from weight_transfer.graph.precision import Precision, policy_name, precision_of


def model(*dtypes: object, input_dtype: str = "float32") -> Graph:
    """A model whose layers l0, l1 and so on have these dtypes."""
    layers = {f"l{n}": Layer(f"l{n}", "Dense", {"dtype": dtype}) for n, dtype in enumerate(dtypes)}
    inputs = {"x": Layer("x", "InputLayer", {"dtype": input_dtype})}
    return Graph("m", {}, (), {"x": ()}, (), listed={**inputs, **layers})


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "float32"),
        ("float16", "float16"),
        ("mixed_bfloat16", "mixed_bfloat16"),
        ({"class_name": "Policy", "config": {"name": "mixed_float16"}}, "mixed_float16"),
        ({"class_name": "PolicyV1", "config": {"name": "float64", "loss_scale": None}}, "float64"),
        ({"module": "keras", "class_name": "DTypePolicy", "config": {"name": "bfloat16"}}, "bfloat16"),
        ({"class_name": "Policy", "config": {"name": "infer"}}, "float32"),
    ],
)
def test_a_policy_in_any_schema(value, name):
    assert policy_name("a_layer", value) == name


@pytest.mark.parametrize("value", ["int8_from_float32", {"config": {"name": "float8_from_mixed_bfloat16"}}, 7, [1]])
def test_a_policy_of_no_floats_is_refused(value):
    with pytest.raises(ArchitectureError, match=r"layer 'a_layer': its dtype policy .* is not supported"):
        policy_name("a_layer", value)


def test_layers_with_weights_decide():
    assert precision_of(model("float16", "float16", "float32"), {"l0", "l1"}).dtype == "float16"
    assert precision_of(model("float16", "float64"), {"l0", "l1"}).dtype == "float32"
    assert precision_of(model("mixed_float16"), {"l0"}).dtype == "float32"
    assert precision_of(model("float32"), {"l0"}) == Precision()


def test_what_is_computed_otherwise_is_said():
    said = precision_of(model("mixed_float16", "float32", input_dtype="bfloat16"), {"l0"}).remarks
    assert said[0].startswith("1 layers (x) had the dtype policy bfloat16 and computed in bfloat16; the port")
    assert "the owner's own outputs are up to about 5e-3 of their peak from these" in said[1]
    (wider,) = precision_of(model("float32", "float64"), {"l0", "l1"}).remarks
    assert wider.endswith("had the dtype policy float64 and computed in float64; the port computes them in float32")


def test_a_file_with_another_precision_is_damaged():
    with pytest.raises(ValueError, match="precision 'int8'"):
        Precision("int8")  # type: ignore[arg-type]
