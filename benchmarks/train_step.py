"""One training step of a ResNet-50: ours, Keras on TensorFlow and on PyTorch, torchvision with torch's Adam.

Each runs in a process of its own, all of them started first; then they take turns, a few steps each, so that a noisy
machine slows all alike. Reports the median step, and the median of the ratios within a turn, ours over the others.

    python benchmarks/train_step.py [--batch 16] [--size 128] [--turns 5] [--steps 3] [--device cpu] [NAME ...]

On a GPU: --device cuda --batch 256 --size 224 "ours, compiled, bf16" "torchvision, compiled, bf16"
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CLASSES = 10
RATE = 1e-3
Step = Callable[[], object]

# By name: the function that makes the step, its arguments, and what the process's environment needs.
SIDES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "ours": ("ours", {}, {}),
    "ours, compiled": ("ours", {"compiled": True}, {}),
    "ours, bf16": ("ours", {"bf16": True}, {}),
    "ours, compiled, bf16": ("ours", {"compiled": True, "bf16": True}, {}),
    "ours, torch's batch norm and Adam": ("ours", {"torch_rules": True}, {}),
    "torchvision": ("torchvision", {}, {}),
    "torchvision, compiled, bf16": ("torchvision", {"compiled": True, "bf16": True}, {}),
    "Keras on TensorFlow": ("keras", {}, {"KERAS_BACKEND": "tensorflow"}),
    "Keras on PyTorch": ("keras", {}, {"KERAS_BACKEND": "torch"}),
}
OUR_SIDES = tuple(name for name in SIDES if name.startswith("ours"))
DEFAULT = tuple(name for name in SIDES if name != "torchvision, compiled, bf16")


def ours(x: np.ndarray, y: np.ndarray, device: str, torch_rules: bool = False, **options: bool) -> Step:
    """Our ResNet-50 with the tutorial's head."""
    import torch

    from resnet_torch import create_resnet
    from resnet_torch.optimizers import Adam

    model = create_resnet((*x.shape[1:3], 3), CLASSES)
    if not torch_rules:
        return torch_step(model, Adam(model.parameters(), RATE), x, y, device, **options)
    for module in list(model.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, torch.nn.BatchNorm2d):
                setattr(module, name, torch.nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum))
    return torch_step(model, torch.optim.Adam(model.parameters(), RATE, eps=1e-7), x, y, device, **options)


def torchvision(x: np.ndarray, y: np.ndarray, device: str, **options: bool) -> Step:
    """The ResNet-50 of torchvision with torch's Adam."""
    import torch
    from torchvision.models import resnet50

    model = resnet50(num_classes=CLASSES)
    return torch_step(model, torch.optim.Adam(model.parameters(), RATE), x, y, device, **options)


def torch_step(
    model: Any, optimizer: Any, x: np.ndarray, y: np.ndarray, device: str, compiled: bool = False, bf16: bool = False
) -> Step:
    """A step in channels last, which is the faster layout on both devices."""
    import torch
    from torch.nn import functional as F

    model = model.to(device, memory_format=torch.channels_last).train()
    images = torch.from_numpy(x).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    labels = torch.from_numpy(y).to(device)
    network = torch.compile(model) if compiled else model

    def step() -> object:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def keras(x: np.ndarray, y: np.ndarray, device: str) -> Step:
    """Keras's twin of our ResNet-50, by the step that `fit` takes."""
    import keras

    from resnet_keras import create_resnet

    if device == "cpu" and keras.backend.backend() == "torch":
        import torch

        torch.set_default_device("cpu")
    model = create_resnet((*x.shape[1:3], 3), CLASSES)
    model.compile(keras.optimizers.Adam(RATE), "sparse_categorical_crossentropy")
    return lambda: model.train_on_batch(x, y)


def serve(name: str, batch: int, size: int, device: str) -> None:
    """Makes a side's step; then takes so many for each number on stdin, and answers with the seconds of one."""
    random = np.random.default_rng(0)
    x = random.normal(0, 60, (batch, size, size, 3)).astype(np.float32)
    y = random.integers(0, CLASSES, batch)
    function, arguments, _ = SIDES[name]
    step: Step = globals()[function](x, y, device, **arguments)
    for _ in range(3):
        step()
    print("READY", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(f"TOOK {(time.perf_counter() - start) / int(line)}", flush=True)


class Side:
    """The process of a side."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if options.device == "cpu" else {}
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **hidden, **SIDES[name][2]}
        words = [str(options.batch), str(options.size), options.device]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.name = name
        self.seconds: list[float] = []
        self.answer("READY")

    def answer(self, word: str) -> str:
        """Waits for a line that begins so, and returns the rest."""
        for line in self.process.stdout or ():
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise SystemExit(f"{self.name} ended without an answer.")

    def turn(self, steps: int) -> None:
        """Takes so many steps, and notes the seconds of one."""
        print(steps, file=self.process.stdin, flush=True)
        self.seconds.append(float(self.answer("TOOK")))


def main() -> None:
    """Prints every side's median step, and ours over the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which sides: {'; '.join(SIDES)}")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="of a turn")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in SIDES]
    if unknown:
        parser.error(f"no side {', '.join(unknown)}. Known: {'; '.join(SIDES)}")
    sides = [Side(name, options) for name in options.names or DEFAULT]
    for _ in range(options.turns):
        for side in sides:
            side.turn(options.steps)
    others = [side for side in sides if side.name not in OUR_SIDES]
    for side in sides:
        line = f"{side.name:36}{statistics.median(side.seconds) * 1e3:9.0f} ms"
        line += f"{options.batch / statistics.median(side.seconds):9.1f} images/s"
        if side.name in OUR_SIDES:
            for other in others:
                ratios = [theirs / own for own, theirs in zip(side.seconds, other.seconds, strict=True)]
                line += f"   {statistics.median(ratios):.2f} x {other.name}"
        print(line)
    print(f"ResNet-50, batch {options.batch} at {options.size} x {options.size}, {options.device}", end="")
    print(f", {options.turns} turns of {options.steps} steps, {os.cpu_count()} processors")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    else:
        main()
