"""The model of a full-model file, loaded by whichever installed Keras can: what a port is measured against.

The first that works counts: Keras 3 and then Keras 2 (tf_keras), the other way round where Keras 2 wrote the file, on
the file as it is; each of them on a copy whose config is mended (`REPAIRS`); each of them on the mended config alone,
with the weights set from what `weight_transfer` read. Training is of no interest: models are never compiled, so an
optimizer's ``lr``, a loss's ``reduction=auto`` and a custom metric stop nothing.

Keras runs code that a config names, so every class in it is looked up in a table of what is known to be harmless first.
"""

from __future__ import annotations

import copy
import functools
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.checkpoint.refusal import quoted
from weight_transfer.errors import VerificationError, listing

SUFFIXES: Mapping[str, str] = {"legacy-h5": ".h5", "keras-zip": ".keras"}  # Keras goes by the extension
MEMBERS = ("metadata.json", "model.weights.h5")  # of a .keras archive, beside its config.json
TRAINING = "compile_config"
REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Reference:
    """A loaded model.

    Attributes:
        module: `keras` or `tf_keras`; what builds layers that go with the model's.
        model: Not compiled.
        loaded_by: Which Keras, and what had to be done: ``keras 3.15.1 after repairs: class paths``.
    """

    module: Any
    model: Any
    loaded_by: str


def load_reference(path: Path) -> Reference:
    """Loads the model of a full-model file of any Keras; the file itself is only read.

    Args:
        path: A legacy .h5 or a .keras file, whatever its name.

    Raises:
        CheckpointError: It is no Keras checkpoint, or not a sound one.
        VerificationError: It holds weights only, or a class that could run code, or no installed Keras loads it.
    """
    path = Path(path)
    with read_checkpoint(path) as checkpoint, tempfile.TemporaryDirectory() as folder:
        if checkpoint.container not in SUFFIXES or checkpoint.config is None:
            raise VerificationError(
                f"{quoted(path)}: a {checkpoint.container} file that holds weights but no model. "
                "Expected a file that `model.save` wrote."
            )
        config = {key: value for key, value in checkpoint.config.items() if key != TRAINING}
        _check_classes(path, config)
        return _first(path, _attempts(checkpoint, config, Path(folder)))


def reference_from_config(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Reference:
    """Builds the model that a config describes and gives it weights.

    Args:
        config: ``{"class_name": ..., "config": ...}`` of any Keras.
        arrays: By ``layer path/role``; all of them are used.

    Raises:
        VerificationError: The config holds a class that could run code, or no installed Keras builds it.
    """
    path = Path(str(config.get("config", {}).get("name", "model")) if isinstance(config["config"], dict) else "model")
    _check_classes(path, config)
    attempts = []
    for module in _keras_modules():
        repaired, names = _repaired(config, module.__name__)
        how = f" after repairs: {names}" if names else ""
        attempts.append(Attempt(module, how, functools.partial(_build, module, repaired, arrays)))
    return _first(path, iter(attempts))


# What may stand in a config. Left out of Keras's own layers: Lambda (code), TFSMLayer, TorchModuleWrapper, JaxLayer and
# FlaxLayer (code of other frameworks), StringLookup, IntegerLookup and TextVectorization (open files).
_DIMENSIONS = ("1D", "2D", "3D")
_BY_DIMENSION = (
    "AdaptiveAveragePooling", "AdaptiveMaxPooling", "AveragePooling", "Conv", "Convolution", "Cropping",
    "DepthwiseConv", "GlobalAveragePooling", "GlobalMaxPooling", "MaxPooling", "SeparableConv", "SpatialDropout",
    "UpSampling", "ZeroPadding",
)  # fmt: skip
LAYERS = frozenset(
    {
        *(stem + dimension for stem in _BY_DIMENSION for dimension in _DIMENSIONS),
        *(f"Conv{dimension}Transpose" for dimension in _DIMENSIONS),
        "Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average", "BatchNormalization", "CenterCrop",
        "Concatenate", "Dense", "Dot", "Dropout", "ELU", "EinsumDense", "Flatten", "GaussianDropout", "GaussianNoise",
        "GroupNormalization", "Identity", "InputLayer", "LayerNormalization", "LeakyReLU", "Masking", "Maximum",
        "Minimum", "MultiHeadAttention", "Multiply", "Normalization", "PReLU", "Permute", "RMSNormalization",
        "RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip", "RandomHeight", "RandomRotation",
        "RandomTranslation", "RandomWidth", "RandomZoom", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Resizing",
        "Softmax", "SpectralNormalization", "Subtract", "ThresholdedReLU", "TimeDistributed", "UnitNormalization",
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
        "Clip", "Divide", "Exp", "ExpandDims", "Gelu", "GetItem", "HardSigmoid", "HardSilu", "LogSoftmax", "Matmul",
        "Max", "Mean", "Negative", "Pad", "Relu", "Relu6", "Sigmoid", "Silu", "Sqrt", "Square", "Squeeze", "Stack",
        "Sum", "Tanh", "Transpose", "TrueDivide",
    }
)  # fmt: skip
CLASSES = LAYERS | MODELS | INITIALIZERS | REGULARIZERS | CONSTRAINTS | DTYPE_POLICIES | VALUES | OPERATIONS
# What Keras 2 makes of TensorFlow's functions: each names one, which it would look up among all of TensorFlow.
TENSORFLOW_LAYERS = frozenset({"SlicingOpLambda", "TFOpLambda"})
TENSORFLOW_FUNCTIONS = frozenset(
    {
        "__operators__.add", "__operators__.getitem", "cast", "clip_by_value", "compat.v1.nn.relu6", "compat.v1.pad",
        "compat.v1.transpose", "concat", "identity", "math.add", "math.divide", "math.multiply", "math.reduce_max",
        "math.reduce_mean", "math.sigmoid", "math.subtract", "math.truediv", "nn.bias_add", "nn.leaky_relu", "nn.relu",
        "nn.relu6", "nn.sigmoid", "nn.softmax", "nn.tanh", "reshape", "stack",
    }
)  # fmt: skip
ACTIVATIONS = frozenset(
    {
        "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish",
        "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid",
        "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "squareplus", "swish", "tanh",
        "tanh_shrink", "threshold",
    }
)  # fmt: skip
PACKAGES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")


def _check_classes(path: Path, config: Mapping[str, Any]) -> None:
    """Raises VerificationError, naming layer and class, where a config holds what is not in the tables above."""
    problems = set(_foreign(config, "model"))
    if problems:
        raise VerificationError(
            f"{quoted(path)}: not loaded, because its config holds what is not Keras's own or could run code. "
            f"Expected Keras's own layers, none of them Lambda. Received:{listing(problems)}"
        )


def _foreign(value: Any, owner: str) -> Iterator[str]:
    """Yields one line for each object of a config that is not allowed; ``owner`` is the layer that holds it."""
    if isinstance(value, Mapping):
        inside = value.get("config")
        if isinstance(inside, Mapping) and isinstance(inside.get("name"), str):
            owner = inside["name"]
        if "class_name" in value and not _allowed(value, inside):
            module = f" of {quoted(value['module'])}" if value.get("module") else ""
            yield f"layer {quoted(owner)}: class {quoted(value['class_name'])}{module}"
        # Training's own objects are never built: see _without_training.
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
        return _ours(module, "builtins") and {str(inside), str(registered)} <= ACTIVATIONS
    if name in TENSORFLOW_LAYERS:
        function = inside.get("function", "__operators__.getitem") if isinstance(inside, Mapping) else None
        return _ours(module) and function in TENSORFLOW_FUNCTIONS
    if name in ACTIVATIONS:  # how Keras 2.2 to 2.11 may name an activation
        return _ours(module)
    return name in CLASSES and _ours(module)


def _ours(module: str | None, *others: str) -> bool:
    return not module or module in others or any(f"{module}.".startswith(f"{package}.") for package in PACKAGES)


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
    if not module or module in (*PUBLIC_MODULES, "keras", "builtins") or ".ops." in module:
        return False
    if name in ("Functional", "Model"):
        right, name = FUNCTIONAL[family], "Functional"
    else:
        right = next((public for public, names in PUBLIC_MODULES.items() if name in names), "keras")
    if module == right:
        return False
    node.update(module=right, class_name=name, registered_name=None)
    return True


def _input_shape(node: dict[str, Any], family: str) -> bool:
    other, own = INPUT_SHAPE[family]
    inside = node.get("config")
    if node.get("class_name") != "InputLayer" or not isinstance(inside, dict) or other not in inside:
        return False
    inside[own] = inside.pop(other)
    return True


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


def _repaired(config: Mapping[str, Any], family: str) -> tuple[dict[str, Any], str]:
    """A mended copy of the config, and the names of the repairs that changed something."""
    mended = copy.deepcopy(dict(config))
    try:
        # A sum, since any() would stop at the first object that was mended.
        names = [row.name for row in REPAIRS if sum(row.mend(node, family) for node in _objects(mended))]
    except (KeyError, TypeError, AttributeError) as error:
        raise VerificationError(f"the file's model config is malformed ({error!r})") from error
    return mended, ", ".join(names)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in a config, the outer before the inner."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)


@dataclass(frozen=True)
class Attempt:
    """One way to load: with which Keras, what to say of it, and how."""

    module: Any
    how: str
    load: Callable[[], Any]


def _first(path: Path, attempts: Iterator[Attempt]) -> Reference:
    reasons = []
    for attempt in attempts:
        loaded_by = f"{attempt.module.__name__} {attempt.module.__version__}{attempt.how}"
        try:
            return Reference(attempt.module, attempt.load(), loaded_by)
        except Exception as error:  # whatever this Keras raises; the next may load it
            reasons.append(f"{loaded_by}: {_reason(error)}")
    raise VerificationError(
        f"{quoted(path)}: no installed Keras loads this file. Received:{listing(reasons)}\n"
        "Save the model again with a recent Keras, or install tf-keras for a file of Keras 2."
    )


def _attempts(checkpoint: Checkpoint, config: Mapping[str, Any], folder: Path) -> Iterator[Attempt]:
    """What to try, in order."""
    modules = _keras_modules()
    if (checkpoint.keras_version or "").startswith("2."):
        modules.reverse()  # Keras 3 loads many of these files too, but computes another hard_sigmoid
    file = folder / f"model{SUFFIXES[checkpoint.container]}"
    if not any(node.get(TRAINING) for node in _objects(config)):
        file.symlink_to(checkpoint.path.resolve())
        for module in modules:
            yield Attempt(module, "", functools.partial(_load, module, file))
    mended = {module: _repaired(config, module.__name__) for module in modules}
    for module, (repaired, names) in mended.items():
        if names:
            write = functools.partial(WRITERS[checkpoint.container], checkpoint.path, file, repaired)
            yield Attempt(module, f" after repairs: {names}", functools.partial(_load, module, file, write))
    for module, (repaired, names) in mended.items():
        how = f" after repairs: {names}," if names else ""
        load = functools.partial(_build, module, repaired, _Arrays(checkpoint))
        yield Attempt(module, f"{how} with the weights set by this project's reader", load)


def _keras_modules() -> list[Any]:
    """The installed Kerases, the newer first."""
    if keras.backend.backend() != "tensorflow":
        raise VerificationError(
            f"the reference needs Keras on TensorFlow. Received: backend {keras.backend.backend()!r}. "
            "Set KERAS_BACKEND=tensorflow before Keras is imported."
        )
    try:
        import tf_keras
    except ImportError:
        return [keras]
    return [keras, tf_keras]


def _load(module: Any, file: Path, write: Callable[[], None] | None = None) -> Any:
    if write is not None:
        write()
    return module.models.load_model(file, compile=False, safe_mode=True)


def _write_h5(path: Path, file: Path, config: Mapping[str, Any]) -> None:
    file.unlink(missing_ok=True)  # first: it may be the link to the user's file
    shutil.copyfile(path, file)
    with h5py.File(file, "r+") as copied:
        copied.attrs["model_config"] = json.dumps(config)


def _write_zip(path: Path, file: Path, config: Mapping[str, Any]) -> None:
    file.unlink(missing_ok=True)  # first: it may be the link to the user's file
    with zipfile.ZipFile(path) as original, zipfile.ZipFile(file, "w") as copied:
        copied.writestr("config.json", json.dumps(config))
        for name in MEMBERS:
            if name in original.namelist():
                with original.open(name) as source, copied.open(name, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target)


WRITERS: Mapping[str, Callable[[Path, Path, Mapping[str, Any]], None]] = {
    "legacy-h5": _write_h5,
    "keras-zip": _write_zip,
}


class _Arrays(Mapping[str, np.ndarray]):
    """A checkpoint's arrays, each read when it is asked for."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def __getitem__(self, name: str) -> np.ndarray:
        return self._checkpoint[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._checkpoint.arrays)

    def __len__(self) -> int:
        return len(self._checkpoint.arrays)


def _build(module: Any, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """Builds the model from its config, and sets the weights by layer path and role."""
    cls = module.Sequential if config["class_name"] == "Sequential" else module.Model
    model = cls.from_config(copy.deepcopy(config["config"]))  # from_config takes keys out of what it is given
    unused = set(arrays) - set(_set_weights(model, arrays))
    if unused:
        raise ValueError(f"{len(unused)} arrays have no place in the model, such as {quoted(min(unused))}")
    return model


def _set_weights(model: Any, arrays: Mapping[str, np.ndarray], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Sets the weights of all layers, nested models' too; yields the names of the arrays that were used."""
    for layer in model.layers:
        here = (*path, layer.name)
        if hasattr(layer, "layers"):
            yield from _set_weights(layer, arrays, here)
            continue
        # A variable is named kernel, conv1/kernel or conv1/kernel:0.
        roles = [weight.name.rpartition("/")[2].partition(":")[0] for weight in layer.weights]
        names = ["/".join((*here, role)) for role in roles]
        layer.set_weights([arrays[name] for name in names])
        yield from names


def _reason(error: Exception) -> str:
    """One line of what a Keras said; the exception that it wrapped, where there is one."""
    text = str(error).rpartition("Exception encountered:")[2].strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= REASON_CHARACTERS else f"{line[:REASON_CHARACTERS]}..."
