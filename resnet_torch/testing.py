"""Parity as an assertion, for anybody's tests: any PyTorch module against any Keras model.

Keras runs in a process of its own, or not at all where a recording is at hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from resnet_torch.comparison.any_module import Compared, compare_module
from resnet_torch.comparison.given_reference import Arrays, recording_of
from resnet_torch.comparison.named_layers import Asked
from weight_transfer.errors import SHOWN_AT_MOST, VerificationError
from weight_transfer.parity.causes import CAUSES
from weight_transfer.parity.report import Explanation, Row
from weight_transfer.parity.runner import Runner, run_in_process, temporary_folder


class ParityWarning(UserWarning):
    """Two models agree in all that was compared, and something was left out."""


class ParityError(AssertionError):
    """Two models differ.

    Attributes:
        rows: What was compared.
        explanation: Of the first tensor that differs; None where all that were compared agree.
        differences: What else differs, in words: arrays, what learns, random layers, modes, layouts in memory.
        left_out: What was not compared, in words.
    """

    def __init__(
        self,
        message: str,
        rows: tuple[Row, ...],
        explanation: Explanation | None,
        differences: tuple[str, ...] = (),
        left_out: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.rows = rows
        self.explanation = explanation
        self.differences = differences
        self.left_out = left_out


@dataclass(frozen=True, repr=False)
class Parity:
    """Two models agree.

    Attributes:
        rows: The tensors that were compared; each is within its limits.
        left_out: What was not compared, in words. A `ParityWarning` says the same.
        unnamed: Keras layers without arrays that no module has the name of, and layers whose modules are never called;
            what they give was compared as part of what follows them.
    """

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    unnamed: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Parity: {len(self.rows)} tensors agree, {len(self.left_out)} things left out>"


def assert_parity(
    model: nn.Module,
    reference: Any,
    inputs: Arrays | None = None,
    *,
    names: Mapping[str, str] | None = None,
    without: Collection[str] = (),
    outputs_only: bool = False,
    training: bool = False,
    gives_predictions: bool = False,
    runner: Runner = run_in_process,
) -> Parity:
    """Asserts that a PyTorch module computes what a Keras model does, layer by layer, in float64 and float32.

    The module is compared in the mode it is in, as a copy: itself it stays as it was. A layer is
    compared with the module whose path ends in its name. The last layer is compared before its softmax
    or sigmoid, the output after it. One image alone, two other sizes where sizes are free, and tensors
    that lie channels_last in memory must give the same.

    With ``training=True`` the module must also have every array of the Keras model, no other parameter that
    learns, and the model's random layers with their rates, each at its place. A step of training is compared in
    the mode that the module's own ``train()`` makes, with random layers held still.

    Args:
        model: The module, channels first.
        reference: A recording (``weight-transfer record``); or the path of a Keras file with its
            model; or a Keras model, which is saved to be loaded in a process of its own.
        inputs: An array for each input of the Keras model, in Keras's layout, the batch in front.
            None for a recording, which has its own.
        names: By Keras layer, the path of the module behind it, where it has another name.
        without: Keras layers that are left out on purpose, with their arrays.
        outputs_only: Whether to compare only what the model returns, and with ``training=True`` the loss.
        training: Whether to compare a training step too: loss, gradients, statistics.
        gives_predictions: Whether ``model`` applies a last softmax or sigmoid itself.
        runner: What has Keras's side answer.

    Returns:
        What was compared, and what was not.

    Raises:
        ParityError: The models differ; the message names the first layer that does, and why.
        VerificationError: They could not be compared.

    Warns:
        ParityWarning: Something was left out.

    Example:
        >>> assert_parity(port.eval(), "resnet50.keras", images)  # (N, 224, 224, 3), preprocessed
    """
    asked = Asked(dict(names or {}), tuple(without), outputs_only, training, gives_predictions)
    with temporary_folder() as folder:
        recording = recording_of(reference, inputs, training, folder, runner)
        if training and all(case.check == "inference" for case in recording.cases):
            why = recording.origin.skipped.get("training", "the recording has none")
            raise VerificationError(f"there is no training step to compare: {why}. Leave out training=True.")
        if training and gives_predictions and any(recording.origin.last_activations):
            raise VerificationError("a training step starts from logits: let the model return them.")
        compared = compare_module(model, recording, asked)
    if compared.explanation is not None or compared.differences:
        message = _message(model, compared)
        raise ParityError(message, compared.rows, compared.explanation, compared.differences, compared.left_out)
    if compared.left_out:
        warnings.warn(_warning(model, compared), ParityWarning, stacklevel=2)
    return Parity(compared.rows, compared.left_out, compared.unnamed)


def _warning(model: nn.Module, compared: Compared) -> str:
    head = f"{type(model).__name__} agrees with {compared.reference} in all that was compared, which leaves out:"
    return "\n".join([head, *(f"  {text}" for text in compared.left_out)])


def _message(model: nn.Module, compared: Compared) -> str:
    head = f"{type(model).__name__} differs from {compared.reference}"
    lines = []
    failed = [row for row in compared.rows if not row.passed]
    explanation = compared.explanation
    if failed:
        head += f" in {len(failed)} of {len(compared.rows)} tensors"
    if explanation is not None:
        lines.append(explanation.sentence)
        if explanation.found is not None:
            lines.append(CAUSES[explanation.found.cause].advice)
            if explanation.found.cause == "last activation":
                lines.append("A module that applies it itself: assert_parity(..., gives_predictions=True).")
    lines += compared.differences
    if failed:
        lines += ["", f"{'check':<11} {'layer':<32} {'float64':>8} {'allowed':>8} {'float32':>8}"]
        lines += [_line(row) for row in sorted(failed, key=_excess, reverse=True)[:SHOWN_AT_MOST]]
    if len(failed) > SHOWN_AT_MOST:
        lines.append(f"+{len(failed) - SHOWN_AT_MOST} more")
    if compared.unnamed:
        shown = ", ".join(compared.unnamed[:SHOWN_AT_MOST]) + (" ..." if len(compared.unnamed) > SHOWN_AT_MOST else "")
        lines.append(f"compared only as part of what follows: {shown}")
    lines += [f"not compared: {text}" for text in compared.left_out]
    return "\n".join([head, *lines])


def _line(row: Row) -> str:
    float32 = f"{row.errors['float32']:8.1e}" if "float32" in row.errors else ""
    return f"{row.check:<11} {row.name:<32} {row.errors['float64']:8.1e} {row.limits['float64']:8.1e} {float32}"


def _excess(row: Row) -> float:
    """How many times its limit the worst error of a row is."""
    return max(row.errors[precision] / limit for precision, limit in row.limits.items())
