"""Whether a port says of its network what the Keras file says: every field that acts in inference or in training.

What acts in training alone, a dropout's rate or a regularizer, changes no output of an inference, and a comparison of
tensors in which chance is held still does not see it either. Here it is compared as it is described.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from weight_transfer.description import Description
from weight_transfer.parity.report import FieldDifference
from weight_transfer.resnet.layout import network_to_dict

NETWORK = "network"  # beside the layers: what is of no one of them
ABSENT = "nothing"

Fields = Mapping[tuple[str, str], Any]  # by layer and field


def differing_fields(file: Description, port: Description) -> tuple[int, list[FieldDifference]]:
    """Compares two descriptions.

    Args:
        file: Of the file.
        port: What the port says of itself.

    Returns:
        How many fields were compared, and those that differ.
    """
    expected, actual = (dict(_fields(one)) for one in (file, port))
    if file.keras_config is None:  # a file of weights alone shows no size, and the port may have been given one
        expected, actual = ({key: one for key, one in of.items() if key[1] != "inputs"} for of in (expected, actual))
    names = {**expected, **actual}
    differing = [
        FieldDifference(*name, _text(expected.get(name, ABSENT)), _text(actual.get(name, ABSENT)))
        for name in names
        if _plain(expected.get(name, ABSENT)) != _plain(actual.get(name, ABSENT))
    ]
    return len(names), differing


def _fields(description: Description) -> Iterator[tuple[tuple[str, str], Any]]:
    network = description.network
    for path, layer in network.layers.items():
        yield (path, "class"), layer.class_name
        for name, value in layer.settings.items():
            yield (path, name), value
        if layer.weights:
            yield (path, "trainable"), path not in description.frozen
    for call in network.calls:
        yield (call.value, "reads"), call.inputs
        if call.training is not None:
            yield (call.value, "training in its call"), call.training
    for of_layers in (description.regularizers, description.constraints):
        for path, held in of_layers.items():
            for argument, config in held.items():
                yield (path, argument), config
    for path, policy in description.precision.policies.items():
        yield (path, "dtype policy"), policy
    yield (NETWORK, "inputs"), network.inputs
    yield (NETWORK, "outputs"), network.outputs
    yield (NETWORK, "names of the outputs"), network.output_names
    yield (NETWORK, "data_format"), network.data_format
    yield (NETWORK, "dtype"), description.precision.dtype
    yield (NETWORK, "rule of the moving variances"), description.moving_variance
    (kind,) = network_to_dict(network)
    yield (NETWORK, "form"), kind


def _plain(value: Any) -> Any:
    """A value as it comes out of JSON."""
    return json.loads(json.dumps(value))


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
