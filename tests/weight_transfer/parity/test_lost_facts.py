"""Ports that have lost a fact of their file: each is called different, where and why."""

from __future__ import annotations

import keras_lost_facts
import pytest

from weight_transfer import Hints, convert, verify

pytestmark = pytest.mark.keras

FIELDS = {"constraint": ("conv", "kernel_constraint"), "training=False": ("norm", "training in its call")}


@pytest.mark.parametrize("what", keras_lost_facts.LOST)
def test_a_lost_fact_is_a_difference(what, tmp_path, keras_side, runner):
    source, careless = keras_side(keras_lost_facts.written, tmp_path, what)
    right = verify(source, devices=("cpu",), runner=runner)
    assert right.verdict == "SAME FUNCTION", [row for row in right.rows if not row.passed] or right.unproven
    port = convert(careless, tmp_path / "port.safetensors").output
    assert verify(careless, port, devices=("cpu",), runner=runner).passed
    found = verify(source, port, devices=("cpu",), runner=runner)
    assert found.verdict == "DIFFERS"
    if what == "theano":
        assert found.weights_differing == ("conv2d_1/kernel", "conv2d_2/kernel")
        assert found.explanation is not None
        assert found.explanation.found is not None
        assert (found.explanation.layer, found.explanation.found.cause) == ("conv2d_1", "kernel flipped")
    else:
        assert found.weights_differing == ()
        fields = {(one.layer, one.field) for one in found.fields_differing}
        assert fields == {FIELDS[what]}


def test_a_swapped_pair_of_automatic_names_is_a_difference(tmp_path, keras_side, runner):
    """Keras pairs by the order of layers; by their names the two convolutions are swapped, and every shape fits."""
    weights, config = keras_side(keras_lost_facts.auto_named, tmp_path)
    by_order, by_name = (Hints(config=config, pair_by=how) for how in ("order", "name"))
    right, swapped = (
        convert(weights, tmp_path / f"{number}.safetensors", hints).output
        for number, hints in enumerate((by_order, by_name))
    )
    assert verify(weights, right, by_order, devices=("cpu",), runner=runner).verdict == "SAME FUNCTION"
    found = verify(weights, swapped, by_order, devices=("cpu",), runner=runner)
    assert found.verdict == "DIFFERS"
    assert len(found.weights_differing) == 4
    assert found.explanation is not None
    assert found.explanation.found is not None
    assert found.explanation.found.cause == "partner"
