"""What a config may name: Keras runs code that a config names, so every class and function is looked up here first.

The tables list what is known to be harmless; what is not in them is refused, by layer and class, before any Keras sees
the config. They are wider than what a port exists for: of what has none, the importer says so itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weight_transfer.errors import VerificationError, listing, quoted
from weight_transfer.layer_types.activations import ACTIVATIONS, ALIASES
from weight_transfer.layer_types.normalizations import SCALE, is_known_scale
from weight_transfer.layer_types.operations import TF_FUNCTIONS

TRAINING = "compile_config"  # a .keras file's key of optimizer, loss and metrics; models are never compiled

# Left out of Keras's own layers: Lambda (code), TFSMLayer, TorchModuleWrapper, JaxLayer and FlaxLayer (code of other
# frameworks), StringLookup, IntegerLookup and TextVectorization (open files), Merge (Keras 1's, its mode may be code).
_DIMENSIONS = ("1D", "2D", "3D")
_BY_DIMENSION = (
    "AdaptiveAveragePooling", "AdaptiveMaxPooling", "AveragePooling", "Conv", "Convolution", "Cropping",
    "DepthwiseConv", "GlobalAveragePooling", "GlobalMaxPooling", "MaxPooling", "SeparableConv", "SeparableConvolution",
    "SpatialDropout", "UpSampling", "ZeroPadding",
)  # fmt: skip
LAYERS = frozenset(
    {
        *(stem + dimension for stem in _BY_DIMENSION for dimension in _DIMENSIONS),
        *(f"Conv{dimension}Transpose" for dimension in _DIMENSIONS),
        "Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average", "BatchNormalization",
        "BatchNormalizationV1", "BatchNormalizationV2", "CenterCrop", "Concatenate", "Dense", "Dot", "Dropout", "ELU",
        "EinsumDense", "Flatten", "GaussianDropout", "GaussianNoise", "GroupNormalization", "Identity", "InputLayer",
        "LayerNormalization", "LeakyReLU", "Masking", "Maximum", "Minimum", "MultiHeadAttention", "Multiply",
        "Normalization", "PReLU", "Permute", "RMSNormalization", "RandomBrightness", "RandomContrast", "RandomCrop",
        "RandomFlip", "RandomHeight", "RandomRotation", "RandomTranslation", "RandomWidth", "RandomZoom", "ReLU",
        "RepeatVector", "Rescaling", "Reshape", "Resizing", "Softmax", "SpectralNormalization", "Subtract",
        "ThresholdedReLU", "TimeDistributed", "UnitNormalization",
    }
)  # fmt: skip
MODELS = frozenset({"Functional", "Model", "Sequential"})
INITIALIZERS = frozenset(
    {
        "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform", "Ones",
        "Orthogonal", "OrthogonalInitializer", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling",
        "Zeros",
    }
)  # fmt: skip
REGULARIZERS = frozenset({"L1", "L1L2", "L2", "OrthogonalRegularizer"})
CONSTRAINTS = frozenset({"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"})
DTYPE_POLICIES = frozenset({"DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"})
VALUES = frozenset(
    {"TensorShape", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__", "__tuple__"}
)
# Keras 3's functions as layers, those that are not named like a layer.
OPERATIONS = frozenset(
    {
        "Cast", "Clip", "Divide", "Exp", "ExpandDims", "Gelu", "GetItem", "HardSigmoid", "HardSilu", "LogSoftmax",
        "Matmul", "Max", "Mean", "Negative", "Pad", "Relu", "Relu6", "Sigmoid", "Silu", "Sqrt", "Square", "Squeeze",
        "Stack", "Sum", "Tanh", "Transpose", "TrueDivide",
    }
)  # fmt: skip
CLASSES = LAYERS | MODELS | INITIALIZERS | REGULARIZERS | CONSTRAINTS | DTYPE_POLICIES | VALUES | OPERATIONS
# What Keras 2 makes of TensorFlow's functions: each names one, which it would look up among all of TensorFlow.
TENSORFLOW_LAYERS = frozenset({"SlicingOpLambda", "TFOpLambda"})
# Those that a port exists for, and more pure functions of tensors.
TENSORFLOW_FUNCTIONS = frozenset(TF_FUNCTIONS) | {
    "__operators__.getitem", "clip_by_value", "compat.v1.nn.relu6", "compat.v1.pad", "compat.v1.transpose", "identity",
    "math.reduce_max", "math.reduce_mean", "math.sigmoid", "math.tanh", "nn.leaky_relu", "nn.sigmoid", "nn.softmax",
    "nn.tanh", "reshape",
}  # fmt: skip
# By every name of those that a port exists for, and the two further ones of keras.activations.
ACTIVATION_FUNCTIONS = frozenset(ACTIVATIONS) | frozenset(ALIASES) | {"glu", "threshold"}
# Of a Keras 3 file's optimizer, loss and metrics; their names alone are no danger within these modules.
TRAINING_MODULES = frozenset(
    {"builtins", "keras.losses", "keras.metrics", "keras.optimizers", "keras.optimizers.schedules"}
)
PACKAGES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")


def check_classes(path: Path, config: Mapping[str, Any]) -> None:
    """Refuses a config that names anything beyond the tables of this module.

    Example:
        >>> check_classes(path, read_checkpoint(path).config)

    Args:
        path: Of the file, for the message.
        config: As `Checkpoint.config` holds it.

    Raises:
        VerificationError: It does; the message names layer and class, all of them.
    """
    problems = set(_foreign(config, "model"))
    if problems:
        raise VerificationError(
            f"{quoted(path)}: not loaded, because its config holds what is not Keras's own or could run code. "
            f"Expected Keras's own layers, none of them Lambda. Received:{listing(problems)}"
        )


def is_keras_training(training: Any) -> bool:
    """Whether a Keras 3 file's optimizer, loss and metrics are all Keras's own, so that Keras may build them.

    Args:
        training: As `Checkpoint.training` holds it.
    """
    if isinstance(training, Mapping):
        module, name = training.get("module"), training.get("class_name")
        known = module is None or (isinstance(module, str) and module in TRAINING_MODULES)
        known = known or (module == "keras" and isinstance(name, str) and name in DTYPE_POLICIES)
        return known and all(is_keras_training(item) for item in training.values())
    return not isinstance(training, list) or all(is_keras_training(item) for item in training)


def _foreign(value: Any, owner: str) -> Iterator[str]:
    """Yields one line for each object of a config that is not allowed; ``owner`` is the layer that holds it."""
    if isinstance(value, Mapping):
        inside = value.get("config")
        if isinstance(inside, Mapping) and isinstance(inside.get("name"), str):
            owner = inside["name"]
        if "class_name" in value and not _allowed(value, inside):
            module = f" of {quoted(value['module'])}" if value.get("module") else ""
            yield f"layer {quoted(owner)}: class {quoted(value['class_name'])}{module}"
        # Training's own objects are never built: a repair leaves them out.
        value = [item for key, item in value.items() if key != TRAINING]
    if isinstance(value, list):
        for item in value:
            yield from _foreign(item, owner)


def _allowed(node: Mapping[str, Any], inside: Any) -> bool:
    """Whether Keras may build this object."""
    name, module = node["class_name"], node.get("module")
    if not isinstance(name, str) or not isinstance(module, (str, type(None))):
        return False
    if name == "function":
        registered = node.get("registered_name") or inside
        return _ours(module, "builtins") and {str(inside), str(registered)} <= ACTIVATION_FUNCTIONS
    if name == SCALE:  # built as `scale.Scale`, which Keras looks up by this name before any module
        known = isinstance(inside, Mapping) and is_known_scale(inside)
        return known and node.get("registered_name", SCALE) == SCALE
    if name in TENSORFLOW_LAYERS:
        function = inside.get("function", "__operators__.getitem") if isinstance(inside, Mapping) else None
        return _ours(module) and isinstance(function, str) and function in TENSORFLOW_FUNCTIONS
    if name in ACTIVATION_FUNCTIONS:  # how Keras 2.2 to 2.11 may name an activation
        return _ours(module)
    return name in CLASSES and _ours(module)


def _ours(module: str | None, *others: str) -> bool:
    return not module or module in others or any(f"{module}.".startswith(f"{package}.") for package in PACKAGES)
