"""What stands in the arguments of layers: initializers, regularizers, constraints, activations, dtype policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weight_transfer.class_owners import is_own
from weight_transfer.graph.precision import policy_name
from weight_transfer.keras_schema.target import Target
from weight_transfer.layer_types.activations import ACTIVATIONS, ALIASES, activation_name

# Source: tf_keras/src/activations.py, tf_keras 2.21.0: its functions, and TensorFlow's that stand beside them.
KERAS_2_ACTIVATIONS = frozenset(
    {
        "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softmax", "log_softmax",
        "softplus", "softsign", "sigmoid", "hard_sigmoid", "tanh", "exponential",
    }
)  # fmt: skip
KERAS_2_NAMES = {"silu": "swish"}  # which every Keras 2 from 2.2 on knows
KEPT_REGULARIZERS = ("L1", "L2", "L1L2", "OrthogonalRegularizer")
CONSTRAINTS = ("MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm")
KERAS_1_CONSTRAINT_ARGUMENTS = {"m": "max_value"}
# Arguments of initializers that one generation alone takes. They place weights, which a file brings anyway.
ONE_SIDED_OF_INITIALIZERS = ("dtype", "input_axes", "output_axes", "partition_info")
MODULES = {"initializer": "keras.initializers", "regularizer": "keras.regularizers", "constraint": "keras.constraints"}


def in_argument(key: str, value: Any, target: Target, where: str) -> Any:
    """Returns the value of an argument as the target has it.

    Args:
        key: The argument.
        value: Its value in any schema.
        target: What is written.
        where: The layer, for messages.

    Raises:
        ArchitectureError: The target has nothing that is the same.
    """
    kind = key.rpartition("_")[2]
    if key == "dtype":
        return dtype_policy(value, target, where)
    if value is None or kind not in MODULES or not isinstance(value, Mapping) or _is_foreign(value):
        return value
    class_name, config = {"initializer": _initializer, "regularizer": _regularizer, "constraint": _constraint}[kind](
        value
    )
    return target.object(class_name, config, MODULES[kind])


def _is_foreign(value: Mapping[str, Any]) -> bool:
    """Whether it is a user's own, which is written as it is."""
    package = str(value.get("registered_name") or value.get("class_name") or "").rpartition(">")[0]
    module = value.get("module") or "keras"
    return bool(package and not is_own(package)) or not is_own(str(module))


def _initializer(value: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    config = {key: item for key, item in (value.get("config") or {}).items() if key not in ONE_SIDED_OF_INITIALIZERS}
    if config.get("distribution") == "normal":  # tf_keras takes it for this; Keras 3 does not know it
        config["distribution"] = "truncated_normal"
    if isinstance(config.get("seed"), Mapping):
        config["seed"] = None
    return str(value.get("class_name")), config


def _regularizer(value: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Keras 1 writes ``{"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}``."""
    class_name = value.get("class_name")
    if class_name in KEPT_REGULARIZERS:
        return str(class_name), dict(value.get("config") or {})
    factors = value.get("config", value)
    return "L1L2", {key: float(factors.get(key) or 0.0) for key in ("l1", "l2")}


def _constraint(value: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Keras 1 writes ``{"name": "MaxNorm", "m": 2, "axis": 0}``."""
    written = str(value.get("class_name") or value.get("name"))
    class_name = next((name for name in CONSTRAINTS if name.lower() == written.replace("_", "").lower()), written)
    inside = value.get("config", {key: item for key, item in value.items() if key not in ("name", "class_name")})
    return class_name, {KERAS_1_CONSTRAINT_ARGUMENTS.get(key, key): item for key, item in inside.items()}


def dtype_policy(value: Any, target: Target, where: str) -> Any:
    """Returns a layer's dtype policy: by its name in Keras 2, as an object in Keras 3.

    Raises:
        ArchitectureError: It is none of float numbers, such as a quantized one.
    """
    name = policy_name(where, value)
    if target.schema == "keras2":
        return name
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": name}, "registered_name": None}


def activation(value: Any, target: Target, layer: str, class_name: str) -> str:
    """Returns the name of an activation that is no layer.

    Raises:
        ArchitectureError: The target has no such activation.
    """
    name = activation_name("linear" if value is None else value)
    name = ALIASES.get(name, name)
    if target.schema == "keras3":
        known = name in ACTIVATIONS
    else:
        known = name in KERAS_2_ACTIVATIONS
        name = KERAS_2_NAMES.get(name, name)
    if not known:
        raise target.refusal(layer, class_name, f"activation={name!r}")
    return name
