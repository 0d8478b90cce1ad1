"""The model of a full-model file, loaded by whichever installed Keras can: what a port is measured against.

The first that works counts: Keras 3 and then Keras 2 (tf_keras), the other way round where Keras 2 wrote the file, on
the file as it is; each of them on a copy whose config is mended (`repairs`); each of them on the mended config alone,
with the weights set from what `weight_transfer` read. Training is of no interest: models are not compiled, so an
optimizer's ``lr``, a loss's ``reduction=auto`` and a custom metric stop nothing.

Keras runs code that a config names, so all of it is looked up first among what is known to be harmless (`allowed`).
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

from resnet_keras.allowlist import TRAINING, check_classes
from resnet_keras.compatibility import objects, repaired
from resnet_keras.scale import custom_objects
from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.errors import VerificationError, listing, quoted

SUFFIXES: Mapping[str, str] = {"legacy-h5": ".h5", "keras-zip": ".keras"}  # Keras goes by the extension
MEMBERS = ("metadata.json", "model.weights.h5")  # of a .keras archive, beside its config.json
REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Reference:
    """A loaded model.

    Attributes:
        module: `keras` or `tf_keras`; what builds layers that go with the model's.
        model: Not compiled.
        loaded_by: Which Keras, and what had to be done: ``keras 3.15.1 after repairs: class paths``.
        as_stored: Whether that Keras loaded the file as it is.
    """

    module: Any
    model: Any
    loaded_by: str
    as_stored: bool = False


def load_reference(path: Path, only: str | None = None) -> Reference:
    """Loads the model of a full-model file of any Keras; the file itself is only read.

    Args:
        path: A legacy .h5 or a .keras file, whatever its name.
        only: ``keras`` or ``tf_keras``, where the other one will not do.

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
        check_classes(path, config)
        attempts = _attempts(checkpoint, config, Path(folder))
        return _first(path, (attempt for attempt in attempts if only in (None, attempt.module.__name__)))


def load_compiled(reference: Reference, path: Path) -> Any:
    """Loads the model of a file once more, compiled as the file says, by the Keras that loaded it as it is.

    Args:
        reference: What `load_reference` gave.
        path: The file. Its optimizer, loss and metrics are Keras's own (`is_keras_training`).

    Raises:
        VerificationError: The file had to be repaired.
    """
    if not reference.as_stored:
        raise VerificationError("the file had to be repaired")
    with read_checkpoint(path) as checkpoint, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"model{SUFFIXES[checkpoint.container]}"
        file.symlink_to(checkpoint.path.resolve())
        return _load(reference.module, file, compiled=True)


def reference_from_config(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Reference:
    """Builds the model that a config describes and gives it weights.

    Args:
        config: ``{"class_name": ..., "config": ...}`` of any Keras.
        arrays: By ``layer path/role``; all of them are used.

    Raises:
        VerificationError: The config holds a class that could run code, or no installed Keras builds it.
    """
    inside = config.get("config")
    path = Path(str(inside.get("name", "model")) if isinstance(inside, Mapping) else "model")
    check_classes(path, config)
    attempts = []
    for module in _keras_modules():
        mended, names = repaired(config, module.__name__)
        how = f" after repairs: {names}" if names else ""
        attempts.append(Attempt(module, how, functools.partial(_build, module, mended, arrays)))
    return _first(path, iter(attempts))


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
            return Reference(attempt.module, attempt.load(), loaded_by, as_stored=not attempt.how)
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
    # No Keras that can be installed turns the kernels of Theano, or transposes all of Keras 1's: our reader does.
    as_stored = not checkpoint.kernel_layouts
    if as_stored and not any(node.get(TRAINING) for node in objects(config)):
        file.symlink_to(checkpoint.path.resolve())
        for module in modules:
            yield Attempt(module, "", functools.partial(_load, module, file))
    repairs = {module: repaired(config, module.__name__) for module in modules}
    for module, (mended, names) in repairs.items():
        if names and as_stored:
            write = functools.partial(WRITERS[checkpoint.container], checkpoint.path, file, mended)
            yield Attempt(module, f" after repairs: {names}", functools.partial(_load, module, file, write))
    for module, (mended, names) in repairs.items():
        how = f" after repairs: {names}," if names else ""
        load = functools.partial(_build, module, mended, _Arrays(checkpoint))
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


def _load(module: Any, file: Path, write: Callable[[], None] | None = None, *, compiled: bool = False) -> Any:
    if write is not None:
        write()
    return module.models.load_model(file, custom_objects=custom_objects(module), compile=compiled, safe_mode=True)


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
    inside = copy.deepcopy(config["config"])  # from_config takes keys out of what it is given
    model = cls.from_config(inside, custom_objects=custom_objects(module))
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
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ValueError(f"no array is named {quoted(missing[0])}")
        layer.set_weights([arrays[name] for name in names])
        yield from names


def _reason(error: Exception) -> str:
    """One line of what a Keras said; the exception that it wrapped, where there is one."""
    text = str(error).rpartition("Exception encountered:")[2].strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= REASON_CHARACTERS else f"{line[:REASON_CHARACTERS]}..."
