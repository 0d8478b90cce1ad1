"""One-layer models of either Keras in float64: what they say of themselves, and what they compute."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A layer or operation to build.

    Attributes:
        name: Class under ``keras.layers``, key of `OPERATIONS`, or ``module.preprocess_input``.
        shapes: Of its inputs in Keras's layout, without the batch axis.
        arguments: Of the layer.
        data_format: Of the layer; ``channels_first`` is computed by the ``channels_last`` layer, since
            TensorFlow has no such kernels on a CPU.
        only: The one Keras that has it, ``keras`` or ``tf_keras``.
    """

    name: str
    shapes: Sequence[tuple[int, ...]]
    arguments: dict[str, Any] = field(default_factory=dict)
    data_format: str | None = None
    only: str | None = None

    @property
    def dtype(self) -> str:
        """TensorFlow pools three axes in float32 alone."""
        return "float32" if self.name in ("MaxPooling3D", "AveragePooling3D") else "float64"

    def __str__(self) -> str:
        words = [f"{key}={value}" for key, value in self.arguments.items()]
        return " ".join([self.name, *map(str, self.shapes), *words, self.data_format or ""]).replace("::", ":")


def _tf() -> Any:
    import tensorflow

    return tensorflow


# Functions of (keras, x) or (keras, x, y) on symbolic tensors.
OPERATIONS = {
    "flip": lambda keras, x: x[..., ::-1],
    "flip_in_full": lambda keras, x: x[:, :, :, ::-1],
    "first_channels": lambda keras, x: x[..., :2],
    "every_other_row": lambda keras, x: x[:, 1::2],
    "one_channel": lambda keras, x: x[..., 1],
    "last_row": lambda keras, x: x[:, -1],
    "plus": lambda keras, x: x + 1.5,
    "minus": lambda keras, x: x - 1.5,
    "from_constant": lambda keras, x: 1.5 - x,
    "times": lambda keras, x: x * 3,
    "over": lambda keras, x: x / 127.5,
    "constant_over": lambda keras, x: 2.0 / x,
    "negative": lambda keras, x: -x,
    "minus_channels": lambda keras, x: x - np.array([1.25, 2.5, 3.75]),
    "over_channels": lambda keras, x: x / np.array([[[1.25, 2.5, 3.75]]]),
    "plus_rows": lambda keras, x: x + np.arange(5.0).reshape(5, 1, 1),
    "tensors_minus": lambda keras, x, y: x - y,
    "tensors_times": lambda keras, x, y: x * y,
    "tensors_over": lambda keras, x, y: x / y,
    "tf_divide": lambda keras, x: _tf().divide(x, 255.0),
    "tf_bias_add": lambda keras, x: _tf().nn.bias_add(x, np.array([1.25, 2.5, 3.75])),
    "tf_maximum": lambda keras, x: _tf().maximum(x, 0.25),
    "tf_minimum": lambda keras, x, y: _tf().minimum(x, y),
    "tf_cast": lambda keras, x: _tf().cast(x, "float64"),
    "tf_relu": lambda keras, x: _tf().nn.relu(x),
    "tf_relu6": lambda keras, x: _tf().nn.relu6(x),
    "tf_stack": lambda keras, x, y: _tf().stack([x, y], axis=-1),
    "tf_concat": lambda keras, x, y: _tf().concat([x, y], axis=-1),
    "ops_maximum": lambda keras, x: keras.ops.maximum(x, 0.25),
    "ops_cast": lambda keras, x: keras.ops.cast(x, "float64"),
    "ops_divide": lambda keras, x: keras.ops.divide(x, 255.0),
    "ops_stack": lambda keras, x, y: keras.ops.stack([x, y], axis=-2),
    "ops_concatenate": lambda keras, x, y: keras.ops.concatenate([x, y], axis=-1),
}


def answer(package: str, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Builds and runs every case.

    Returns:
        For each the model's ``config`` as a file holds it, ``inputs`` and ``output`` in Keras's layout,
        and ``shape`` of the symbolic output without the batch axis.
    """
    import importlib

    keras = importlib.import_module(package)
    return [_named(keras, case) for case in cases]


def _named(keras: Any, case: Case) -> dict[str, Any]:
    try:
        return _answer(keras, case)
    except Exception as error:
        raise RuntimeError(f"{keras.__name__} cannot run {case}: {error}") from None


def _answer(keras: Any, case: Case) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(2, *shape)).astype(case.dtype) * 3 for shape in case.shapes]
    inputs = [keras.Input(shape, dtype=case.dtype) for shape in case.shapes]
    symbolic = _call(keras, case, inputs, case.data_format)
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], symbolic)
    if case.data_format == "channels_first":
        output = np.asarray(_call(keras, case, [np.moveaxis(x, 1, -1) for x in values], "channels_last"))
        output = np.moveaxis(output, -1, 1) if output.ndim > 2 else output
    else:
        output = np.asarray(model(values if len(values) > 1 else values[0], training=False))
    return {
        "config": json.loads(model.to_json()),
        "inputs": values,
        "output": output,
        "shape": tuple(symbolic.shape[1:]),
    }


def _call(keras: Any, case: Case, inputs: Sequence[Any], data_format: str | None) -> Any:
    inputs = [_tf().convert_to_tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]
    if case.name in OPERATIONS:
        return OPERATIONS[case.name](keras, *inputs)
    if case.name.endswith("preprocess_input"):
        module = getattr(keras.applications, case.name.partition(".")[0])
        return module.preprocess_input(inputs[0], data_format=data_format or "channels_last")
    arguments = dict(case.arguments, dtype=case.dtype)
    if data_format is not None:
        arguments["data_format"] = data_format
    if isinstance(arguments.get("activation"), dict):  # a layer as activation
        ((name, inner),) = arguments["activation"].items()
        arguments["activation"] = getattr(keras.layers, name)(**inner, dtype="float64")
    layer = getattr(keras.layers, case.name)(**arguments)
    return layer(list(inputs) if len(inputs) > 1 else inputs[0])
