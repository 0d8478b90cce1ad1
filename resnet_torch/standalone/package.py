"""The folder of a standalone port: written beside its place, checked against the port, then renamed into it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.constraints import KEPT
from resnet_torch.inference import inference
from resnet_torch.loading import load_model
from resnet_torch.standalone.forward import steps_of, variables
from resnet_torch.standalone.model_source import COUNT, model_source, preprocessing_used
from resnet_torch.standalone.readme import made_by, plain_text, readme
from weight_transfer.atomic import atomic_folder, check_folder
from weight_transfer.converted import Converted, is_converted, read_converted, write_converted
from weight_transfer.errors import CheckpointError, TransferError, listing
from weight_transfer.graph import Graph
from weight_transfer.parity.protocol import PackageRequest, Written
from weight_transfer.progress import OnProgress

WEIGHTS = "weights.safetensors"
FREE_SIZE = 64  # what the check feeds where an input's size is free
PLAIN = (bool, int, float, str, tuple, list, dict, type(None))

Shape = tuple[int | None, ...]


def package(request: PackageRequest, on_progress: OnProgress) -> Written:
    """Writes a package for the command line, which loads no torch.

    Args:
        request: What to write, and where.
        on_progress: Called with the share that is done.
    """
    on_progress(0.0)
    write_standalone(request.converted, request.folder)
    return Written()


def write_standalone(converted: Path, folder: Path) -> None:
    """Writes a port as a Python package that needs torch and safetensors alone.

    Before it gets its name, the package's model is loaded and compared with the port: the same
    tensors, the same layers, and on random inputs the same outputs bit for bit.

    Args:
        converted: A file that `weight-transfer convert` wrote.
        folder: The package: a folder that does not exist yet, or an empty one. Its name is the package's.

    Raises:
        TransferError: The folder cannot be written or is not empty, the file is not a converted one,
            or the package does not compute what the port computes; nothing is left in either case.

    Example:
        >>> write_standalone(Path("resnet50.safetensors"), Path("resnet50"))
        >>> from resnet50 import load
        >>> probabilities = load().predict(images)
    """
    converted, folder = Path(converted), Path(folder)
    check_folder(folder)
    if not is_converted(converted):
        raise CheckpointError(f"{converted}: not a converted file. Expected the output of `weight-transfer convert`.")
    known = read_converted(converted)
    model = aligned(load_model(converted))
    dtype = _dtype(known)
    shapes = in_shapes(known.network, model)
    how = preprocessing_used(known.description)
    title = plain_text(known.network.title)
    source = model_source(model, title, how, dtype, made_by(known.origin))
    exported = ["Model", "load", *(["preprocess"] if how else [])]
    with atomic_folder(folder, size_bytes=known.path.stat().st_size) as temporary:
        (temporary / "model.py").write_text(source, encoding="utf-8")
        (temporary / "__init__.py").write_text(_init_source(title, exported), encoding="utf-8")
        (temporary / "README.md").write_text(readme(known, model, folder.name, how, dtype, shapes), encoding="utf-8")
        write_converted(temporary / WEIGHTS, known.stored.values(), known.description)
        check_package(temporary, model, shapes, dtype)


def aligned(model: Any) -> Any:
    """Gives a model's tensors memory of PyTorch's own, and returns it.

    A file's memory starts anywhere, and the last bit of a matrix product depends on where.
    """
    copies = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(copies, assign=True)
    return model


def in_shapes(network: Graph, model: nn.Module) -> dict[str, Shape]:
    """Returns the shape of each input as PyTorch has it, channels first, without the batch axis."""
    steps = steps_of(model)
    names = variables(steps)
    last = network.channels_last
    return {
        names[value]: (*shape[-1:], *shape[:-1]) if last else shape
        for value, shape in zip(steps.inputs, network.inputs.values(), strict=True)
    }


def _dtype(converted: Converted) -> torch.dtype:
    floating = [tensor.dtype for tensor in converted.stored.values() if tensor.dtype.kind == "f"]
    widest = max(floating, key=lambda dtype: dtype.itemsize, default=np.dtype(np.float32))
    found: torch.dtype = getattr(torch, widest.name)
    return found


def _init_source(title: str, exported: list[str]) -> str:
    names = ", ".join(f'"{name}"' for name in exported)
    imports = f"from .model import {', '.join(exported)}"
    return f'"""{title} in PyTorch; README.md says how to use it."""\n\n{imports}\n\n__all__ = [{names}]\n'


def check_package(folder: Path, model: Any, shapes: dict[str, Shape], dtype: torch.dtype) -> None:
    """Loads a package's model from its source and compares it with the port.

    Raises:
        TransferError: They differ; the message lists where.
    """
    module = types.ModuleType("standalone_port")
    module.__file__ = str(folder / "model.py")
    with torch.random.fork_rng(devices=[]):  # building draws weights that loading replaces
        exec(compile((folder / "model.py").read_text(encoding="utf-8"), module.__file__, "exec"), module.__dict__)
        written = module.load()
    problems = (
        _differing_tensors(model, written)
        or _differing_layers(model, written)
        or _differing_outputs(model, written, shapes, dtype)
    )
    if problems:
        raise TransferError(f"the package would not be the port:{listing(problems)}\nReport this network.")


def _differing_tensors(model: nn.Module, written: nn.Module) -> list[str]:
    expected = {name for name in model.state_dict() if not name.endswith(f".{COUNT}")}
    one, other = ({name for name, held in m.named_parameters() if held.requires_grad} for m in (model, written))
    problems = [f"tensor {name} in one of them alone" for name in expected ^ set(written.state_dict())]
    return problems or [f"tensor {name} learns in one of them alone" for name in one ^ other]


def _differing_layers(model: nn.Module, written: nn.Module) -> list[str]:
    problems = []
    for path, layer in written.named_modules():
        if layer is written or type(layer) in (nn.Module, nn.ModuleDict):
            continue  # it only holds others
        expected = model.get_submodule(path)
        if type(layer).__name__ != type(expected).__name__ or _settings(layer) != _settings(expected):
            problems.append(f"layer {path}: {layer!r} instead of {expected!r}")
    return problems


def _settings(layer: nn.Module) -> dict[str, Any]:
    """What decides what a layer computes; of constraints, which an optimizer keeps, the README tells."""
    return {
        name: value
        for name, value in vars(layer).items()
        if not name.startswith("_") and name != KEPT and isinstance(value, PLAIN)
    }


def _differing_outputs(model: Any, written: Any, shapes: dict[str, Shape], dtype: torch.dtype) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    sizes = [[FREE_SIZE if n is None else n for n in shape] for shape in shapes.values()]
    inputs = [torch.randn(2, *size, generator=generator).to(dtype) for size in sizes]
    try:
        expected = model.predict(*inputs)
    except RuntimeError as error:
        if any(None in shape for shape in shapes.values()):
            return []  # a free size that does not fit: the layers are equal, and that has to do
        raise TransferError(f"the port itself cannot run on its inputs ({error}). Report this network.") from error
    problems = [] if _equal(written.predict(*inputs), expected) else ["the outputs of predict on random inputs"]
    with inference(model), inference(written):  # logits differ where a saturated softmax does not
        same = _equal(written(*inputs), model(*inputs))
    return problems if same else [*problems, "the outputs of forward on random inputs"]


def _equal(actual: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return list(actual) == list(expected) and _equal(tuple(actual.values()), tuple(expected.values()))
    if isinstance(expected, Tensor):
        actual, expected = (actual,), (expected,)
    # Noise may overflow a network that images do not: where one has NaN the other must, too.
    return len(actual) == len(expected) and all(
        one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
        for one, other in zip(actual, expected, strict=True)
    )
