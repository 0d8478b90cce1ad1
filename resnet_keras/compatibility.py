"""What stops one Keras from loading what another wrote, and how a config is mended for it.

Each cause is a row of `REPAIRS`, and the tests have a file that needs it. Only configs are mended, as copies: no file
of the user's is changed, and no repair changes what the model computes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resnet_keras.allowlist import (
    CONSTRAINTS,
    DTYPE_POLICIES,
    INITIALIZERS,
    LAYERS,
    MODELS,
    REGULARIZERS,
    TRAINING,
)
from weight_transfer.errors import VerificationError
from weight_transfer.layer_types.normalizations import SCALE


@dataclass(frozen=True)
class Repair:
    """A known cause why one Keras does not load what another wrote.

    Attributes:
        name: As `Reference.loaded_by` says it.
        mend: Changes one object of a config in place, for the Keras named; returns whether it did.
    """

    name: str
    mend: Callable[[dict[str, Any], str], bool]


PUBLIC_MODULES: Mapping[str, frozenset[str]] = {
    "keras.layers": LAYERS,
    "keras.initializers": INITIALIZERS,
    "keras.regularizers": REGULARIZERS,
    "keras.constraints": CONSTRAINTS,
}
# Source: keras/src/models/functional.py in keras 3.15.1, tf_keras/src/engine/functional.py in tf_keras 2.21.0.
FUNCTIONAL: Mapping[str, str] = {
    "keras": "keras.src.models.functional",
    "tf_keras": "tf_keras.src.engine.functional",
}
INPUT_SHAPE: Mapping[str, tuple[str, str]] = {  # the other Keras's word, this one's
    "keras": ("batch_input_shape", "batch_shape"),
    "tf_keras": ("batch_shape", "batch_input_shape"),
}
# Arguments that only newer Kerases know, at the value that changes nothing. Keras refuses what it does not know.
NEWER: Mapping[str, Any] = {
    "optional": False,
    "ragged": False,
    "quantization_config": None,
    "lora_rank": None,
    "lora_alpha": None,
    "synchronized": False,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
    "input_axes": None,
    "output_axes": None,
}


def _without_training(node: dict[str, Any], family: str) -> bool:
    """Keras compiles a nested model even when told not to; what it would build for that is not in the tables."""
    return node.pop(TRAINING, None) is not None


def _class_path(node: dict[str, Any], family: str) -> bool:
    name, module = node.get("class_name"), node.get("module")
    if not module or module in (*PUBLIC_MODULES, "keras", "builtins") or ".ops." in module or name == SCALE:
        return False
    if name in ("Functional", "Model"):
        right, name = FUNCTIONAL[family], "Functional"
    elif name == "function":
        right = "builtins"  # where every Keras looks for its own activations
    else:
        right = next((public for public, names in PUBLIC_MODULES.items() if name in names), "keras")
    if module == right:
        return False
    node.update(module=right, class_name=name, registered_name=None)
    return True


def _input_shape(node: dict[str, Any], family: str) -> bool:
    other, own = INPUT_SHAPE[family]
    inside = node.get("config")
    if node.get("class_name") not in LAYERS or not isinstance(inside, dict) or other not in inside:
        return False
    if node["class_name"] == "InputLayer":
        inside[own] = inside.pop(other)
        return True
    if family == "keras" and isinstance(inside[other], list):  # in Keras 2 any layer may say what it is called on
        inside["input_shape"] = inside.pop(other)[1:]  # Keras 3's own reader forgets to leave the batch's size out
        return True
    return False


def _dtype_policy(node: dict[str, Any], family: str) -> bool:
    policy = node.get("dtype")
    if not isinstance(policy, dict) or policy.get("class_name") not in DTYPE_POLICIES:
        return False
    node["dtype"] = policy["config"]["name"]
    return True


def _axis(node: dict[str, Any], family: str) -> bool:
    """Keras 2 writes a batch norm's axis as ``[3]``; Keras 3 wants ``3``."""
    inside = node.get("config")
    if node.get("class_name") != "BatchNormalization" or not isinstance(inside, dict):
        return False
    axis = inside.get("axis")
    if family != "keras" or not isinstance(axis, list) or len(axis) != 1:
        return False
    inside["axis"] = axis[0]
    return True


def _newer_keys(node: dict[str, Any], family: str) -> bool:
    inside = node.get("config")
    if node.get("class_name") not in LAYERS | INITIALIZERS or not isinstance(inside, dict):
        return False
    unknown = [key for key, default in NEWER.items() if key in inside and inside[key] == default]
    for key in unknown:
        del inside[key]
    return bool(unknown)


def _nested_calls(node: dict[str, Any], family: str) -> bool:
    """Keras 2 counts a nested model's calls from 1, its own graph being number 0; Keras 3 from 0."""
    layers = node.get("layers")
    if family != "keras" or not isinstance(layers, list):
        return False
    nested = {layer["config"]["name"] for layer in layers if layer.get("class_name") in MODELS}
    calls = [layer.get("inbound_nodes", []) for layer in layers]
    references = [item for item in _references([calls, node.get("output_layers")]) if item[0] in nested]
    first = {name: min(item[1] for item in references if item[0] == name) for name, *_ in references}
    late = [item for item in references if first[item[0]] >= 1]
    for item in late:
        item[1] -= 1
    return bool(late)


def _single_ends(node: dict[str, Any], family: str) -> bool:
    """Keras 2 lists a single input or output; in Keras 3 the model would take or return a list."""
    ends = [key for key in ("input_layers", "output_layers") if _is_list_of_one_list(node.get(key))]
    if family != "keras":
        return False
    for key in ends:
        node[key] = node[key][0]
    return bool(ends)


def _is_list_of_one_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], list)


def _references(value: Any) -> Iterator[list[Any]]:
    """Yields each ``[name, call, tensor, ...]`` of Keras 2's lists."""
    if not isinstance(value, list):
        return
    if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
        yield value
        return
    for item in value:
        yield from _references(item)


REPAIRS = (
    Repair("a nested model's training left out", _without_training),
    Repair("class paths", _class_path),
    Repair("batch_shape and batch_input_shape", _input_shape),
    Repair("dtype policies as names", _dtype_policy),
    Repair("axis as a number", _axis),
    Repair("arguments of newer Kerases left out", _newer_keys),
    Repair("calls of nested models counted from 0", _nested_calls),
    Repair("single inputs and outputs without a list", _single_ends),
)


def repaired(config: Mapping[str, Any], family: str) -> tuple[dict[str, Any], str]:
    """Mends a config for one Keras.

    Args:
        config: As `Checkpoint.config` holds it, without what compiled the outermost model; left as it is.
        family: ``keras`` or ``tf_keras``.

    Returns:
        A mended copy, and the names of the repairs that changed something, joined by commas.

    Raises:
        VerificationError: The config is malformed.
    """
    mended = copy.deepcopy(dict(config))
    try:
        # A sum, since any() would stop at the first object that was mended.
        names = [row.name for row in REPAIRS if sum(row.mend(node, family) for node in objects(mended))]
    except (KeyError, TypeError, AttributeError) as error:
        raise VerificationError(f"the file's model config is malformed ({error!r})") from error
    return mended, ", ".join(names)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every dictionary in a config, the outer before the inner."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from objects(item)
