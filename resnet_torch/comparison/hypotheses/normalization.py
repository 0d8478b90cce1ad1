"""What goes wrong with a normalization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.comparison.hypotheses.divergence import Divergence, Hypothesis, set_tensor
from resnet_torch.conv_norm import BATCH_NORMS
from weight_transfer.parity.exact_runs import ExpectedDigest
from weight_transfer.parity.sketch import positions

# Of Keras, of its ResNets, of PyTorch, of the projects in `DIALECTS` and `FAMILIES`.
EPSILONS = (1e-3, 1.001e-5, 1e-5, 2e-5, 1.1e-5, 1e-4, 1e-6, 1e-7, 1e-8, 0.0)
WHOSE = {
    1e-3: "Keras's default, and that of Keras's ResNets up to 2.2",
    1.001e-5: "keras.applications",
    1e-5: "PyTorch's default, Caffe and keras-resnet",
    2e-5: "classification_models",
    1.1e-5: "cnn_finetune",
}
STRONGEST = 16  # samples from which an unknown epsilon is computed


def mode_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Batch norm in the other mode."""
    for place, leaf in divergence.leaves(BATCH_NORMS):
        yield from _mode(divergence, place, leaf)


def epsilon_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Another epsilon: those that frameworks and projects have, and the one that the expected output shows."""
    for place, leaf in divergence.leaves(nn.Module):
        if isinstance(getattr(leaf, "eps", None), float):
            for epsilon in (*EPSILONS, *_solved(divergence, leaf)):
                whose = f" ({WHOSE[epsilon]})" if epsilon in WHOSE else ""
                yield Hypothesis(
                    "epsilon",
                    f"epsilon {epsilon:g} in place of {leaf.eps:g}{whose}",
                    divergence.changed(place, _set_epsilon(epsilon)),
                )


def mixed_up_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Statistics and parameters of a batch norm mixed up."""
    for place, _ in divergence.leaves(BATCH_NORMS):
        yield from _mixed_up(divergence, place)


def _set_epsilon(epsilon: float) -> Any:
    return lambda leaf: setattr(leaf, "eps", epsilon)


def _mode(divergence: Divergence, place: tuple[int, str], leaf: nn.Module) -> Iterator[Hypothesis]:
    if leaf.training == divergence.training:
        return
    texts = ("its moving statistics: it was in training mode", "the batch's own statistics: it was in inference mode")
    yield Hypothesis(
        "training mode",
        texts[divergence.training],
        divergence.changed(place, lambda leaf: setattr(leaf, "training", divergence.training)),
    )


def _mixed_up(divergence: Divergence, place: tuple[int, str]) -> Iterator[Hypothesis]:
    def swap(first: str, second: str) -> Any:
        def change(leaf: nn.Module) -> None:
            one, two = getattr(leaf, first), getattr(leaf, second)
            if one is not None and two is not None:
                one.data, two.data = two.data.clone(), one.data.clone()

        return change

    yield Hypothesis("gamma and beta", "gamma and beta swapped", divergence.changed(place, swap("weight", "bias")))
    yield Hypothesis(
        "mean and variance",
        "moving mean and variance swapped",
        divergence.changed(place, swap("running_mean", "running_var")),
    )
    yield Hypothesis(
        "deviation",
        "the square root of its variance: a variance was squared",
        divergence.changed(place, set_tensor("running_var", torch.sqrt)),
    )
    yield Hypothesis(
        "deviation",
        "the square of its variance: a root was taken of a variance",
        divergence.changed(place, set_tensor("running_var", torch.square)),
    )


def _solved(divergence: Divergence, leaf: nn.Module) -> tuple[float, ...]:
    """The epsilon that the expected output itself shows, as each channel is scaled by 1 / sqrt(variance + epsilon)."""
    variance, mean = getattr(leaf, "running_var", None), getattr(leaf, "running_mean", None)
    if variance is None or mean is None or len(divergence.paths) > 1 or divergence.training:
        return ()
    x = divergence.subject.to_keras(divergence.inputs[0])
    expected = divergence.expected
    if isinstance(expected, ExpectedDigest):
        return () if expected.epsilon is None else (expected.epsilon,)
    if x.shape != expected.shape or x.shape[-1] != len(mean):
        return ()
    whole = expected.whole
    places = np.arange(x.size) if whole else positions(expected.shape, expected.key, expected.detail)
    channel = places % x.shape[-1]
    arrays: tuple[tuple[Tensor | None, float], ...] = (
        (getattr(leaf, "weight", None), 1.0),
        (getattr(leaf, "bias", None), 0.0),
        (mean, 0.0),
        (variance, 1.0),
    )
    gamma, beta, mean, variance = (
        (np.full(x.shape[-1], default) if tensor is None else tensor.detach().cpu().numpy())[channel]
        for tensor, default in arrays
    )
    above = gamma * (x.ravel()[places] - mean)
    below = expected.kept[: places.size] - beta
    with np.errstate(all="ignore"):  # a variance may be a mean in disguise
        best = np.argsort(-np.abs(above) / np.sqrt(variance + 1e-5))[:STRONGEST]
        epsilon = float(np.median((above[best] / below[best]) ** 2 - variance[best]))
    if not np.isfinite(epsilon) or epsilon <= 0:
        return ()
    found = dict.fromkeys((float(f"{epsilon:.3e}"), float(f"{epsilon:.6e}"), epsilon))
    return tuple(one for one in found if f"{one:g}" != f"{leaf.eps:g}")


def statistics_hypotheses(leaf: nn.Module) -> Iterator[tuple[str, str, Any]]:
    """What goes wrong when a batch norm learns: cause, text, and the change of the module."""
    if not leaf.training:
        yield "frozen", "training mode: it was frozen", lambda norm: setattr(norm, "training", True)
    for rule in ("keras3", "tf_keras"):
        if getattr(leaf, "moving_variance", rule) != rule:
            yield (
                "moving variance",
                f"the rule of {rule}: the {'biased' if rule == 'keras3' else 'unbiased'} variance of the batch",
                lambda norm, rule=rule: setattr(norm, "moving_variance", rule),
            )
    if not hasattr(leaf, "moving_variance"):  # PyTorch's own
        yield "moving variance", "the rule of keras3: the biased variance of the batch", _keep_biased
    momentum = getattr(leaf, "momentum", None)
    if isinstance(momentum, float):
        others = (1 - momentum, 0.01, 0.001, 0.1, 0.99, 0.9, 0.997, 0.003)
        rounded = (float(np.float32(other)) for other in others)  # as tf_keras has them
        for other in dict.fromkeys((*others, *rounded)):
            yield (
                "momentum",
                f"momentum {other:g} in place of {momentum:g}",
                lambda norm, other=other: setattr(norm, "momentum", other),
            )


def _keep_biased(norm: BATCH_NORMS) -> None:
    """Makes a batch norm of PyTorch's keep the biased variance."""
    plain, moving = norm.forward, norm.running_var
    if moving is None:
        return

    def forward(input: Tensor) -> Tensor:
        before = moving.clone()
        y: Tensor = plain(input)
        if norm.momentum is None:  # the mean over all batches
            return y
        n = input.numel() // moving.numel()
        rest = before * (1 - norm.momentum)
        moving.copy_(rest + (moving - rest) * (n - 1) / n)
        return y

    norm.forward = forward  # type: ignore[method-assign]
