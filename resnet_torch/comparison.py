"""The port's side of a verification: runs PyTorch, compares every tap with the recorded reference.

Run as ``python -m resnet_torch.comparison REQUEST.json`` by `weight_transfer.parity.verify`, in a
process of its own. It prints JSON lines: progress, then one result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from resnet_torch.imported import ImportedModel
from resnet_torch.inference import inference
from resnet_torch.loading import load_model
from resnet_torch.resnet import ResNet
from weight_transfer.graph import layers
from weight_transfer.network import channels_last, preprocessing_of
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
                arrays = [inputs[name] for name in sorted(inputs, key=_number) if name.startswith(f"{case}/")]
                measured = _measure(
                    model, arrays, raw, lambda tap, c=case: reference.get_tensor(f"{c}/{tap}"), request["taps"]
                )
                for tap in request["taps"]:  # a tap that the port lacks is infinitely far off
                    error = measured.get(tap, TapError(float("inf"), 0.0, ()))
                    found.append({"device": device, "dtype": dtype, "case": case, "tap": tap, **error.__dict__})
                done += 1
                print(json.dumps({"progress": done / total}), flush=True)
    return {"errors": found, "torch": torch.__version__}


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])


def _measure(
    model: ResNet | ImportedModel,
    arrays: Sequence[np.ndarray],
    raw: bool,
    expected: Callable[[str], np.ndarray],
    wanted: Collection[str],
) -> dict[str, TapError]:
    """Runs one batch; each tap is compared as it is computed and not kept."""
    network, last = model.network, channels_last(model.network)
    parameter = next(model.parameters())
    inputs = []
    for array in arrays:
        array = preprocess(array, preprocessing_of(network)) if raw else array
        array = np.moveaxis(array, -1, 1) if last else array
        inputs.append(torch.from_numpy(np.ascontiguousarray(array)).to(parameter.device, parameter.dtype))
    errors: dict[str, TapError] = {}

    def note(tap: str, output: torch.Tensor) -> None:
        if tap in wanted:
            value = output.detach().cpu().numpy()
            errors[tap] = tap_error(np.moveaxis(value, 1, -1) if last else value, expected(tap))

    with _exact_float32():
        if isinstance(model, ImportedModel):
            model.values(*inputs, wanted=note)
        else:
            taps = {layer.name: layer.tap for layer in layers(model.architecture) if layer.tap}
            with _hooks(model, taps, note):
                if isinstance(model.head, ImportedModel):
                    model.head.values(_features(model, *inputs), wanted=note)
                else:
                    note(OUTPUT, model.predict(*inputs))
    return errors


def _features(model: ResNet, x: torch.Tensor) -> torch.Tensor:
    """The feature map that a head of its own starts from."""
    with inference(model):
        return model.stages(model.stem(x))


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
