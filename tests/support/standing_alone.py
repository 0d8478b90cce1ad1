"""Whether a package that `write_standalone` wrote is the port, in a process that has nothing of this project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from resnet_torch import load_model
from resnet_torch.standalone import package, write_standalone

OTHERS = ("weight_transfer", "resnet_torch", "resnet_keras", "h5py", "keras", "tensorflow", "rich")

# What a reader of the package runs, who has nothing of this project: outputs, then a training step.
READER = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from safetensors.torch import load_file, save_file
from port import load
import port
model = load()
assert not model.training
given = load_file(sys.argv[1] + "/given.safetensors")
inputs = [given[f"input{i}"] for i in range(len(given))]
flat = lambda y: list(y.values()) if isinstance(y, dict) else [y] if isinstance(y, torch.Tensor) else list(y)
found = {f"predict{i}": y for i, y in enumerate(flat(model.predict(*inputs)))}
with torch.no_grad():
    found |= {f"forward{i}": y for i, y in enumerate(flat(model(*inputs)))}
assert not model.training
weights = load_file(sys.argv[1] + "/port/weights.safetensors")
assert set(model.state_dict()) == set(weights), set(model.state_dict()) ^ set(weights)
assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)
model.train()
torch.manual_seed(0)
outputs = flat(model(*inputs))
if any(p.requires_grad for p in model.parameters()):
    sum(y.square().mean() for y in outputs).backward()
found |= {f"gradient/{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
found |= {f"after/{name}": b for name, b in model.state_dict().items() if "running" in name}
if hasattr(port, "preprocess"):
    found["image"] = port.preprocess(torch.arange(2 * 5 * 4 * 3, dtype=torch.uint8).reshape(2, 5, 4, 3) * 2)
loaded = [name for name in OTHERS if name in sys.modules]
assert not loaded, loaded
save_file({name: y.contiguous().clone() for name, y in found.items()}, sys.argv[1] + "/found.safetensors")
"""


def flat(outputs: Any) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


def stands_alone(converted: Path, folder: Path, error: float = 0.0) -> Path:
    """Writes the package, and compares it in a process without this project with the port in this one.

    Args:
        converted: The port.
        folder: For everything.
        error: How much of a tensor's peak may differ; the last bit of a sum depends on where its numbers lie.
    """
    write_standalone(converted, folder / "port")
    model = package.aligned(load_model(converted))
    generator = torch.Generator().manual_seed(1)
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    shapes = package.in_shapes(package.read_converted(converted).network, model).values()
    inputs = [torch.randn(3, *shape, generator=generator).to(dtype) for shape in shapes]
    safetensors.torch.save_file({f"input{i}": x for i, x in enumerate(inputs)}, folder / "given.safetensors")
    code = f"OTHERS = {OTHERS!r}\n{READER}"
    command = [sys.executable, "-I", "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = {f"predict{i}": y for i, y in enumerate(flat(model.predict(*inputs)))}
    with torch.no_grad():
        expected |= {f"forward{i}": y for i, y in enumerate(flat(model(*inputs)))}
    model.train()
    torch.manual_seed(0)
    if any(parameter.requires_grad for parameter in model.parameters()):
        sum(y.square().mean() for y in flat(model(*inputs))).backward()
    expected |= {f"gradient/{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    expected |= {f"after/{name}": b for name, b in model.state_dict().items() if "running" in name}
    found = safetensors.torch.load_file(folder / "found.safetensors")
    found.pop("image", None)
    assert set(found) == set(expected)
    for name, value in expected.items():
        if name.startswith("gradient/") and name.endswith(".bias") and not value.any():
            # Before a batch norm: zero in the port, which leaves out the sum that finds zero but for rounding.
            peak = expected[name.removesuffix("bias") + "weight"].abs().max()
            assert found[name].abs().max() <= 1e-4 * peak, name
        else:
            atol = error * float(value.abs().nan_to_num(0, 0, 0).max()) if error else 0
            np.testing.assert_allclose(found[name].numpy(), value.numpy(), rtol=0, atol=atol, err_msg=name)
    assert (folder / "port" / "weights.safetensors").read_bytes() == converted.read_bytes()
    return folder / "port"
