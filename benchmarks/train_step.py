"""One training step of ResNet-50: ours against Keras on TensorFlow, Keras on PyTorch, and torchvision's.

Each side is a process of its own, made ready and warmed up first. Then they take turns, a few steps each, round after
round, so that a noisy machine slows all of them: what counts is the ratio of one side's median in a round to another's.
Ours and Keras's are the same network (strides in the first 1x1); torchvision's strides in the 3x3, and is 6% larger.

    python benchmarks/train_step.py [--rounds 9] [--sides ours torchvision]
    python benchmarks/train_step.py --device cuda --batch-size 256 --size 224 --sides ours-bf16-compiled \
        torchvision-bf16-compiled
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CLASSES = 10
WARM_UP = 3


@dataclass(frozen=True)
class Side:
    """Something to measure.

    Attributes:
        title: What it is.
        make: Takes the arguments of the command line, returns a function that takes one step.
        environment: Set before anything is imported.
    """

    title: str
    make: Callable[[argparse.Namespace], Callable[[], None]]
    environment: dict[str, str]


def ours(compiled: bool = False, bf16: bool = False, rules: str = "keras") -> Callable[..., Callable[[], None]]:
    """Our ResNet-50 with Keras's batch norm and Adam, or with PyTorch's own."""

    def make(arguments: argparse.Namespace) -> Callable[[], None]:
        import torch

        from resnet_torch import create_resnet
        from resnet_torch.optimizers import Adam

        model = create_resnet((arguments.size, arguments.size, 3), CLASSES)
        if rules == "torch":
            _with_torchs_batch_norm(model)
            optimizer: Any = torch.optim.Adam(_on(model, arguments).parameters(), fused=True)
        else:
            optimizer = Adam(_on(model, arguments).parameters())
        return _torch_step(model, optimizer, arguments, compiled, bf16)

    return make


def torchvisions(compiled: bool = False, bf16: bool = False, **adam: Any) -> Callable[..., Callable[[], None]]:
    """Torchvision's ResNet-50 with PyTorch's Adam."""

    def make(arguments: argparse.Namespace) -> Callable[[], None]:
        import torch
        import torchvision

        model = _on(torchvision.models.resnet50(num_classes=CLASSES), arguments)
        return _torch_step(model, torch.optim.Adam(model.parameters(), **adam), arguments, compiled, bf16)

    return make


def _on(model: Any, arguments: argparse.Namespace) -> Any:
    import torch

    torch.set_num_threads(arguments.threads)
    return model.to(arguments.device, memory_format=torch.channels_last).train()


def _with_torchs_batch_norm(module: Any) -> None:
    from torch import nn

    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.BatchNorm2d(child.num_features, child.eps, child.momentum))
        else:
            _with_torchs_batch_norm(child)


def _torch_step(model: Any, optimizer: Any, arguments: argparse.Namespace, compiled: bool, bf16: bool) -> Any:
    import torch
    from torch.nn import functional as F

    device, size = arguments.device, arguments.size
    x = torch.randn(arguments.batch_size, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.arange(arguments.batch_size, device=device) % CLASSES
    forward = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = forward(x)
        F.cross_entropy(logits.float(), y).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def keras_step(arguments: argparse.Namespace) -> Callable[[], None]:
    """The same network in Keras, by the function that `fit` calls for each batch."""
    import keras
    import numpy as np

    from resnet_keras import create_resnet

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    else:
        import torch

        torch.set_num_threads(arguments.threads)
    model = create_resnet(in_shape=(arguments.size, arguments.size, 3), n_classes=CLASSES)
    # On a CPU "auto" does not compile either.
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(arguments.batch_size, arguments.size, arguments.size, 3))
    y = np.arange(arguments.batch_size) % CLASSES
    model.make_train_function()
    if keras.backend.backend() == "tensorflow":
        batch: Any = (tf.constant(x, tf.float32), tf.constant(y))
        batches = tf.data.Dataset.from_tensors(batch).repeat()
        iterator = iter(batches)
        return lambda: float(model.train_function(iterator)["loss"])  # type: ignore[return-value]
    batch = (torch.tensor(x, dtype=torch.float32), torch.tensor(y))
    return lambda: float(model.train_function([batch])["loss"])  # type: ignore[return-value]


SIDES = {
    "ours": Side("ours", ours(), {}),
    "ours-compiled": Side("ours, torch.compile", ours(compiled=True), {}),
    "ours-bf16": Side("ours, bf16", ours(bf16=True), {}),
    "ours-bf16-compiled": Side("ours, bf16, torch.compile", ours(compiled=True, bf16=True), {}),
    "ours-torch-rules": Side("ours with PyTorch's batch norm and fused Adam", ours(rules="torch"), {}),
    "torchvision": Side("torchvision, torch.optim.Adam", torchvisions(), {}),
    "torchvision-fused": Side("torchvision, its Adam fused", torchvisions(fused=True), {}),
    "torchvision-bf16-compiled": Side("torchvision, bf16, torch.compile", torchvisions(True, True), {}),
    "keras-tensorflow": Side("Keras on TensorFlow", keras_step, {"KERAS_BACKEND": "tensorflow"}),
    "keras-torch": Side("Keras on PyTorch", keras_step, {"KERAS_BACKEND": "torch"}),
}
DEFAULT = [name for name in SIDES if name != "torchvision-bf16-compiled"]
# Each with what it is measured against.
RATIOS = (
    ("ours", "torchvision"),
    ("ours", "torchvision-fused"),
    ("ours", "ours-torch-rules"),
    ("ours", "keras-tensorflow"),
    ("ours-compiled", "keras-tensorflow"),
    ("ours-bf16", "keras-tensorflow"),
    ("ours-bf16-compiled", "keras-tensorflow"),
    ("ours", "keras-torch"),
    ("ours-bf16-compiled", "torchvision-bf16-compiled"),
)


def serve(arguments: argparse.Namespace) -> None:
    """A side: gets ready, says so, and takes as many steps as each line of input says."""
    step = SIDES[arguments.side].make(arguments)
    for _ in range(WARM_UP):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


def started(name: str) -> subprocess.Popen[str]:
    """Starts a side and waits until it is ready."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_WAIT_POLICY": "PASSIVE", **SIDES[name].environment}
    process = subprocess.Popen(
        [sys.executable, __file__, "--side", name, *sys.argv[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    answer(process, "ready")
    return process


def answer(process: subprocess.Popen[str], start: str) -> str:
    """The next line of a side that starts so; frameworks print others."""
    for line in process.stdout or ():
        if line.startswith(start):
            return line
    raise SystemExit(f"{' '.join(map(str, process.args))}: ended with code {process.wait()}")  # type: ignore[arg-type]


def main() -> None:
    """Prints each side's median, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2, help="of a side in a round")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=DEFAULT)
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments)
        return
    processes = {name: started(name) for name in arguments.sides}
    rounds: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(arguments.rounds):
        for name, process in processes.items():
            print(arguments.steps, file=process.stdin, flush=True)
            rounds[name].append(statistics.median(json.loads(answer(process, "["))))
    what = f"batch {arguments.batch_size} at {arguments.size} x {arguments.size}, {arguments.device}"
    print(f"One training step of ResNet-50, {what}, {arguments.threads} threads; {arguments.rounds} rounds in turn")
    print(f"{'':48}{'ms, median':>12}{'least':>9}{'images/s':>10}")
    for name, seconds in rounds.items():
        median = statistics.median(seconds)
        rate = arguments.batch_size / median
        print(f"{SIDES[name].title:48}{median * 1e3:12.0f}{min(seconds) * 1e3:9.0f}{rate:10.1f}")
    for name, other in RATIOS:
        if name in rounds and other in rounds:
            ratios = sorted(b / a for a, b in zip(rounds[name], rounds[other], strict=True))
            middle = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
            text = f"{SIDES[name].title} against {SIDES[other].title}"
            print(f"{text:72}{statistics.median(ratios):6.2f} times ({middle[0]:.2f} to {middle[1]:.2f})")
    for process in processes.values():
        process.kill()


if __name__ == "__main__":
    main()
