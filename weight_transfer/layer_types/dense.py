"""Dense: a matrix along the last Keras axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weight_transfer.layer_types.activations import activation_of
from weight_transfer.layer_types.axes import fixed, known_size
from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape, Weight


def _settings(options: Options) -> Settings:
    units = options.take("units", None, "output_dim")
    if not isinstance(units, int) or units < 1:
        raise options.refusal(f"units={units!r} is not a number of 1 or more")
    known_size(options, -1)
    return {
        "units": units,
        "axis": options.axis(-1),
        "use_bias": bool(options.take("use_bias", True, "bias")),
        "activation": activation_of(options),
    }


def _out_shape(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    return (*in_shapes[0][:-1], settings["units"])


def _weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    kernel = Weight((fixed(in_shapes[0][-1]), settings["units"]), "weight", axes=(1, 0))
    return {"kernel": kernel} | ({"bias": Weight((settings["units"],), "bias")} if settings["use_bias"] else {})


DENSE_TYPES: Mapping[str, LayerType] = {"Dense": LayerType("Dense", _settings, _out_shape, _weights)}
