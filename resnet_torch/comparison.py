"""The port's side of a verification: runs PyTorch, compares every tap with the recorded reference.

Run as ``python -m resnet_torch.comparison REQUEST.json`` by `weight_transfer.parity.verify`, in a
process of its own. It prints JSON lines: progress, then one result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from resnet_torch.loading import load_model
from resnet_torch.resnet import ResNet
from weight_transfer.graph import layers
from weight_transfer.parity.error import TapError, tap_error
from weight_transfer.preprocessing import preprocess

OUTPUT = "output"  # the tap of what the model returns
DTYPES = {"float64": torch.float64, "float32": torch.float32}


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the port on every device and dtype asked for, and measures it against the reference.

    Args:
        request: ``converted`` (the port), ``inputs`` and ``cases`` as for the reference,
            ``reference`` (its recording) and its ``taps``, ``devices`` (``cpu``, ``cuda``; the
            latter is left out where there is none).

    Returns:
        ``errors``: a list of device, dtype, case, tap, error, peak, shape, in network order.
    """
    inputs = load_file(request["inputs"])
    devices = [device for device in request["devices"] if device != "cuda" or torch.cuda.is_available()]
    combinations = [(device, dtype) for device in devices for dtype in DTYPES]
    found, done = [], 0
    total = len(combinations) * len(request["cases"])
    with safe_open(request["reference"], framework="np") as reference:
        for device, dtype in combinations:
            model = load_model(request["converted"]).to(device, DTYPES[dtype])
            for case, raw in request["cases"].items():
                images = preprocess(inputs[case], model.architecture.conventions.preprocessing if raw else "none")
                measured = _measure(
                    model, images, lambda tap, c=case: reference.get_tensor(f"{c}/{tap}"), request["taps"]
                )
                for tap in request["taps"]:  # a tap that the port lacks is infinitely far off
                    error = measured.get(tap, TapError(float("inf"), 0.0, ()))
                    found.append({"device": device, "dtype": dtype, "case": case, "tap": tap, **error.__dict__})
                done += 1
                print(json.dumps({"progress": done / total}), flush=True)
    return {"errors": found, "torch": torch.__version__}


def _measure(
    model: ResNet, images: np.ndarray, expected: Callable[[str], np.ndarray], wanted: Collection[str]
) -> dict[str, TapError]:
    """Runs one batch; each tap is compared as it is computed and not kept."""
    parameter = next(model.parameters())
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(parameter.device, parameter.dtype)
    errors: dict[str, TapError] = {}

    def note(tap: str, output: torch.Tensor) -> None:
        errors[tap] = tap_error(_channels_last(output), expected(tap))

    taps = {layer.name: layer.tap for layer in layers(model.architecture) if layer.tap and layer.name in wanted}
    with _exact_float32(), _hooks(model, taps, note):
        note(OUTPUT, model.predict(x))
    return errors


def _channels_last(output: torch.Tensor) -> np.ndarray:
    array = output.detach().cpu().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@contextmanager
def _hooks(model: ResNet, taps: Mapping[str, str], note: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    handles = [
        model.get_submodule(path).register_forward_hook(lambda _m, _i, output, tap=tap: note(tap, output))
        for tap, path in taps.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Float32 means float32: no TensorFloat-32 on CUDA while comparing."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def main() -> None:
    """Reads a request, compares, prints the result."""
    request = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"result": compare(request)}), flush=True)


if __name__ == "__main__":
    main()
