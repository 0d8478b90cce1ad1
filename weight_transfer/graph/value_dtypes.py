"""The dtype of every value of a Keras graph, and what of it a network of floats cannot do.

Keras casts floats to a layer's dtype and leaves whole numbers, such as pixels of uint8, as they are. Sums and products
of uint8 then wrap around at 256, means are cut off, and nothing of that happens in a network of floats. A cast to a
narrower float rounds, which a network of one precision does not.

Measured: each class on pixels of uint8 and on the same in float32, in Keras 3.15 and tf_keras 2.21;
tests/resnet_torch/test_torch_owners.py does it again for the classes that stand here.
"""

from __future__ import annotations

from collections.abc import Mapping

from weight_transfer.errors import ArchitectureError
from weight_transfer.graph.graph import Graph, Layer
from weight_transfer.graph.precision import MIXED, policy_name
from weight_transfer.layer_types import Settings

# Classes that move, repeat or compare whole numbers, and give whole numbers.
KEEPING = frozenset(
    {
        *(f"{name}{rank}D" for rank in (1, 2, 3) for name in ("MaxPooling", "GlobalMaxPooling", "UpSampling")),
        *(f"{name}{rank}D" for rank in (1, 2, 3) for name in ("ZeroPadding", "Cropping", "SpatialDropout")),
        "Flatten", "Reshape", "Permute", "RepeatVector", "Concatenate", "Maximum", "Minimum", "Dropout",
        "GaussianNoise", "ReLU", "GetItem", "SlicingOpLambda", "Stack",
    }
)  # fmt: skip
# Classes that cast whole numbers to floats before they compute.
CASTING = frozenset(
    {
        "Rescaling", "Resizing", "Normalization", "Dense", "BatchNormalization", "LeakyReLU", "RandomFlip",
        "RandomRotation", "RandomZoom", "RandomContrast", "RandomCrop", "Divide", "TrueDivide",
    }
)  # fmt: skip
# Classes without a dtype of their own: they compute in that of what they read.
OPERATIONS = frozenset({"TFOpLambda", "SlicingOpLambda", "GetItem", "Stack"})
CAST, MOVING = "identity", ("get_item", "stack", "concatenate")
SIGNIFICANT_BITS: Mapping[str, int] = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}


def check_dtypes(graph: Graph) -> list[str]:
    """Returns a line for each layer that computes with whole numbers, or rounds to a narrower float on its way."""
    dtypes = {value: _input_dtype(graph.listed[value]) for value in graph.inputs}
    refused: list[str] = []
    for call in graph.calls:
        try:
            given = [dtypes[value] for value in call.inputs]
            dtypes[call.value] = _dtype_of(graph.layers[call.layer], given)
        except ArchitectureError as error:
            refused.append(str(error))
            dtypes[call.value] = "float32"
    return refused


def whole_inputs(graph: Graph) -> dict[str, str]:
    """Returns the dtype of every input that takes whole numbers, by name."""
    inputs = {value: _input_dtype(graph.listed[value]) for value in graph.inputs}
    return {value: dtype for value, dtype in inputs.items() if _is_whole(dtype)}


def _input_dtype(layer: Layer) -> str:
    dtype = layer.config.get("dtype", layer.config.get("input_dtype"))
    return dtype if isinstance(dtype, str) else "float32"


def _is_whole(dtype: str) -> bool:
    return dtype.startswith(("int", "uint", "bool"))


def _dtype_of(layer: Layer, given: list[str]) -> str:
    """The dtype of what a call gives."""
    settings = layer.settings
    operation, target = settings.get("operation"), settings.get("dtype")
    whole = sorted({dtype for dtype in given if _is_whole(dtype)})
    if operation == CAST and target is not None:
        if not whole and SIGNIFICANT_BITS[target] < SIGNIFICANT_BITS.get(given[0], 0):
            raise _refusal(layer, f"casts {given[0]} to {target}, which rounds; the port computes in one precision")
        return str(target)
    policy = policy_name(layer.path, layer.config.get("dtype"))
    own = given[0] if layer.class_name in OPERATIONS and not whole else MIXED.get(policy, policy)
    if not whole or layer.class_name in CASTING or operation == "divide":
        return own
    if len(set(given)) == 1 and _keeps(layer.class_name, settings):
        return whole[0]
    raise _refusal(
        layer,
        f"reads whole numbers ({', '.join(whole)}), with which Keras computes otherwise than with floats: they wrap "
        "around, or lose fractions. Put a Rescaling, or a cast to float32, before it",
    )


def _keeps(class_name: str, settings: Settings) -> bool:
    """Whether a layer moves whole numbers and does nothing else with them."""
    if class_name == "Activation":
        return settings["activation"] is None or settings["activation"]["name"] == "relu"
    if class_name in KEEPING:
        return settings.get("interpolation") in (None, "nearest")
    return settings.get("operation") in MOVING


def _refusal(layer: Layer, problem: str) -> ArchitectureError:
    return ArchitectureError(f"layer {layer.path!r} ({layer.class_name}): {problem}.")
